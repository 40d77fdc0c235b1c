"""Changes that take a while: each runs beside the pages, and a page tells its progress and its end."""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_MOST = 100
_MOST_LINES = 1000
Work = Callable[[Callable[[str], None]], dict[str, Any]]


@dataclass
class Job:
    """One change."""

    job_id: str
    title: str
    environment: str
    actor: str
    began: float = field(default_factory=time.time)
    lines: list[str] = field(default_factory=list)
    ended: float = 0.0
    problem: str = ""
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """`running`, `done` or `failed`."""
        return "running" if not self.ended else "failed" if self.problem else "done"


class Jobs:
    """The changes of this console, the latest hundred."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}

    def start(self, title: str, environment: str, actor: str, work: Work, done: Callable[[], None]) -> Job | None:
        """Begins a change; None where another one of the environment is running.

        Args:
            title: for people.
            environment: that changes.
            actor: who changes it.
            work: carries it out; is told where progress goes, and returns the result.
            done: called afterwards, whatever became of it.
        """
        job = Job(secrets.token_urlsafe(12), title, environment, actor)
        with self._lock:
            if self._running(environment) is not None:
                return None
            self._jobs[job.job_id] = job
            while len(self._jobs) > _MOST:
                del self._jobs[next(iter(self._jobs))]
        threading.Thread(target=_run, args=(job, work, done), name=title, daemon=True).start()
        return job

    def find(self, job_id: str) -> Job | None:
        """A change by its id."""
        return self._jobs.get(job_id)

    def running(self, environment: str) -> Job | None:
        """The change of an environment that is running now."""
        with self._lock:
            return self._running(environment)

    def _running(self, environment: str) -> Job | None:
        found = (each for each in self._jobs.values() if each.environment == environment and each.state == "running")
        return next(found, None)


def _run(job: Job, work: Work, done: Callable[[], None]) -> None:
    def log(line: str) -> None:
        job.lines.append(line)
        del job.lines[:-_MOST_LINES]

    try:
        job.result = work(log)
    except Exception as error:
        job.problem = str(error) or type(error).__name__
    try:
        done()
    finally:
        job.ended = time.time()
