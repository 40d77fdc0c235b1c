"""Percentiles of a metric, which moto does not compute: computed from moto's stored values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult

__all__ = ["answer_percentiles", "percentile"]


def answer_percentiles() -> None:
    """Makes moto's GetMetricStatistics answer the ExtendedStatistics that it is asked for, such as `p95`."""
    without = CloudWatchResponse.get_metric_statistics

    def with_percentiles(self: CloudWatchResponse) -> ActionResult:
        answer = without(self)
        shares = self._get_param("ExtendedStatistics") or []
        for point in cast("dict[str, Any]", answer.result)["Datapoints"]:
            values = sorted(point.metric_single_values_list)
            if shares and values:
                point.extended_statistics = {share: percentile(values, float(share[1:])) for share in shares}
        return answer

    CloudWatchResponse.get_metric_statistics = with_percentiles  # type: ignore[method-assign]


def percentile(values: Sequence[float], share: float) -> float:
    """Returns a percentile, interpolated between two neighbouring values.

    Args:
        values: in ascending order, at least one.
        share: percent, 0 to 100.
    """
    rank = (len(values) - 1) * share / 100
    below = math.floor(rank)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (rank - below)
