"""What the service counts and measures, and how CloudWatch is given it each minute."""

import os
import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from conventions import metric_names as names
from conventions.alert_rules import error_rate
from conventions.latency import BUCKETS_MS, latency_steps, percentile_step, step_lower_bound
from serving.observability.drift import DriftWatch, ScoreWatch
from serving.observability.logs import service_log
from serving.observability.outcomes import OtherVersions, Outcomes, labelled, outcome_shares, right_and_wrong
from serving.observability.resources import disk_bytes, note_cpu_time, utilization
from serving.observability.status import Status

if TYPE_CHECKING:
    from serving.settings import ServingSettings

_SERVER_ERROR = 500
_COUNTED_AT_ONCE = 256
_TICK_SECONDS = 5.0
_PUSH_TICKS = 12
_WINDOW_TICKS = 12
_TIMEOUT_SECONDS = 5
_VALUES_AT_ONCE = 150
"""CloudWatch takes so many different values of one metric in one call."""


@dataclass
class _Counts:
    requests: int = 0
    errors: int = 0
    decisions: int = 0
    frauds: int = 0
    outcomes: "Counter[tuple[bool, bool]]" = field(default_factory=Counter)
    """Decisions with feedback, by what was decided and what it turned out to be."""
    latencies: "Counter[int]" = field(default_factory=Counter)
    """Requests, by step of latency."""

    def copy(self) -> "_Counts":
        return replace(self, outcomes=Counter(self.outcomes), latencies=Counter(self.latencies))

    def since(self, before: "_Counts") -> "_Counts":
        return _Counts(
            self.requests - before.requests,
            self.errors - before.errors,
            self.decisions - before.decisions,
            self.frauds - before.frauds,
            self.outcomes - before.outcomes,
            self.latencies - before.latencies,
        )

    def shares(self) -> dict[str, float]:
        """What is known of decisions and feedback; what nothing is known about is left out."""
        found = {names.FRAUD_RATE: self.frauds / self.decisions} if self.decisions else {}
        return {**found, **outcome_shares(self.outcomes)}

    def percentile(self, share: float) -> float | None:
        """Milliseconds that so large a share of the requests took at most."""
        step = percentile_step(self.latencies, share)
        return None if step is None else step_midpoint(step)


@dataclass(frozen=True)
class Snapshot:
    """The state of every metric at one moment."""

    labels: dict[str, str]
    counters: dict[str, int]
    gauges: dict[str, float]
    buckets: tuple[int, ...]
    """Number of requests by bucket of `BUCKETS_MS`, the last above all limits."""
    latency_sum_ms: float
    by_reason: dict[str, dict[str, int]]
    """Counters by reason: refused requests, connections that the service has closed, and feedback."""
    outcomes: dict[tuple[str, str, str], int]
    """Decisions with feedback, by version, what it decided and what it turned out to be."""


class ServiceMetrics:
    """Counts of one process; every method may be called from any thread.

    Args:
        settings: of the service.
        drift: compares what comes in with what the model was trained on.
    """

    def __init__(self, settings: "ServingSettings", drift: DriftWatch) -> None:
        self._settings = settings
        self._drift, self._scores = drift, ScoreWatch()
        self._lock = threading.Lock()
        self._total = _Counts()
        self._pushed: _Counts | None = None
        self._pushed_disk = disk_bytes()
        self._recent: deque[tuple[float, _Counts]] = deque([(time.monotonic(), _Counts())], maxlen=_WINDOW_TICKS)
        self._latency_sum_ms = 0.0
        self._buckets = [0] * (len(BUCKETS_MS) + 1)
        self._started = time.time()
        self._by_reason: dict[str, Counter[str]] = {name: Counter() for name in names.BY_REASON}
        self._others = OtherVersions()
        self.paused_until = 0.0
        """Unix time until which an override gives the decisions."""
        self._waiting: deque[tuple[int, float, Sequence[Sequence[Any]], Sequence[float], int, bool]] = deque()

    def refused(self, reason: str) -> None:
        """Counts why a request was answered with an error: the code in its answer."""
        self._by_reason[names.REFUSALS][reason] += 1

    def closed(self, reason: str) -> None:
        """Counts why the service has closed a connection."""
        self._by_reason[names.CONNECTIONS_CLOSED][reason] += 1

    def request(
        self,
        status: int,
        milliseconds: float,
        rows: Sequence[Sequence[Any]] = (),
        scores: Sequence[float] = (),
        frauds: int = 0,
        *,
        undecided: bool = False,
    ) -> None:
        """Counts an answered request.

        Args:
            status: of HTTP.
            milliseconds: from the first byte to the answer.
            rows: its well-formed transactions, whether the model decided them or not.
            scores: of the decided transactions, 0 to 1.
            frauds: how many of them are fraud.
            undecided: whether the model did not decide a transaction that is well formed, which is an error of it.
        """
        # What a request keeps until it is counted is memory that the next ones cannot use again.
        self._waiting.append((status, milliseconds, self._drift.sample(rows), scores, frauds, undecided))
        if len(self._waiting) >= _COUNTED_AT_ONCE:
            with self._counted():
                pass

    @contextmanager
    def _counted(self) -> Iterator[_Counts]:
        """Holds the lock, with every answered request counted: many at a time cost less than one by one."""
        with self._lock:
            total = self._total
            waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if waiting:
                statuses, milliseconds, rows, scores, frauds, undecided = zip(*waiting, strict=True)
                total.requests += len(waiting)
                if any(undecided) or max(statuses) >= _SERVER_ERROR:
                    total.errors += sum(
                        failed or status >= _SERVER_ERROR for failed, status in zip(undecided, statuses, strict=True)
                    )
                total.latencies.update(latency_steps(milliseconds))
                total.decisions += sum(map(len, scores))
                total.frauds += sum(frauds)
                self._latency_sum_ms += sum(milliseconds)
                for each in milliseconds:
                    self._buckets[bisect_left(BUCKETS_MS, each)] += 1
                self._drift.add(rows)
                self._scores.add([score for each in scores for score in each])
            yield total

    def feedback(self, outcomes: Sequence[tuple[bool, bool]], model_id: str = "") -> None:
        """Counts what was decided and what it turned out to be, for each decision.

        Args:
            outcomes: of decisions of one version.
            model_id: the version; the served one when empty.
        """
        with self._counted():
            if model_id in ("", self._settings.model_id):
                self._total.outcomes.update(outcomes)
            else:
                self._others.add(model_id, outcomes)

    def feedback_items(self, what: str, count: int = 1) -> None:
        """Counts items of feedback by what became of them."""
        if count:
            self._by_reason[names.FEEDBACK][what] += count

    def logged(self, what: str, count: int) -> None:
        """Counts decisions by what became of them in the decision log: `written` or `lost`."""
        self._by_reason[names.DECISION_LOG][what] += count

    def overridden(self, answer: str, count: int) -> None:
        """Counts decisions that an override gave."""
        self._by_reason[names.OVERRIDDEN][answer] += count

    def _outcomes(self) -> dict[str, Outcomes]:
        """Decisions with feedback, by the version that decided."""
        own = {self._settings.model_id: self._total.outcomes} if self._total.outcomes else {}
        return {**own, **self._others.by_version}

    def tick(self) -> None:
        """Remembers the counts of now, and the CPU time; called every five seconds."""
        note_cpu_time()
        with self._counted():
            self._recent.append((time.monotonic(), self._total.copy()))

    def gauges(self, counts: _Counts, drift: Mapping[str, float]) -> dict[str, float]:
        """The metrics that are shares or indexes; those about which nothing is known are left out.

        Args:
            counts: of the time that is asked about.
            drift: the index of each feature, as `DriftWatch.by_feature` has it.
        """
        found = {**utilization(), **counts.shares(), names.PAUSED: float(time.time() < self.paused_until)}
        indexes = {names.DRIFT: max(drift.values(), default=None), names.SCORE_DRIFT: self._scores.index()}
        return {**found, **{name: index for name, index in indexes.items() if index is not None}}

    def status(self) -> Status:
        """The last minute and the whole time, for people."""
        with self._counted():
            at, before = self._recent[0]
            minute, seconds = self._total.since(before), max(time.monotonic() - at, 1e-9)
            looked = self._drift.look()
            drift = {name: each.index for name, each in looked.items()}
            return Status(
                seconds=round(seconds, 1),
                requests=minute.requests,
                requests_per_second=round(minute.requests / seconds, 2),
                errors=minute.errors,
                error_rate=error_rate(minute.errors, minute.requests),
                latency_ms={f"p{share}": minute.percentile(share / 100) for share in (50, 95, 99)},
                gauges=self.gauges(self._total, drift),
                drift_by_feature=drift,
                drift_shares={name: each.shares for name, each in looked.items()},
                total={"requests": self._total.requests, "errors": self._total.errors},
                feedback=sum(self._total.outcomes.values()),
                refusals=dict(self._by_reason[names.REFUSALS]),
                connections_closed=dict(self._by_reason[names.CONNECTIONS_CLOSED]),
                feedback_items=dict(self._by_reason[names.FEEDBACK]),
                decisions_lost=self._by_reason[names.DECISION_LOG].get("lost", 0),
                feedback_by_version={version: right_and_wrong(found) for version, found in self._outcomes().items()},
            )

    def snapshot(self) -> Snapshot:
        """The state of every metric since the process started."""
        read, written = disk_bytes()
        with self._counted():
            total = self._total
            counters = {
                names.REQUESTS: total.requests,
                names.ERRORS: total.errors,
                names.DECISIONS: total.decisions,
                names.FRAUDS: total.frauds,
                names.DISK_READ: read,
                names.DISK_WRITTEN: written,
            }
            gauges = {
                **self.gauges(total, self._drift.by_feature()),
                names.HEARTBEAT: 1.0,
                names.START_TIME: self._started,
            }
            labels = {"environment": self._settings.environment, "deployment": self._settings.deployment_name}
            outcomes = labelled(self._outcomes())
            return Snapshot(
                labels, counters, gauges, tuple(self._buckets), self._latency_sum_ms, self._reasons(), outcomes
            )

    def _reasons(self) -> dict[str, dict[str, int]]:
        return {name: dict(counts) for name, counts in self._by_reason.items()}

    def take_minute(self) -> list[dict[str, Any]]:
        """What CloudWatch is given for the time since the last call: each metric with its dimensions."""
        disk = disk_bytes()
        with self._counted():
            first = self._pushed is None
            minute = self._total.since(self._pushed or _Counts())
            self._pushed = self._total.copy()
            gauges = self.gauges(minute, self._drift.by_feature())
            others = self._others.take_minute(self._dimensions) if self._settings.metrics_by_version else []
        read, written = (now - before for now, before in zip(disk, self._pushed_disk, strict=True))
        self._pushed_disk = disk
        counted = {
            names.REQUESTS: minute.requests,
            names.ERRORS: minute.errors,
            names.DECISIONS: minute.decisions,
            names.FRAUDS: minute.frauds,
            names.HEARTBEAT: 1,
        }
        data: list[dict[str, Any]] = [
            *({"MetricName": name, "Value": value, "Unit": "Count"} for name, value in counted.items()),
            {"MetricName": names.STARTS, "Value": int(first), "Unit": "Count"},
            {"MetricName": names.DISK_READ, "Value": read, "Unit": "Bytes"},
            {"MetricName": names.DISK_WRITTEN, "Value": written, "Unit": "Bytes"},
            *({"MetricName": name, "Value": value, "Unit": "None"} for name, value in gauges.items()),
        ]
        latencies = [(step_midpoint(step), count) for step, count in sorted(minute.latencies.items())]
        # Values with their counts: so percentiles stay what they are, over any number of replicas.
        data += [
            {
                "MetricName": names.LATENCY,
                "Values": [value for value, _ in latencies[start : start + _VALUES_AT_ONCE]],
                "Counts": [count for _, count in latencies[start : start + _VALUES_AT_ONCE]],
                "Unit": "Milliseconds",
            }
            for start in range(0, len(latencies), _VALUES_AT_ONCE)
        ]
        settings = self._settings
        versions = ["", settings.model_id] if settings.metrics_by_version else [""]
        return [
            {**item, "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions]}
            for version in versions
            for dimensions in (self._dimensions(version),)
            for item in data
        ] + [*self._heartbeat_of_slot(), *others]

    def _heartbeat_of_slot(self) -> list[dict[str, Any]]:
        """The heartbeat once more with the slot, where there is one: the other slot's does not hide a silence."""
        settings = self._settings
        if not settings.metrics_slot:
            return []
        dimensions = names.dimensions(settings.environment, settings.deployment_name, slot=settings.metrics_slot)
        told = [{"Name": name, "Value": value} for name, value in dimensions]
        return [{"MetricName": names.HEARTBEAT, "Value": 1, "Unit": "Count", "Dimensions": told}]

    def _dimensions(self, version: str) -> tuple[tuple[str, str], ...]:
        return names.dimensions(self._settings.environment, self._settings.deployment_name, version)


class Source(Protocol):
    """What CloudWatch is given."""

    def take_minute(self) -> list[dict[str, Any]]:
        """What came since the last time."""


@contextmanager
def published(metrics: ServiceMetrics, namespace: str, source: "Source | None" = None) -> Iterator[None]:
    """Keeps the last minute in a thread, and gives CloudWatch the metrics each minute and once more at the end.

    Args:
        metrics: of the service.
        namespace: of CloudWatch; nothing is pushed when empty.
        source: of what is pushed; the metrics themselves when None.
    """
    pushed = source or metrics
    ended = threading.Event()

    def run() -> None:
        due, ticks = time.monotonic() + _TICK_SECONDS, 0
        while not ended.wait(max(0.0, due - time.monotonic())):
            due, ticks = due + _TICK_SECONDS, ticks + 1
            try:
                metrics.tick()
                if namespace and ticks % _PUSH_TICKS == 0:
                    push(pushed, namespace)
            except Exception:
                # The next minute is tried all the same: a thread that ends would be missed by nobody.
                service_log.exception("metrics could not be counted")

    threading.Thread(target=run, name="metrics", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        if namespace:
            push(pushed, namespace)


def push(metrics: "Source", namespace: str) -> None:
    """Gives CloudWatch what came since the last time; numbers that it does not accept are lost, and logged as such."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    data = metrics.take_minute()
    try:
        config = Config(connect_timeout=_TIMEOUT_SECONDS, read_timeout=_TIMEOUT_SECONDS)
        # Pods are told AWS_REGION, which this library alone of all does not read.
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        client = boto3.client("cloudwatch", region_name=region, config=config)
        client.put_metric_data(Namespace=namespace, MetricData=data)
    except (BotoCoreError, ClientError) as error:
        service_log.warning("metrics were not delivered", extra={"fields": {"error": str(error)[:300]}})


def step_midpoint(step: int) -> float:
    """The middle of a latency step, in milliseconds; few values, whose percentiles are right to a hundredth."""
    return float(f"{step_lower_bound(step + 0.5):.4g}")
