"""Percentiles of a metric, which moto does not compute: computed from moto's stored values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from moto.cloudwatch.models import Statistics

__all__ = ["answer_percentiles", "percentile"]


def answer_percentiles() -> None:
    """Makes moto's GetMetricData answer the percentiles that it is asked for, such as `p95`."""
    of_type = Statistics.get_statistics_for_type

    def percentile_or_other(self: Statistics, stat: str) -> Any:
        values = sorted(self.metric_single_values_list)
        return percentile(values, float(stat[1:])) if stat.startswith("p") and values else of_type(self, stat)

    Statistics.get_statistics_for_type = percentile_or_other  # type: ignore[method-assign]


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
