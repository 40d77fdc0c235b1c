"""Memory of each process: it may not grow once the process has warmed up.

A process that answers alone while another one is replaced has more to do from then on, since connections stay where
they are: its memory is judged anew from each event that replaces processes.
"""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from tests.faults.endpoint import Endpoint

_LOOK_SECONDS = 2.0
WARM_SECONDS = 40.0
"""A process fills its windows and caches for so long."""
_MOST_GROWTH = 0.05


@dataclass
class Life:
    """The memory that one process has to itself, since it was first seen, or since other processes were replaced."""

    what: str
    begun: float
    samples: list[tuple[float, int]] = field(default_factory=list)

    @property
    def warm(self) -> list[int]:
        """Bytes, once it has warmed up."""
        return [size for at, size in self.samples if at - self.begun >= WARM_SECONDS]

    @property
    def growth(self) -> float:
        """By which share the memory has grown between the first and the last quarter of the time after warming up."""
        warm = self.warm
        quarter = len(warm) // 4
        if quarter < 2:
            return 0.0
        first, last = sorted(warm[:quarter]), sorted(warm[-quarter:])
        return last[quarter // 2] / first[quarter // 2] - 1


class Memory:
    """Looks at every process of an endpoint every two seconds, in a thread."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.lives: dict[tuple[int, int], Life] = {}
        self._replaced = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def judge_anew(self) -> None:
        """Other processes were replaced."""
        self._replaced += 1

    def stop(self) -> None:
        """Looks no more."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            for process in self._endpoint.processes():
                with suppress(psutil.Error):
                    key = (process.pid, self._replaced)
                    life = self.lives.setdefault(key, Life(_what(process), time.monotonic()))
                    life.samples.append((time.monotonic(), process.memory_full_info().uss))

    def grown(self) -> list[Life]:
        """The processes whose memory has grown by more than five percent."""
        return [life for life in self.lives.values() if life.growth > _MOST_GROWTH]

    def told(self) -> str:
        """The processes that lived long enough to be judged, for people."""
        judged = [life for life in self.lives.values() if len(life.warm) >= 8]
        lines = [f"{life.what}: {min(life.warm) / 1e6:.1f} to {max(life.warm) / 1e6:.1f} MB, "
                 f"{life.growth:+.1%} in {life.samples[-1][0] - life.begun:.0f} s" for life in judged]  # fmt: skip
        return "; ".join(lines)


def _what(process: psutil.Process) -> str:
    command = process.cmdline()
    if "serving.supervisor" in command:
        return "supervisor"
    return "process that serves" if "--slot" in command else "process that keeps them"
