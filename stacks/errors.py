"""What can go wrong with a deployment: one tree under `StacksError`.

Each kind has its exit code in `exit_code`; `conventions/exit_codes.py` says what a code means.
"""

from conventions import exit_codes


class StacksError(Exception):
    """Base of all errors of this package.

    Args:
        message: what is wrong, and what to do.
        mend: the command alone that mends the cause; empty where a person has to look.
    """

    exit_code = exit_codes.FAILED

    def __init__(self, message: str = "", mend: str = "") -> None:
        super().__init__(message)
        self.mend = mend


class UnknownEnvironment(StacksError):
    """There is no such environment."""

    exit_code = exit_codes.UNKNOWN_ENVIRONMENT


class UnknownDeployment(StacksError):
    """The stack's history has no such deployment, or nothing is deployed."""

    exit_code = exit_codes.NOT_FOUND


class NoPriorVersion(StacksError):
    """There is nothing to roll back to."""

    exit_code = exit_codes.NO_PRIOR_VERSION


class SeveralDeployments(StacksError):
    """Several model versions served on the day that was named; a time chooses one."""

    exit_code = exit_codes.INVALID_INPUT


class StackBusy(StacksError):
    """Somebody else is changing the stack now."""

    exit_code = exit_codes.STACK_BUSY


class StackLocked(StacksError):
    """A run that has died left the stack locked."""

    exit_code = exit_codes.STACK_LOCKED


class DeploymentFailed(StacksError):
    """The engine could not bring the stack to what was asked for; what served before goes on."""

    exit_code = exit_codes.DEPLOYMENT_FAILED


class StateDamaged(StacksError):
    """A file of the state, or of its history, is cut short or altered."""

    exit_code = exit_codes.NOT_INTACT


class SecretsProviderProblem(StacksError):
    """The passphrase is lost or empty, or the stack's file names another secrets provider than the state."""

    exit_code = exit_codes.KEY_PROBLEM


class GatesFailed(StacksError):
    """A model version does not pass the gates of a deploy."""

    exit_code = exit_codes.REFUSED


class RequirementsMissing(GatesFailed):
    """A model version lacks what the environment requires."""


class BreakGlassEnded(RequirementsMissing):
    """A model version lacks what the environment requires, and the time of its break-glass is over."""

    exit_code = exit_codes.UNFIT


class EndpointSilent(StacksError):
    """The endpoint returns no metrics."""

    exit_code = exit_codes.ENDPOINT_SILENT


class EngineMissing(StacksError):
    """There is no Pulumi engine to run."""

    exit_code = exit_codes.ENGINE_MISSING


class AddressTaken(StacksError):
    """Another program listens where the endpoint should."""

    exit_code = exit_codes.ADDRESS_TAKEN


class RolloutInProgress(StacksError):
    """A rollout is in progress: promote or abort its candidate first."""

    exit_code = exit_codes.ROLLOUT_CONFLICT


class NoRollout(StacksError):
    """No candidate is being tried."""

    exit_code = exit_codes.ROLLOUT_CONFLICT


class CandidateWithdrawn(StacksError):
    """The candidate was worse than the stable version, which serves as before."""

    exit_code = exit_codes.CANDIDATE_WITHDRAWN


class RolloutUndecided(StacksError):
    """Too few requests came to decide; the candidate keeps its share of the requests."""

    exit_code = exit_codes.ROLLOUT_UNDECIDED
