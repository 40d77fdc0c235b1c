"""The rollout object of a stack's config: the strategy of a rollout, and its progress.

    fraud-detection:rollout: {strategy: canary, steps: [5, 25, 50, 100], interval_seconds: 300}

A stack has two slots, blue and green. One holds the stable version, `modelVersion`. The other is empty, or holds a
candidate, or keeps the previous version for a rollback. Promotion moves no process and no pod: it changes which slot is
the stable one.
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

from infra.errors import ConfigError, show_value

_STRICT = ConfigDict(extra="forbid")
_ALL = 100
_WHERE_IT_IS = ("candidate", "weight", "shadow", "kept", "kept_until", "capacity")
"""Keys that a stack's config leaves out when they are empty."""
STATE_KEYS = ("slot", *_WHERE_IT_IS)
"""Keys of a rollout's progress: they are in the stack's state. All others are in its file."""
Slot = Literal["blue", "green"]
Strategy = Literal["rolling", "blue_green", "canary"]
Percent = Annotated[StrictInt, Field(ge=1, le=_ALL)]
Share = Annotated[StrictFloat, Field(gt=0, lt=1)]


@dataclass(frozen=True, config=_STRICT)
class RolloutChecks:
    """Margins by which a candidate may be worse than the stable version before it is withdrawn."""

    error_rate: Share = 0.02
    """Allowed excess over stable's share of requests answered with a server error."""
    latency_ratio: Annotated[StrictFloat, Field(gt=1, le=100)] = 1.5
    """Times stable's p95; requests beyond that are slow. Allowed are as many as stable has beyond its p95: 5 %."""
    decision_rate: Share = 0.05
    """Allowed difference from stable's share of transactions decided as fraud."""
    decision_factor: Annotated[StrictFloat, Field(gt=1, le=1000)] = 4.0
    """Times, or part, of stable's share of transactions decided as fraud that is too much, or too little, where that is
    less than `decision_rate`."""
    accuracy: Share = 0.05
    """Allowed loss against stable's share of correct decisions among those with feedback."""
    wrong_decision: Annotated[StrictFloat, Field(ge=0.0001, le=0.2)] = 0.01
    """Error probability of one check: to withdraw an equal candidate, or to pass one beyond the margin."""
    max_wait_seconds: Annotated[StrictInt, Field(ge=1, le=604_800)] = 3600
    """Minutes that a step waits for enough requests; after that a person has to decide."""


@dataclass(frozen=True, config=_STRICT)
class RolloutConfig:
    """`fraud-detection:rollout`."""

    strategy: Strategy = "rolling"
    """`rolling` replaces in place; `blue_green` switches at once; `canary` step by step."""
    steps: Annotated[tuple[Percent, ...], Field(min_length=1)] = (5, 25, 50, 100)
    """Steps of a canary: percent of the requests that the candidate answers."""
    interval_seconds: Annotated[StrictInt, Field(ge=0, le=604_800)] = 300
    """Minimum duration of a step."""
    keep_minutes: Annotated[StrictInt, Field(ge=0, le=10_080)] = 30
    """Minutes that the previous version stays at full size after a switch, for a rollback by switch."""
    checks: RolloutChecks = Field(default_factory=RolloutChecks)
    slot: Slot = "blue"
    """The slot of the stable version."""
    candidate: str = ""
    """Model version in the other slot that is on trial; empty for none."""
    weight: Annotated[StrictInt, Field(ge=0, le=_ALL)] = 0
    """Percent of the requests that the candidate answers now."""
    shadow: StrictBool = False
    """Whether the candidate only gets a copy of every prediction."""
    kept: str = ""
    """Model version in the other slot that was stable before; empty for none."""
    kept_until: str = ""
    """Time after which the kept version may be removed: RFC 3339, UTC."""

    capacity: Annotated[StrictInt, Field(ge=0, le=10_000)] = 0
    """Pods that the other slot has at least: as many as served when it was filled; 0 for the stack's least number."""

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
        """The model version in the other slot; empty when the slot is."""
        return self.candidate or self.kept

    @property
    def has_two_slots(self) -> bool:
        """Whether the strategy needs two slots."""
        return self.strategy != "rolling"

    def to_dict(self) -> dict[str, Any]:
        """The object for a stack's config, without empty values."""
        found = {**asdict(self), "steps": list(self.steps)}
        empty = [key for key in _WHERE_IT_IS if not found[key]]
        return {key: value for key, value in found.items() if key not in empty}


def slot_name(name: str, slot: Slot, what: str) -> str:
    """The name of an object in a slot. Blue uses the names without a slot, so a rollout renames nothing."""
    return f"{name}-{what}" if slot == "blue" else f"{name}-{slot}-{what}"


def rollout_outputs(rollout: RolloutConfig) -> dict[str, Any]:
    """The stack's outputs about its rollout, from which the next update goes on; none where it is the default."""
    whole = {"rollout": rollout.to_dict()} if rollout != RolloutConfig() else {}
    if not rollout.has_two_slots:
        return whole
    return {
        **whole,
        "slot": rollout.slot,
        "candidate": rollout.candidate,
        "candidateWeight": rollout.weight,
        "kept": rollout.kept,
    }


def parse_rollout_config(value: Any, where: str, model_version: str, platform: str) -> RolloutConfig:
    """Checks a rollout object.

    Args:
        value: the config's object; None for the defaults.
        where: file and key, for errors.
        model_version: the stack's stable version.
        platform: `local`, `docker` or `kubernetes`.

    Raises:
        ConfigError: the object is not valid, or not possible; names the key, the value and what is allowed.
    """
    if value is None:
        return RolloutConfig()
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: {show_value(value)} is not allowed; allowed: an object")
    try:
        config = TypeAdapter(RolloutConfig).validate_python(_plain(value))
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(where, problem) for problem in error.errors())) from None
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
    """The allowed combination that a config breaks, for a message; empty when it is valid."""
    if config.capacity and not config.other:
        return "capacity 0 where the other slot is empty"
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
        return f"{path}: {show_value(problem.get('input'))} is not possible; allowed: {problem['ctx']['error']}"
    return f"{path}: {show_value(problem.get('input'))} is not allowed; {problem['msg'][0].lower()}{problem['msg'][1:]}"
