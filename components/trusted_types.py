"""How names that a deployer trusts reach the service, the same on every platform."""

from collections.abc import Sequence

from conventions import variables


def trusted_variables(trusted_types: Sequence[str]) -> dict[str, str]:
    """The service's variable for the names; none without names, so that a service without them stays as it is."""
    return {variables.MODEL_TRUSTED_TYPES: ",".join(trusted_types)} if trusted_types else {}
