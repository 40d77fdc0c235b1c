"""Says that no request comes while a step waits for them."""

from collections.abc import Callable

from stacks.engine.stack_file import StackFile
from stacks.errors import EndpointSilent
from stacks.rollout.metrics import CloudMetrics
from stacks.rollout.state import RolloutStatus

_SECONDS_HERE = 5.0
_MINUTES_IN_A_CLOUD = 15


class Silence:
    """Tells once in a step, as soon as it can be known, that no request comes.

    Args:
        file: the stack's config.
        log: told the sentence.
    """

    def __init__(self, file: StackFile, log: Callable[[str], object]) -> None:
        self._file, self._log = file, log
        self._done = False

    def look(self, status: RolloutStatus, waited: float) -> None:
        """Looks at both versions' numbers, or in a cluster at those of the minutes before.

        Args:
            status: of the step.
            waited: seconds since it began.
        """
        if self._done or (not self._file.in_cluster and waited < _SECONDS_HERE):
            return
        self._done = True
        if any(each["requests"] for each in status.numbers.values()):
            return
        if not self._file.in_cluster:
            span = f"since the step began {waited:.0f} s ago"
        elif self._requests_before() == 0:
            span = f"in the last {_MINUTES_IN_A_CLOUD} minutes"
        else:
            return
        environment = self._file.environment
        self._log(
            f"no request has come to {environment} {span}, and requests decide about a candidate; without callers: "
            f"make traffic ENVIRONMENT={environment}"
        )

    def _requests_before(self) -> int | None:
        """The stable version's requests; None where CloudWatch does not tell."""
        config = self._file.deployment()
        try:
            watch = CloudMetrics(self._file.cloud(), config.environment, config.deployment_name)
            return watch.requests(self._file.model_version, _MINUTES_IN_A_CLOUD)
        except EndpointSilent:
            return None
