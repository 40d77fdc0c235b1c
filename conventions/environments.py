"""The environments and their stacks."""

from typing import Literal, get_args

Environment = Literal["development", "staging", "production"]

ENVIRONMENTS: tuple[Environment, ...] = get_args(Environment)
"""Every environment, from the first that a model version reaches to the last."""
STACKS: dict[str, Environment] = {"dev": "development", "staging": "staging", "production": "production"}
"""Stacks by name, each with the environment that it is."""
