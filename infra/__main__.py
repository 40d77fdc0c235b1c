"""Entry point of the Pulumi program for the plain command line (`pulumi up`)."""

from infra.program import declare
from infra.update_record import record_update

outputs = declare()
# Declared so far; resources change only after this file has ended.
record_update(outputs)
