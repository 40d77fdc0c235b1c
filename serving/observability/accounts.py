"""What the processes of one group have counted, as one: `/metrics` and `/status` of any process answer for all.

Each process gives an account of itself, which another one can read, and which a process that takes its place goes on
from. It knows the insides of `ServiceMetrics`, which counts for one process and stays as quick as that allows.
"""

import copy
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from conventions import metric_names as names
from serving.observability.drift import ScoreWatch
from serving.observability.metrics import ServiceMetrics, Snapshot, _Counts
from serving.observability.outcomes import Outcomes
from serving.observability.resources import cores_in_use, disk_bytes, memory_bytes, shares_of_limits

_Outcomes = list[tuple[bool, bool, int]]
"""Decided as fraud, was fraud, how many."""


class CountsAccount(msgspec.Struct):
    """`_Counts`, in words that can be written."""

    requests: int
    errors: int
    decisions: int
    frauds: int
    outcomes: _Outcomes
    latencies: dict[int, int]

    @classmethod
    def of(cls, counts: _Counts) -> "CountsAccount":
        """The account of some counts."""
        plain = counts.requests, counts.errors, counts.decisions, counts.frauds
        return cls(*plain, _written(counts.outcomes), dict(counts.latencies))

    def counts(self) -> _Counts:
        """The counts of the account."""
        plain = self.requests, self.errors, self.decisions, self.frauds
        return _Counts(*plain, _read(self.outcomes), Counter(self.latencies))


class ProcessAccount(msgspec.Struct):
    """What one process, and those whose place it has taken, have counted."""

    pid: int
    started: float
    total: CountsAccount
    before: CountsAccount
    """Counts at the beginning of the last minute."""
    seconds: float
    """How long ago that was."""
    latency_sum_ms: float
    buckets: list[int]
    by_reason: dict[str, dict[str, int]]
    pushed: CountsAccount | None
    """What CloudWatch was given for all processes."""
    others: dict[str, _Outcomes]
    """Of decisions of other versions, by version."""
    others_pushed: dict[str, _Outcomes]
    cores: float
    memory: int
    disk: tuple[int, int]
    lines_lost: int
    last_used: dict[str, float]
    """Unix time of the last use of each API key, by its hash."""
    rows: list[Any] = []
    """Latest transactions, where they are asked for."""
    first_scores: list[float] = []
    latest_scores: list[float] = []


class Past:
    """What the processes have counted whose place this one takes, beside what `ServiceMetrics` goes on from."""

    def __init__(self) -> None:
        self.disk = (0, 0)
        self.lines_lost = 0
        self.last_used: dict[str, float] = {}


def account_of(
    metrics: ServiceMetrics, past: Past, pid: int, lines_lost: int, last_used: dict[str, float], *, rows: int
) -> ProcessAccount:
    """The account of this process.

    Args:
        metrics: of the process.
        past: of those before it.
        pid: of the process.
        lines_lost: of its log.
        last_used: its API keys, as in the account.
        rows: how many transactions and scores it gives, for drift; 0 for none, which costs little.
    """
    read, written = disk_bytes()
    with metrics._counted() as total:
        at, before = metrics._recent[0]
        pushed = metrics._pushed
        found = ProcessAccount(
            pid,
            metrics._started,
            CountsAccount.of(total),
            CountsAccount.of(before),
            time.monotonic() - at,
            metrics._latency_sum_ms,
            list(metrics._buckets),
            metrics._reasons(),
            None if pushed is None else CountsAccount.of(pushed),
            {version: _written(found) for version, found in metrics._others.by_version.items()},
            {version: _written(found) for version, found in metrics._others._pushed.items()},
            cores_in_use(),
            memory_bytes(),
            (read + past.disk[0], written + past.disk[1]),
            lines_lost + past.lines_lost,
            {**past.last_used, **last_used},
        )
        if rows:
            found.rows = list(metrics._drift._rows)[-rows:]
            found.first_scores = [float(score) for score in metrics._scores._first]
            found.latest_scores = [float(score) for score in metrics._scores._latest]
        return found


def go_on_from(metrics: ServiceMetrics, account: ProcessAccount) -> Past:
    """Goes on counting where another process has ended."""
    past = Past()
    past.disk, past.lines_lost, past.last_used = account.disk, account.lines_lost, account.last_used
    with metrics._counted():
        metrics._total = account.total.counts()
        metrics._recent.clear()
        metrics._recent.append((time.monotonic(), metrics._total.copy()))
        metrics._latency_sum_ms, metrics._buckets = account.latency_sum_ms, list(account.buckets)
        for name, reasons in account.by_reason.items():
            if name in metrics._by_reason:
                metrics._by_reason[name].update(reasons)
        metrics._pushed = None if account.pushed is None else account.pushed.counts()
        metrics._others.by_version = {version: _read(found) for version, found in account.others.items()}
        metrics._others._pushed = {version: _read(found) for version, found in account.others_pushed.items()}
    return past


class MetricsOfAll(ServiceMetrics):
    """The sum of the accounts of a group, with everything that one process can tell of itself.

    Args:
        own: of the process that is asked.
        accounts: of all processes, this one's too.
        alive: those of them whose process runs.
    """

    def __init__(
        self, own: ServiceMetrics, accounts: Sequence[ProcessAccount], alive: Sequence[ProcessAccount]
    ) -> None:
        super().__init__(own._settings, copy.copy(own._drift))
        self._lock = threading.Lock()
        self.accounts = accounts
        self._alive = alive
        self._total = _sum(each.total.counts() for each in accounts)
        before = _sum(each.before.counts() for each in accounts)
        seconds = max((each.seconds for each in alive), default=0.0)
        self._recent = deque([(time.monotonic() - seconds, before)])
        self._latency_sum_ms = sum(each.latency_sum_ms for each in accounts)
        self._buckets = [sum(column) for column in zip(*(each.buckets for each in accounts), strict=True)]
        self._started = max(each.started for each in accounts)
        for each in accounts:
            for name, reasons in each.by_reason.items():
                self._by_reason.setdefault(name, Counter()).update(reasons)
        self._pushed, self._pushed_disk = own._pushed, own._pushed_disk
        for each in accounts:
            for version, outcomes in each.others.items():
                self._others.add(version, _read(outcomes))
        self._others._pushed, self.paused_until = own._others._pushed, own.paused_until
        self._drift._rows = deque(row for each in alive for row in each.rows)
        self._scores = ScoreWatch()
        self._scores._first = [score for each in alive for score in each.first_scores]
        self._scores._latest = deque(score for each in alive for score in each.latest_scores)

    @property
    def memory(self) -> int:
        """Bytes of memory of all processes."""
        return sum(each.memory for each in self._alive)

    @property
    def lines_lost(self) -> int:
        """Lines of the request log that were lost."""
        return sum(each.lines_lost for each in self.accounts)

    @property
    def decisions_lost(self) -> int:
        """Decisions that are not in the decision log."""
        return self._by_reason[names.DECISION_LOG]["lost"]

    @property
    def processes(self) -> list[dict[str, Any]]:
        """Each process that runs, with its memory in bytes and its cores in use."""
        return [{"pid": each.pid, "memory_bytes": each.memory, "cores": round(each.cores, 4)} for each in self._alive]

    def gauges(self, counts: _Counts, drift: Any) -> dict[str, float]:
        """As of one process; CPU and memory are those of all."""
        cores = sum(each.cores for each in self._alive)
        return {**super().gauges(counts, drift), **shares_of_limits(cores, self.memory)}

    def snapshot(self) -> Snapshot:
        """As of one process; the bytes of disks are those of all."""
        found = super().snapshot()
        read, written = self._disk()
        return replace(found, counters={**found.counters, names.DISK_READ: read, names.DISK_WRITTEN: written})

    def take_minute(self) -> list[dict[str, Any]]:
        """As of one process; the bytes of disks are those of all."""
        read, written = (now - before for now, before in zip(self._disk(), self._pushed_disk, strict=True))
        data = super().take_minute()
        self._pushed_disk = self._disk()
        sums = {names.DISK_READ: max(0, read), names.DISK_WRITTEN: max(0, written)}
        return [{**each, "Value": sums[each["MetricName"]]} if each["MetricName"] in sums else each for each in data]

    def _disk(self) -> tuple[int, int]:
        return sum(each.disk[0] for each in self.accounts), sum(each.disk[1] for each in self.accounts)


def _written(outcomes: Outcomes) -> _Outcomes:
    return [(decided, was, count) for (decided, was), count in outcomes.items()]


def _read(outcomes: _Outcomes) -> Outcomes:
    return Counter({(decided, was): count for decided, was, count in outcomes})


def _sum(found: Any) -> _Counts:
    total = _Counts()
    for each in found:
        total.requests += each.requests
        total.errors += each.errors
        total.decisions += each.decisions
        total.frauds += each.frauds
        total.outcomes.update(each.outcomes)
        total.latencies.update(each.latencies)
    return total
