"""Counts latencies in logarithmic steps, so that counts of several processes and programs can be added."""

import math
from collections.abc import Iterable, Mapping

BUCKETS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""Upper limits of the buckets in Prometheus's text format, milliseconds."""
STEPS = 48
"""Logarithmic steps to a factor of e: percentiles are right to two percent."""
_NEAR_ZERO_MS = 1e-3
"""What is shorter counts as this, milliseconds."""


def latency_step(milliseconds: float) -> int:
    """The step of a latency."""
    return math.floor(math.log(max(milliseconds, _NEAR_ZERO_MS)) * STEPS)


def steps_of(milliseconds: Iterable[float]) -> list[int]:
    """The steps of many latencies."""
    floor, log = math.floor, math.log
    return [floor(log(each if each > _NEAR_ZERO_MS else _NEAR_ZERO_MS) * STEPS) for each in milliseconds]


def step_lower_bound(step: float) -> float:
    """The least latency of a step, in milliseconds; `step + 0.5` gives its middle, `step + 1` its upper limit."""
    return math.exp(step / STEPS)


def percentile_step(counts: Mapping[int, int], share: float) -> int | None:
    """The step in which a percentile lies; None without requests.

    Args:
        counts: requests by step.
        share: of the requests, 0 to 1.
    """
    left = share * sum(counts.values())
    for step, count in sorted(counts.items()):
        left -= count
        if left <= 0:
            return step
    return None
