"""How far what comes in has moved from what the model was trained on: the population stability index.

The index of a feature is the sum over its bins of (share now - share then) * ln(share now / share then); the bins are
the distinct deciles of the training sample, with the share of it that each bin held. Below 0.1 a shift is usually
called small, from 0.25 on large (N. Siddiqi, Credit Risk Scorecards, 2006).
"""

import bisect
import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

_WINDOW = 5000
_MIN_ROWS = 500
"""Fewer say too little: with ten bins, chance alone makes an index of about 9/n."""
_FLOOR = 1e-4
"""Of a share, so that an empty bin counts as very rare, not as impossible."""


class DriftWatch:
    """The latest transactions, against the bins that the manifest keeps for each feature.

    Args:
        feature_schema: of the manifest; features without `bins` (`edges` and one `shares` more) are not watched.
    """

    def __init__(self, feature_schema: Sequence[Mapping[str, Any]]) -> None:
        watched = {number: feature["bins"] for number, feature in enumerate(feature_schema) if feature.get("bins")}
        self._edges = {number: [float(edge) for edge in bins["edges"]] for number, bins in watched.items()}
        self._then = [[max(float(share), _FLOOR) for share in bins["shares"]] for bins in watched.values()]
        self._rows: deque[tuple[int, ...]] = deque(maxlen=_WINDOW)

    def add(self, rows: Sequence[Sequence[float]]) -> None:
        """Takes transactions, as values in the order of the schema."""
        if self._edges:
            for row in rows:
                self._rows.append(tuple(bisect.bisect_left(edges, row[n]) for n, edges in self._edges.items()))

    def index(self) -> float | None:
        """The largest index among the features; None while too few transactions came, or nothing is watched."""
        if len(self._rows) < _MIN_ROWS:
            return None
        return max(_stability_index([row[place] for row in self._rows], then) for place, then in enumerate(self._then))


def _stability_index(bins: Sequence[int], then: Sequence[float]) -> float:
    found = [0] * len(then)
    for each in bins:
        found[each] += 1
    now = [max(number / len(bins), _FLOOR) for number in found]
    return sum((present - past) * math.log(present / past) for present, past in zip(now, then, strict=True))
