"""The rollout object of a stack's config: how a model version takes another one's place, and how far it has come.

    fraud-detection:rollout: {strategy: canary, steps: [5, 25, 50, 100], interval_seconds: 300}

A stack has two slots, blue and green. The stable version, `modelVersion`, is in one of them; the other holds a
candidate, or the version before, which is kept for a while, or nothing. So promotion moves no process and no pod: it
changes what the slots are called.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from infra.errors import ConfigError

_STRICT = ConfigDict(extra="forbid")
_ALL = 100
_WHERE_IT_IS = ("candidate", "weight", "shadow", "kept", "kept_until")
"""Keys that are left out while there is nothing to say."""
Slot = Literal["blue", "green"]
Strategy = Literal["rolling", "blue_green", "canary"]
Percent = Annotated[StrictInt, Field(ge=1, le=_ALL)]
Share = Annotated[StrictFloat, Field(gt=0, lt=1)]


@dataclass(frozen=True, config=_STRICT)
class RolloutChecks:
    """Margins by which a candidate may be worse than the stable version before it is withdrawn."""

    error_rate: Share = 0.02
    """Share of the requests answered with a server error, more than stable's."""
    latency_ratio: Annotated[StrictFloat, Field(gt=1, le=100)] = 1.5
    """Times stable's p95; requests beyond that are slow. Allowed are as many as stable has beyond its p95: 5 %."""
    decision_rate: Share = 0.05
    """Share of the transactions decided as fraud, more or fewer than stable's."""
    accuracy: Share = 0.05
    """Share of the decisions with feedback that turned out right, fewer than stable's."""
    wrong_decision: Annotated[StrictFloat, Field(ge=0.0001, le=0.2)] = 0.01
    """How often one check may withdraw a candidate that is as good as stable, or pass one that is worse by more."""
    max_wait_seconds: Annotated[StrictInt, Field(ge=1, le=604_800)] = 3600
    """How long a step waits for enough requests to decide; after that a person has to."""


@dataclass(frozen=True, config=_STRICT)
class RolloutConfig:
    """`fraud-detection:rollout`."""

    strategy: Strategy = "rolling"
    """`rolling` replaces in place; `blue_green` switches at once; `canary` step by step."""
    steps: Annotated[tuple[Percent, ...], Field(min_length=1)] = (5, 25, 50, 100)
    """Of a canary: percent of the requests that the candidate answers, step after step."""
    interval_seconds: Annotated[StrictInt, Field(ge=0, le=604_800)] = 300
    """How long a step lasts at least."""
    keep_minutes: Annotated[StrictInt, Field(ge=0, le=10_080)] = 30
    """How long the version before stays at full size after a switch, so that the way back is a switch."""
    checks: RolloutChecks = Field(default_factory=RolloutChecks)
    slot: Slot = "blue"
    """The slot of the stable version."""
    candidate: str = ""
    """Model version in the other slot that is to become stable; empty: there is none."""
    weight: Annotated[StrictInt, Field(ge=0, le=_ALL)] = 0
    """Percent of the requests that the candidate answers now."""
    shadow: StrictBool = False
    """Whether the candidate is sent a copy of every prediction, and answers none."""
    kept: str = ""
    """Model version in the other slot that was stable before; empty: there is none."""
    kept_until: str = ""
    """The time from which the kept version may go: RFC 3339, UTC."""

    @model_validator(mode="after")
    def _require_possible(self) -> Self:
        if problem := _impossible(self):
            raise ValueError(problem)
        return self

    @property
    def other_slot(self) -> Slot:
        """The slot that the stable version is not in."""
        return "green" if self.slot == "blue" else "blue"

    @property
    def other(self) -> str:
        """The model version in the other slot; empty when nothing is."""
        return self.candidate or self.kept

    @property
    def has_two_slots(self) -> bool:
        """Whether two versions may have to serve beside each other."""
        return self.strategy != "rolling"

    def to_dict(self) -> dict[str, Any]:
        """The object as it is written into a stack's config: what is empty or off is left out."""
        found = {**asdict(self), "steps": list(self.steps)}
        empty = [key for key in _WHERE_IT_IS if not found[key]]
        return {key: value for key, value in found.items() if key not in empty}


def slot_name(name: str, slot: Slot, what: str) -> str:
    """The name of an object in a slot. Names in blue are those without slots, so that a rollout renames nothing."""
    return f"{name}-{what}" if slot == "blue" else f"{name}-{slot}-{what}"


def rollout_outputs(rollout: RolloutConfig) -> dict[str, Any]:
    """The stack's outputs about its rollout; none for strategy rolling."""
    if not rollout.has_two_slots:
        return {}
    return {
        "slot": rollout.slot,
        "candidate": rollout.candidate,
        "candidateWeight": rollout.weight,
        "kept": rollout.kept,
    }


def parse_rollout_config(value: Any, where: str, model_version: str, platform: str) -> RolloutConfig:
    """Checks a rollout object.

    Args:
        value: as the config has it; None for the defaults.
        where: file and key, for errors.
        model_version: the stack's stable one.
        platform: `local`, `docker` or `kubernetes`.

    Raises:
        ConfigError: it does not fit, or is impossible; names the key, the value and what is allowed.
    """
    if value is None:
        return RolloutConfig()
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: {value!r} is not allowed; allowed: an object")
    try:
        config = TypeAdapter(RolloutConfig).validate_python(_plain(value))
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(where, problem) for problem in error.errors())) from None
    if config.has_two_slots and platform == "docker":
        raise ConfigError(
            f"{where}.strategy: {config.strategy!r} is not allowed; allowed on platform docker: 'rolling'"
        )
    if config.shadow and platform == "kubernetes":
        raise ConfigError(
            f"{where}.shadow: true is not allowed; allowed on platform kubernetes: false (an HTTPRoute does not tell "
            "what a mirrored request was answered)"
        )
    if config.other and config.other == model_version:
        key = "candidate" if config.candidate else "kept"
        raise ConfigError(f"{where}.{key}: {config.other!r} is not allowed; it is the stable version already")
    return config


def _impossible(config: RolloutConfig) -> str:
    """What is wrong with the config, and what is allowed; empty when it is valid."""
    if config.candidate and config.kept:
        return "a candidate or a kept version, not both: there are two slots"
    if config.strategy == "rolling" and config.other:
        return "strategy blue_green or canary where there is a candidate or a kept version"
    if config.weight and not config.candidate:
        return "weight 0 where there is no candidate"
    if config.shadow and (config.weight or not config.candidate):
        return "shadow with a candidate of weight 0"
    if any(before >= after for before, after in pairwise(config.steps)) or config.steps[-1] != _ALL:
        return "steps that grow and end with 100, such as [5, 25, 50, 100]"
    if bool(config.kept) != bool(config.kept_until) or not _is_time(config.kept_until or "2026-01-01T00:00:00Z"):
        return "kept with kept_until, such as 2026-10-09T14:00:00Z"
    return ""


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    steps = value.get("steps")
    return {**value, **({"steps": tuple(steps)} if isinstance(steps, list) else {})}


def _sentence(where: str, problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    path = f"{where}.{key}" if key else where
    kind = problem["type"]
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        known = RolloutChecks if len(problem["loc"]) > 1 else RolloutConfig
        return f"{path}: unknown key; allowed: {', '.join(known.__dataclass_fields__)}"
    if kind == "value_error":
        return f"{path}: is not possible; allowed: {problem['ctx']['error']}"
    return f"{path}: {problem.get('input')!r} is not allowed; {problem['msg'][0].lower()}{problem['msg'][1:]}"
