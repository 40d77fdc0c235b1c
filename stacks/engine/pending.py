"""A change that a command of this checkout has begun: what `resume` goes on with when the command was killed."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conventions.config_keys import BREAK_GLASS, MODEL_VERSION, ROLLOUT

STATE = (MODEL_VERSION, ROLLOUT, BREAK_GLASS)
"""Keys of a stack's config whose values the backend has."""


def run_file(checkout: Path, stack: str) -> Path:
    """The config that the engine is given during a change."""
    return checkout / ".run" / f"Pulumi.{stack}.yaml"


@dataclass(frozen=True)
class PendingChange:
    """One change of a stack, from before the update until after it."""

    checkout: Path
    stack: str
    began_with: dict[str, Any]
    """The state that the change began with, by key of the config: it counts while the backend has this one."""
    asked: dict[str, Any]
    """The state that it asks for."""

    def write(self, config: str) -> None:
        """Records the change and writes the engine's config; the record is the last."""
        target = run_file(self.checkout, self.stack)
        target.parent.mkdir(parents=True, exist_ok=True)
        record = json.dumps({"began_with": self.began_with, "asked": self.asked}, indent=2)
        for path, text in ((target, config), (_record(self.checkout, self.stack), record)):
            staging = path.with_name(f".{path.name}.{os.getpid()}")
            staging.write_text(text, encoding="utf-8")
            staging.replace(path)

    def remove(self) -> None:
        """Forgets the change: it is done, or was taken back."""
        _record(self.checkout, self.stack).unlink(missing_ok=True)
        run_file(self.checkout, self.stack).unlink(missing_ok=True)


def pending_change(checkout: Path, stack: str) -> PendingChange | None:
    """The change that was begun and not ended; None where there is none."""
    try:
        content = json.loads(_record(checkout, stack).read_text(encoding="utf-8"))
        return PendingChange(checkout, stack, dict(content["began_with"]), dict(content["asked"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _record(checkout: Path, stack: str) -> Path:
    return checkout / ".run" / f"{stack}.change.json"
