"""What a stack's state says of its deployment: version, rollout and break-glass, from the stack's outputs.

Outputs are in the backend: every clone and every colleague reads the same ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from conventions.config_keys import BREAK_GLASS, MODEL_VERSION, ROLLOUT
from infra.rollout_config import STATE_KEYS

_KEPT_MINUTES = 30


@dataclass(frozen=True)
class StackState:
    """The deployment of a stack, as its last update left it."""

    model_version: str = ""
    """The stable model version; empty when nothing is deployed."""
    rollout: Mapping[str, Any] = field(default_factory=dict)
    """The rollout object; empty for the default."""
    break_glass: Mapping[str, Any] = field(default_factory=dict)
    """The break-glass; empty when none is broken."""
    deployment_name: str = ""
    """The name that the endpoint was deployed under."""
    url: str = ""
    """The endpoint's address."""
    image: str = ""
    """The image that it was deployed with; empty for a process."""

    @classmethod
    def of(cls, outputs: Mapping[str, Any]) -> "StackState":
        """The state that a stack's outputs tell."""
        if not outputs.get("modelVersion"):
            return cls()
        rollout = outputs.get("rollout")
        glass = outputs.get("breakGlass")
        return cls(
            str(outputs["modelVersion"]),
            _numbers(rollout) if isinstance(rollout, Mapping) else _of_slots(outputs),
            _numbers(glass) if isinstance(glass, Mapping) else {},
            *(str(outputs.get(key) or "") for key in ("deploymentName", "url", "image")),
        )

    def over(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a stack's config with the state in it; how a rollout is made is the config's own.

        Args:
            config: values by key, with the project before each key.
        """
        values = {key: value for key, value in config.items() if key not in (MODEL_VERSION, ROLLOUT, BREAK_GLASS)}
        values[MODEL_VERSION] = self.model_version
        rollout = {**self.rollout, **rollout_settings(config.get(ROLLOUT))}
        if rollout:
            values[ROLLOUT] = rollout
        if self.break_glass:
            values[BREAK_GLASS] = dict(self.break_glass)
        return values

    def rollout_under(self, model_version: str) -> dict[str, Any]:
        """The rollout object where a config names the stable version, as a plain `pulumi up` to a prior version does.

        The version that is kept for a rollback is kept no longer once it is the stable one itself.

        Args:
            model_version: the stable version of the next update.
        """
        gone = ("kept", "kept_until", "capacity") if self.rollout.get("kept") == model_version else ()
        return {key: value for key, value in self.rollout.items() if key not in gone}


def rollout_settings(rollout: Any) -> dict[str, Any]:
    """The part of a rollout object that is configuration: strategy, steps, times and checks."""
    if not isinstance(rollout, Mapping):
        return {}
    return {key: value for key, value in rollout.items() if key not in STATE_KEYS}


def has_rollout_state(rollout: Any) -> bool:
    """Whether a rollout object tells how far the rollout has come."""
    return isinstance(rollout, Mapping) and any(key in rollout for key in STATE_KEYS)


def _of_slots(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The rollout of a stack that an earlier release deployed: its outputs name slots, candidate and kept version."""
    if "slot" not in outputs:
        return {}
    found = {
        # No output names it: steps are a canary's, a switch is like the deploy that left the kept version.
        "strategy": "canary" if outputs.get("candidate") else "blue_green",
        "slot": outputs["slot"],
        "candidate": outputs.get("candidate") or "",
        "weight": int(outputs.get("candidateWeight") or 0),
        "kept": outputs.get("kept") or "",
    }
    if found["kept"]:
        # The end of a day: two readings of one state agree.
        until = datetime.now(UTC) + timedelta(days=1, minutes=_KEPT_MINUTES)
        found["kept_until"] = f"{until:%Y-%m-%d}T00:00:00Z"
    return {key: value for key, value in found.items() if value}


def _numbers(value: Any) -> Any:
    """The engine hands over whole numbers as floats."""
    if isinstance(value, Mapping):
        return {str(key): _numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
