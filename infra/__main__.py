"""Entry point of the Pulumi program for the plain command line (`pulumi up`)."""

from infra.program import program

program()
