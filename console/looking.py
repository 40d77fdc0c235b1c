"""Looks at environments beside the pages: one look serves every browser, so that an endpoint has one more caller.

An environment is looked at every two seconds while somebody watches it or a candidate is being tried (in a cluster,
whose numbers CloudWatch has by the minute, every fifteen), and its state alone every fifteen otherwise.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from console.acting import open_registry_as
from console.histories import Histories
from console.settings import ConsoleSettings
from stacks.environments import DeploymentEnvironment

if TYPE_CHECKING:
    from infra.deployment_config import DeploymentConfig
    from stacks.deployment import ModelDeployment
    from stacks.rollout.state import RolloutStatus

_WATCHED_SECONDS, _IDLE_SECONDS = 2.0, 15.0
_WATCHED_FOR = 30.0
"""So long after the last question somebody counts as watching."""
_FIRST_WAIT_SECONDS = 0.2
_POINTS = 900


@dataclass(frozen=True)
class Look:
    """What was seen of an environment at one moment."""

    at: float = 0.0
    """Unix time; 0 before the first look."""
    model_version: str = ""
    config: "DeploymentConfig | None" = None
    platform: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """The endpoint's `/status`; empty when it does not answer."""
    alerts: tuple[Mapping[str, Any], ...] = ()
    silent: str = ""
    """Why there are no numbers."""
    rollout: "RolloutStatus | None" = None
    problem: str = ""
    """Why nothing of the environment can be read."""

    @property
    def health(self) -> str:
        """One word: `healthy`, `alarm`, `silent`, `unfit`, `nothing deployed` or `unknown`."""
        if self.at == 0.0 or self.problem:
            return "unknown"
        if not self.model_version:
            return "nothing deployed"
        if self.rollout is not None and self.rollout.lacking:
            return "unfit"
        if self.silent:
            return "silent"
        if not self.numbers:
            return "unknown"
        return "alarm" if any(alert["breached"] for alert in self.alerts) else "healthy"


@dataclass
class _Watched:
    look: Look = field(default_factory=Look)
    asked: float = 0.0
    looked: threading.Event = field(default_factory=threading.Event)
    wake: threading.Event = field(default_factory=threading.Event)
    measured: "deque[dict[str, float | None]]" = field(default_factory=lambda: deque(maxlen=_POINTS))
    walked: "deque[dict[str, Any]]" = field(default_factory=lambda: deque(maxlen=_POINTS))


class Looking:
    """Looks at every environment in a thread of its own.

    Args:
        settings: of the console.
        histories: tells when an environment was changed last.
        clock: Unix time.
    """

    def __init__(self, settings: ConsoleSettings, histories: Histories, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._histories, self._clock = settings, histories, clock
        self._watched = {str(each): _Watched() for each in DeploymentEnvironment}
        self._ended = threading.Event()

    def start(self) -> None:
        """Begins to look."""
        for each in DeploymentEnvironment:
            threading.Thread(target=self._run, args=(each,), name=f"look at {each}", daemon=True).start()

    def stop(self) -> None:
        """Ends the threads at their next step."""
        self._ended.set()
        for each in self._watched.values():
            each.wake.set()

    def at(self, environment: str, *, wait: float = _FIRST_WAIT_SECONDS) -> Look:
        """The last look at an environment, which counts as watched from now on.

        Args:
            environment: which.
            wait: seconds to wait for the very first look.
        """
        watched = self._watched[environment]
        idle = self._clock() - watched.asked > _WATCHED_FOR
        watched.asked = self._clock()
        if idle:
            watched.looked.clear()
            watched.wake.set()
        watched.looked.wait(wait)
        return watched.look

    def measured(self, environment: str) -> list[dict[str, float | None]]:
        """What was measured while somebody watched, oldest first: `at`, `rate`, `p50`, `p95`, `p99`, `errors`."""
        return list(self._watched[environment].measured)

    def walked(self, environment: str) -> list[dict[str, Any]]:
        """How far the tests of the rollout's present step had come at each look, oldest first."""
        return list(self._watched[environment].walked)

    def again(self) -> None:
        """Looks at once: something was changed."""
        for each in self._watched.values():
            each.wake.set()

    def _run(self, environment: DeploymentEnvironment) -> None:
        from stacks.deployment import ModelDeployment

        watched = self._watched[str(environment)]
        deployments: ModelDeployment | None = None
        while not self._ended.is_set():
            is_watched = self._clock() - watched.asked <= _WATCHED_FOR
            try:
                if deployments is None:
                    registry = open_registry_as(self._settings.checkout, "")
                    deployments = ModelDeployment(self._settings.checkout, registry)
                look = self._look(deployments, environment, is_watched=is_watched)
            except Exception as error:
                look = Look(self._clock(), problem=f"{error}" or type(error).__name__)
            watched.look = look
            watched.looked.set()
            self._remember(watched)
            tries = look.rollout is not None and bool(look.rollout.rollout.candidate)
            often = (is_watched or tries) and look.platform != "kubernetes"
            watched.wake.wait(_WATCHED_SECONDS if often else _IDLE_SECONDS)
            watched.wake.clear()

    def _look(self, deployments: "ModelDeployment", environment: DeploymentEnvironment, *, is_watched: bool) -> Look:
        from stacks.errors import EndpointSilent
        from stacks.rollout.rollouts import Rollouts

        self._histories.refresh()
        file = deployments.stack_file(environment)
        if not file.deployed:
            return Look(self._clock(), platform=file.platform)
        config = file.deployment()
        if not is_watched and not file.rollout().candidate:
            return Look(self._clock(), file.model_version, config, file.platform)
        known = self._histories.of(environment).deployments
        since = datetime.fromisoformat(known[0].finished_at) if known else None
        rollout = Rollouts(deployments, self._settings.key_file).status(environment, since)
        numbers: Mapping[str, Any] = {}
        alerts: tuple[Mapping[str, Any], ...] = ()
        silence = rollout.silence
        silent = f"does not serve: {silence.reason}; mend: {silence.mend}" if silence else ""
        if is_watched and not silence:
            try:
                numbers, found = deployments.measure(environment, self._settings.key_file)
                alerts = tuple(alert.to_dict() for alert in found)
            except EndpointSilent as error:
                silent = str(error)
        return Look(self._clock(), file.model_version, config, file.platform, numbers, alerts, silent, rollout)

    def _remember(self, watched: _Watched) -> None:
        look = watched.look
        if look.numbers:
            latency = look.numbers["latency_ms"]
            watched.measured.append(
                {
                    "at": look.at,
                    "rate": look.numbers["requests_per_second"],
                    "errors": look.numbers["error_rate"],
                    **{name: latency.get(name) for name in ("p50", "p95", "p99")},
                }
            )
        rollout = look.rollout
        if rollout is None or not rollout.rollout.candidate:
            watched.walked.clear()
            return
        step = [rollout.rollout.candidate, rollout.rollout.weight, rollout.since]
        if watched.walked and watched.walked[0]["step"] != step:
            watched.walked.clear()
        walks = {
            f"{check.name}: {what}": {"ratio": walk.ratio, "bound": walk.bound, "left": walk.left}
            for check in rollout.checks
            for what, walk in check.walks.items()
        }
        if walks:
            point = {"at": look.at, "step": step, "requests": rollout.numbers["candidate"]["requests"], "walks": walks}
            if not watched.walked or watched.walked[-1]["requests"] != point["requests"]:
                watched.walked.append(point)
