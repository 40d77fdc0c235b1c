"""What can go wrong with a deployment; each kind has its exit code.

StacksError                 exit code
├── UnknownEnvironment      2
├── UnknownDeployment       3
├── NoPriorVersion          7
├── StackBusy               10
├── StackLocked             11
├── DeploymentFailed        12
├── Unhealthy               13
└── EngineMissing           14
"""


class StacksError(Exception):
    """Base of all errors of this package."""

    exit_code = 1


class UnknownEnvironment(StacksError):
    """There is no such environment."""

    exit_code = 2


class UnknownDeployment(StacksError):
    """The stack's history has no such deployment, or nothing is deployed."""

    exit_code = 3


class NoPriorVersion(StacksError):
    """There is nothing to roll back to."""

    exit_code = 7


class StackBusy(StacksError):
    """Somebody else is changing the stack now."""

    exit_code = 10


class StackLocked(StacksError):
    """A run that has died left the stack locked."""

    exit_code = 11


class DeploymentFailed(StacksError):
    """The engine could not bring the stack to what was asked for; what served before goes on."""

    exit_code = 12


class Unhealthy(StacksError):
    """The endpoint does not serve as it should."""

    exit_code = 13


class EngineMissing(StacksError):
    """There is no Pulumi engine to run."""

    exit_code = 14
