"""Where a rollout is: what the stack's config asks for, and what is in force."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from infra.rollout_config import RolloutConfig
from stacks.engine.serving_state import Silence
from stacks.engine.stack_file import StackFile
from stacks.errors import NoRollout, RolloutInProgress
from stacks.rollout.checks import CheckFinding


@dataclass(frozen=True)
class RolloutStatus:
    """The present status of a rollout."""

    environment: str
    stable: str
    """The stable model version, as the stack's config has it."""
    rollout: RolloutConfig
    """The rollout as the stack's config has it."""
    in_force: int | None
    """Percent of the requests that the candidate is given as it runs; None when nothing runs."""
    interrupted: str
    """What a command that was killed left undone; empty when the stack is as its config says."""
    since: str
    """When the last change was made: RFC 3339, UTC."""
    numbers: dict[str, dict[str, Any]]
    """Metrics of `stable` and `candidate` since then."""
    candidate_share: float | None
    """Share of the requests that the candidate answered."""
    verdict: str
    """What the checks say: `go on`, `wait` or `withdraw`; empty without a candidate."""
    reason: str
    """The reason of the decision."""
    held_by: str
    """Who is changing the stack at the moment; empty when nobody is."""
    break_glass: Mapping[str, Any] = field(default_factory=dict)
    """Why the stable version is deployed although it lacks something: `missing`, `reason`, `by`, `until`."""
    checks: tuple[CheckFinding, ...] = ()
    """The result of each check on the candidate, and how far its sequential tests have come."""
    override: Mapping[str, str] = field(default_factory=dict)
    """What gives the decisions in place of the model: `answer`, `until`, `reason`, `by`, `since`; empty: the model."""
    lacking: tuple[str, ...] = ()
    """What the stable version lacks that its environment requires, while no break-glass lasts."""
    silence: Silence | None = None
    """Why the version does not serve, and what brings it back; None when it serves."""

    def to_dict(self) -> dict[str, Any]:
        """The status as plain JSON values."""
        return {**asdict(self), "rollout": self.rollout.to_dict()}


def require_no_rollout(file: StackFile) -> RolloutConfig:
    """Returns the rollout of a stack that tries no candidate.

    Raises:
        RolloutInProgress: it does try one.
    """
    rollout, environment = file.rollout(), file.environment
    if rollout.candidate:
        raise RolloutInProgress(
            f"{environment} is trying {rollout.candidate} ({rollout.strategy}, {rollout.weight} % of the requests); "
            f"finish that first: python scripts/deploy_model.py promote|abort|resume {environment}; nothing was changed"
        )
    return rollout


def require_rollout(file: StackFile) -> RolloutConfig:
    """Returns the rollout of a stack that tries a candidate.

    Raises:
        NoRollout: it tries none.
    """
    rollout = file.rollout()
    if not rollout.candidate:
        raise NoRollout(f"no candidate is being tried in {file.environment}; nothing was changed")
    return rollout
