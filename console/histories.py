"""The deployments of every environment, read again when a stack's history has changed.

Reading asks the engine and takes a second or more, so that it happens beside the pages: a page shows what is known, and
since when.
"""

import json
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from console.processes import WorkerFailed, run_worker
from console.settings import ConsoleSettings
from stacks.engine.backend import history_mark
from stacks.environments import DeploymentEnvironment
from stacks.history import Deployment, Intent

_ELSEWHERE_SECONDS = 30.0
"""A history that is not in a directory is read again after so long."""
_AGAIN_SECONDS = 5.0
"""After a failure."""
_READ_SECONDS = 300.0
_FIRST_WAIT_SECONDS = 0.15


@dataclass(frozen=True)
class History:
    """What is known of an environment's deployments."""

    deployments: tuple[Deployment, ...] = ()
    """Newest first."""
    read_at: float = 0.0
    """Unix time."""
    problem: str = ""
    """Why it could not be read again; empty when it could."""
    configs: tuple[bytes, ...] = field(default=(), repr=False)
    config_of: tuple[int, ...] = field(default=(), repr=False)

    @property
    def current(self) -> Deployment | None:
        """What serves now."""
        return next((each for each in self.deployments if each.current), None)

    def find(self, deployment_id: str) -> tuple[Deployment, dict[str, Any]] | None:
        """A deployment with the config that it was made with; None when the history has none of this id."""
        for number, each in enumerate(self.deployments):
            if each.deployment_id == deployment_id:
                return each, json.loads(zlib.decompress(self.configs[self.config_of[number]]))
        return None


class Histories:
    """The histories of a checkout's environments; every method may be called from any thread.

    Args:
        settings: of the console.
        clock: Unix time.
    """

    def __init__(self, settings: ConsoleSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._clock = settings, clock
        self._reading = threading.Lock()
        self._read_once = threading.Event()
        self._known: dict[str, History] = {}
        self._marks: dict[str, str | None] = {}

    def of(self, environment: DeploymentEnvironment | str, *, wait: float = _FIRST_WAIT_SECONDS) -> History:
        """The history of an environment as it is known.

        Args:
            environment: which.
            wait: seconds to wait for the very first reading, which `refresh` does; without it nothing is known.
        """
        self._read_once.wait(wait)
        return self._known.get(str(environment), History())

    def refresh(self, *, now: bool = False) -> None:
        """Reads again what has changed.

        Args:
            now: of a history elsewhere, whether it is read although it was read lately.
        """
        with self._reading:
            stale = [each for each in DeploymentEnvironment if self._is_stale(each, now=now)]
            if stale:
                self._read(stale)
            self._read_once.set()

    def _is_stale(self, environment: DeploymentEnvironment, *, now: bool) -> bool:
        name = str(environment)
        known = self._known.get(name)
        if known is None:
            return True
        age = self._clock() - known.read_at
        if known.problem:
            return now or age > _AGAIN_SECONDS
        mark = history_mark(self._settings.checkout, environment.stack)
        return mark != self._marks[name] if mark is not None else now or age > _ELSEWHERE_SECONDS

    def _read(self, wanted: list[DeploymentEnvironment]) -> None:
        marks = {str(each): history_mark(self._settings.checkout, each.stack) for each in wanted}
        empty = [name for name, mark in marks.items() if mark == ""]
        names = [name for name in marks if name not in empty]
        found: dict[str, Any] = {}
        problem = ""
        try:
            if names:
                found = run_worker(
                    self._settings.checkout,
                    "histories",
                    "",
                    {"environments": names},
                    timeout_seconds=_READ_SECONDS,
                )
        except WorkerFailed as error:
            problem = str(error)
        for name, mark in marks.items():
            before = self._known.get(name, History())
            if problem and name in names:
                known = History(before.deployments, self._clock(), problem, before.configs, before.config_of)
            else:
                known = _history(found.get(name, {}), self._clock())
            self._known[name], self._marks[name] = known, mark


def _history(content: dict[str, Any], read_at: float) -> History:
    rows = content.get("deployments", [])
    deployments = tuple(Deployment(**{**row, "intent": Intent(row["intent"])}) for row in rows)
    configs = tuple(zlib.compress(text.encode()) for text in content.get("configs", []))
    return History(deployments, read_at, "", configs, tuple(content.get("config_of", [])))
