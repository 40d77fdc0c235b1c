"""What a fault is: prepared, begun while requests come at a constant rate, and taken away again."""

from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path

from tests.faults.endpoint import Endpoint, Place


class Fault(ABC):
    """One fault. What it needs is undone by the stack that it is given."""

    name = ""
    """As the table has it."""
    may_fail = "none"
    """Which requests may fail."""
    says: tuple[str, ...] = ()
    """Beginnings of messages that the log must have."""
    counts: tuple[str, ...] = ()
    """Beginnings of the names of counters that must have grown."""
    most_rate = 100_000
    """Requests a second that the fault's own tools leave room for."""
    needs_root = False
    counts_go_on = True
    """Whether the counters must have every request that was answered: no process ends that has some alone."""
    answers_metrics = True
    """Whether `/metrics` must answer meanwhile."""

    def prepare(self, place: Place, stack: ExitStack) -> Endpoint:
        """Returns an endpoint that has not started."""
        return Endpoint(place)

    def logs(self, endpoint: Endpoint) -> list[Path]:
        """The logs that are read."""
        return [endpoint.read_log or endpoint.log]

    @abstractmethod
    def begin(self, endpoint: Endpoint) -> int:
        """Lets the fault begin; returns how many requests may fail: at most one a connection of a process that ends."""

    def end(self, endpoint: Endpoint) -> None:  # noqa: B027 - most faults end by themselves
        """Takes the fault away, where it does not end by itself."""
