"""Ratios of two services that were measured in turns: each round gives one ratio, the rounds give an interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """A ratio with its interval."""

    middle: float
    low: float
    high: float
    """Ends of the 95 percent interval, by Student's t over the logarithms of the rounds' ratios."""

    def __str__(self) -> str:
        digits = 2 if self.middle < 10 else 1
        return f"{self.middle:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def measure_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Returns the ratio of two series of the same rounds, with its interval."""
    from scipy import stats

    logarithms = [math.log(mine / other) for mine, other in zip(ours, theirs, strict=True)]
    count = len(logarithms)
    mean = sum(logarithms) / count
    if count == 1:
        return Ratio(math.exp(mean), math.exp(mean), math.exp(mean))
    deviation = math.sqrt(sum((each - mean) ** 2 for each in logarithms) / (count - 1))
    half = float(stats.t.ppf(0.975, count - 1)) * deviation / math.sqrt(count)
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))
