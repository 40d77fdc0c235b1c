"""Waits for the checks to decide about a step of a rollout."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from stacks.environments import DeploymentEnvironment
from stacks.errors import RolloutUndecided
from stacks.rollout.checks import Decision
from stacks.rollout.deployer import Deployer
from stacks.rollout.observer import RolloutObserver
from stacks.rollout.silence import Silence
from stacks.rollout.state import RolloutStatus

_POLL_SECONDS = 1.0
_POLL_SECONDS_IN_A_CLOUD = 5.0
"""CloudWatch keeps numbers by the minute, and bills for what is read."""
_TELL_SECONDS = 10.0
Watch = Callable[[RolloutStatus], None]


def wait_for_decision(
    deployments: Deployer, observer: RolloutObserver, environment: DeploymentEnvironment, watch: Watch
) -> RolloutStatus:
    """Waits until the checks have decided about the step that the stack is at.

    Args:
        deployments: what knows the stacks.
        observer: reads the numbers.
        environment: of the stack.
        watch: told the rollout's status at every look.

    Returns:
        The status with the verdict to go on, once the step has lasted as long as it should, or to withdraw.

    Raises:
        RolloutUndecided: they have not decided in time.
    """
    file = deployments.stack_file(environment)
    rollout = file.rollout()
    # Of this command: a resumed rollout waits again, since nobody has looked meanwhile.
    began, told = time.monotonic(), 0.0
    since, candidate_came = observer.moments(file) if file.in_cluster else (now := datetime.now(UTC), now)
    silence = Silence(file, deployments.log)
    while True:
        status = observer.look(deployments.stack_file(environment), since, began=candidate_came)
        watch(status)
        waited = time.monotonic() - began
        silence.look(status, waited)
        if status.verdict == Decision.WITHDRAW:
            return status
        if status.verdict == Decision.GO_ON and waited >= rollout.interval_seconds:
            return status
        if waited > max(rollout.checks.max_wait_seconds, rollout.interval_seconds):
            raise RolloutUndecided(
                f"{rollout.candidate} stays at {rollout.weight} %: {status.reason} after {waited:.0f} s; "
                f"python scripts/deploy_model.py promote|abort|resume {status.environment}"
            )
        if waited - told >= _TELL_SECONDS:
            told = waited
            deployments.log(f"{rollout.weight} % for {waited:.0f} s: {status.reason or 'all checks passed'}")
        time.sleep(_POLL_SECONDS_IN_A_CLOUD if file.in_cluster else _POLL_SECONDS)
