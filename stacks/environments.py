"""The three environments and their stacks."""

from enum import StrEnum

from conventions.environments import STACKS
from stacks.errors import UnknownEnvironment


class DeploymentEnvironment(StrEnum):
    """An environment that model versions are deployed to; each one is a stack."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"

    @property
    def stack(self) -> str:
        """The stack's name: `dev`, `staging` or `production`."""
        return next(stack for stack, environment in STACKS.items() if environment == self.value)

    @classmethod
    def named(cls, name: str) -> "DeploymentEnvironment":
        """The environment of a name, or of its stack's name.

        Raises:
            UnknownEnvironment: lists the names there are.
        """
        for environment in cls:
            if name in (environment.value, environment.stack):
                return environment
        raise UnknownEnvironment(f"there is no environment {name!r}; there are: {', '.join(cls)}")
