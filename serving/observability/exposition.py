"""The metrics in the text formats that Prometheus reads; `prometheus_client` writes them.

The service counts for itself, since one row is answered in less time than a few counters of that library take. A
collector hands the counts over when somebody asks, and the library is imported then.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from conventions.latency import BUCKETS_MS
from conventions.metric_names import BY_REASON, BY_VERSION, LATENCY, OUTCOMES, PUBLISHED, SCRAPED, prometheus_name

if TYPE_CHECKING:
    from prometheus_client import Metric

    from serving.observability.metrics import ServiceMetrics, Snapshot

_OPENMETRICS = "application/openmetrics-text"


def exposition(metrics: ServiceMetrics, accept: str) -> tuple[bytes, str]:
    """All metrics, and the content type of their format.

    Args:
        metrics: of the service.
        accept: the request's header `Accept`; OpenMetrics when it prefers that to plain text.
    """
    from prometheus_client import exposition as text
    from prometheus_client.openmetrics import exposition as openmetrics

    if _prefers_openmetrics(accept):
        # OpenMetrics writes the limits of buckets as floats.
        content = openmetrics.generate_latest(  # type: ignore[no-untyped-call]
            ServiceCollector(metrics, lambda limit: str(float(limit)))
        )
        return content, openmetrics.CONTENT_TYPE_LATEST
    return text.generate_latest(ServiceCollector(metrics, str)), text.CONTENT_TYPE_PLAIN_0_0_4


class ServiceCollector:
    """A collector of `prometheus_client`.

    Args:
        metrics: of the service.
        write_limit: writes the upper limit of a bucket, in milliseconds, as the label `le`.
    """

    def __init__(self, metrics: ServiceMetrics, write_limit: Callable[[int], str]) -> None:
        self._metrics, self._write_limit = metrics, write_limit

    def collect(self) -> Iterator[Metric]:
        """Yields one family for each metric that has a value."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        snapshot = self._metrics.snapshot()
        # A variable of the environment can hold bytes that are not UTF-8.
        values = [value.encode("utf-8", "replace").decode() for value in snapshot.labels.values()]
        labels = tuple(snapshot.labels)
        for name, count in snapshot.counters.items():
            counter = CounterMetricFamily(prometheus_name(name), PUBLISHED[name], labels=labels)
            counter.add_metric(values, count)
            yield counter
        for name, reasons in snapshot.by_reason.items():
            counter = CounterMetricFamily(prometheus_name(name), BY_REASON[name], labels=(*labels, "reason"))
            for reason, count in sorted(reasons.items()):
                counter.add_metric([*values, reason], count)
            yield counter
        decided = (*labels, "model_id", "decided", "turned_out")
        outcomes = CounterMetricFamily(prometheus_name(OUTCOMES), BY_VERSION[OUTCOMES], labels=decided)
        for what, count in sorted(snapshot.outcomes.items()):
            outcomes.add_metric([*values, *what], count)
        yield outcomes
        for name, value in snapshot.gauges.items():
            gauge = GaugeMetricFamily(prometheus_name(name), {**PUBLISHED, **SCRAPED}[name], labels=labels)
            gauge.add_metric(values, value)
            yield gauge
        histogram = HistogramMetricFamily(prometheus_name(LATENCY), PUBLISHED[LATENCY], labels=labels)
        histogram.add_metric(values, self._buckets(snapshot), snapshot.latency_sum_ms)
        yield histogram

    def _buckets(self, snapshot: Snapshot) -> list[tuple[str, float]]:
        """Each upper limit, with how many requests took at most that long."""
        limits = [*map(self._write_limit, BUCKETS_MS), "+Inf"]
        return list(zip(limits, itertools.accumulate(snapshot.buckets), strict=True))


def _prefers_openmetrics(accept: str) -> bool:
    qualities: dict[str, float] = {}
    for media_range in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in media_range.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                quality = 0.0
                with suppress(ValueError):
                    quality = float(parameter[2:])
        qualities[kind] = max(quality, qualities.get(kind, 0.0))
    plain = max(qualities.get(kind, 0.0) for kind in ("text/plain", "text/*"))
    wanted = qualities.get(_OPENMETRICS, 0.0)
    return wanted > 0 and wanted >= plain
