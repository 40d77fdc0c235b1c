"""What the service counts and measures, as Prometheus reads it and as CloudWatch is given it each minute."""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from serving import metric_names as names
from serving.drift import DriftWatch
from serving.logs import service_log
from serving.resources import utilization

if TYPE_CHECKING:
    from serving.settings import ServingSettings

_BUCKETS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_SERVER_ERROR = 500
_PUSH_SECONDS = 60.0
_TIMEOUT_SECONDS = 5
_VALUES_AT_ONCE = 150
"""CloudWatch takes so many different values of one metric in one call."""


class ServiceMetrics:
    """Counts of one process; every method may be called from any thread.

    Args:
        settings: of the service.
        drift: compares what comes in with what the model was trained on.
    """

    def __init__(self, settings: "ServingSettings", drift: DriftWatch) -> None:
        self._settings = settings
        self._drift = drift
        self._lock = threading.Lock()
        self._total = _Counts()
        self._minute = _Counts()
        self._buckets = [0] * (len(_BUCKETS_MS) + 1)
        self._latency_sum_ms = 0.0

    def request(self, status: int, milliseconds: float) -> None:
        """Counts an answered request."""
        with self._lock:
            for counts in (self._total, self._minute):
                counts.requests += 1
                counts.errors += status >= _SERVER_ERROR
            self._minute.latencies[_rounded(milliseconds)] += 1
            self._latency_sum_ms += milliseconds
            self._buckets[sum(milliseconds > limit for limit in _BUCKETS_MS)] += 1

    def decisions(self, rows: Sequence[Sequence[float]], frauds: int) -> None:
        """Counts decided transactions."""
        with self._lock:
            for counts in (self._total, self._minute):
                counts.decisions += len(rows)
                counts.frauds += frauds
            self._drift.add(rows)

    def feedback(self, right: int, wrong: int) -> None:
        """Counts decisions that turned out right or wrong."""
        with self._lock:
            for counts in (self._total, self._minute):
                counts.right += right
                counts.wrong += wrong

    def gauges(self, counts: "_Counts") -> dict[str, float]:
        """The metrics that are shares; those about which nothing is known are left out."""
        found = utilization()
        if counts.decisions:
            found[names.FRAUD_RATE] = counts.frauds / counts.decisions
        if counts.right + counts.wrong:
            found[names.ACCURACY] = counts.right / (counts.right + counts.wrong)
        if (drift := self._drift.index()) is not None:
            found[names.DRIFT] = drift
        return found

    def prometheus(self) -> str:
        """All metrics as Prometheus's text format has them."""
        labels = f'environment="{self._settings.environment}",deployment="{self._settings.deployment_name}"'
        with self._lock:
            counters = {
                names.REQUESTS: self._total.requests,
                names.ERRORS: self._total.errors,
            }
            gauges = {**self.gauges(self._total), names.HEARTBEAT: 1.0}
            lines = [
                line
                for kind, values in (("counter", counters), ("gauge", gauges))
                for name, value in values.items()
                for line in (f"# TYPE {_snake(name, kind)} {kind}", f"{_snake(name, kind)}{{{labels}}} {value:g}")
            ]
            lines += self._histogram(labels)
        return "\n".join(lines) + "\n"

    def _histogram(self, labels: str) -> list[str]:
        name = "fraud_detection_latency_milliseconds"
        lines, seen = [f"# TYPE {name} histogram"], 0
        for limit, count in zip((*_BUCKETS_MS, "+Inf"), self._buckets, strict=True):
            seen += count
            lines.append(f'{name}_bucket{{{labels},le="{limit}"}} {seen}')
        return [*lines, f"{name}_sum{{{labels}}} {self._latency_sum_ms:g}", f"{name}_count{{{labels}}} {seen}"]

    def take_minute(self) -> list[dict[str, Any]]:
        """What CloudWatch is given for the time since the last call: each metric with its dimensions."""
        with self._lock:
            minute, self._minute = self._minute, _Counts()
            gauges = self.gauges(minute)
        dimensions = [
            {"Name": name, "Value": value}
            for name, value in names.dimensions(self._settings.environment, self._settings.deployment_name)
        ]
        data: list[dict[str, Any]] = [
            {"MetricName": names.REQUESTS, "Value": minute.requests, "Unit": "Count"},
            {"MetricName": names.ERRORS, "Value": minute.errors, "Unit": "Count"},
            {"MetricName": names.HEARTBEAT, "Value": 1, "Unit": "Count"},
            *({"MetricName": name, "Value": value, "Unit": "None"} for name, value in gauges.items()),
        ]
        latencies = sorted(minute.latencies.items())
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
        return [{**item, "Dimensions": dimensions} for item in data]


class _Counts:
    def __init__(self) -> None:
        self.requests = self.errors = self.decisions = self.frauds = self.right = self.wrong = 0
        self.latencies: Counter[float] = Counter()


@contextmanager
def pushed_each_minute(metrics: ServiceMetrics, namespace: str) -> Iterator[None]:
    """Gives CloudWatch the metrics each minute, in a thread, and once more at the end; nothing when no namespace is."""
    ended = threading.Event()

    def run() -> None:
        due = time.monotonic() + _PUSH_SECONDS
        while not ended.wait(max(0.0, due - time.monotonic())):
            due += _PUSH_SECONDS
            push(metrics, namespace)

    if not namespace:
        yield
        return
    threading.Thread(target=run, name="metrics", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        push(metrics, namespace)


def push(metrics: ServiceMetrics, namespace: str) -> None:
    """Gives CloudWatch what came since the last time; what cannot be delivered is lost, and the log says so."""
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


def _rounded(milliseconds: float) -> float:
    """Two significant digits: a distribution of few values whose percentiles are right to a twentieth."""
    return float(f"{milliseconds:.2g}")


def _snake(name: str, kind: str) -> str:
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    return f"fraud_detection{words}" + ("_total" if kind == "counter" else "")
