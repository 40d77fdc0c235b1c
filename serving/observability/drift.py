"""How far what comes in has moved from what the model was trained on: the population stability index.

The index of a feature is the sum over its bins of (share now - share then) * ln(share now / share then); the bins are
the distinct deciles of the training sample, with the share of it that each bin held. Below 0.1 a shift is usually
called small, from 0.25 on large (N. Siddiqi, Credit Risk Scorecards, 2006).
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

_WINDOW = 5000
_MIN_ROWS = 500
"""Fewer say too little: with ten bins, chance alone makes an index of about 9/n."""
_SCORES = 2000
_FLOOR = 1e-4
"""Of a share, so that an empty bin counts as very rare, not as impossible."""


_OF_A_BATCH = 10
"""To keep every row of long batches takes an eighth of the time that they take to answer."""


class DriftWatch:
    """The latest transactions, against the bins that the manifest keeps for each feature.

    Args:
        feature_schema: of the manifest; features without `bins` (`edges` and one `shares` more) are not watched.
    """

    def __init__(self, feature_schema: Sequence[Mapping[str, Any]]) -> None:
        watched = {number: feature for number, feature in enumerate(feature_schema) if feature.get("bins")}
        self._names = {number: str(feature["name"]) for number, feature in watched.items()}
        self._edges = {number: np.asarray(feature["bins"]["edges"], float) for number, feature in watched.items()}
        self._then = {number: np.asarray(feature["bins"]["shares"], float) for number, feature in watched.items()}
        self._rows: deque[Sequence[Any]] = deque(maxlen=_WINDOW)

    def sample(self, rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
        """The transactions of a request that `add` needs: none when nothing is watched, a part of a long batch.

        Args:
            rows: values in the order of the schema.
        """
        if not self._edges:
            return ()
        if len(rows) > _OF_A_BATCH and len(self._rows) == _WINDOW:
            step = len(rows) // _OF_A_BATCH
            return rows[len(rows) % step :: step]
        return rows

    def add(self, batches: Iterable[Sequence[Sequence[Any]]]) -> None:
        """Takes the transactions of some requests, as `sample` chose them."""
        for rows in batches:
            self._rows.extend(rows)

    def by_feature(self) -> dict[str, float]:
        """The index of each watched feature; empty while too few transactions came."""
        if len(self._rows) < _MIN_ROWS:
            return {}
        found = {}
        for number, name in self._names.items():
            values = np.array([row[number] for row in self._rows], dtype=float)
            # A gap is not a value; the bins do not count gaps.
            values = values[~np.isnan(values)]
            if len(values) >= _MIN_ROWS:
                found[name] = _stability_index(np.searchsorted(self._edges[number], values), self._then[number])
        return found

    def index(self) -> float | None:
        """The largest index among the features; None while too few transactions came, or nothing is watched."""
        return max(self.by_feature().values(), default=None)


class ScoreWatch:
    """The latest scores against the first ones since the process started."""

    def __init__(self) -> None:
        self._first: list[float] = []
        self._latest: deque[float] = deque(maxlen=_SCORES)

    def add(self, scores: Sequence[float]) -> None:
        """Takes scores, 0 to 1."""
        missing = _SCORES - len(self._first)
        if missing > 0:
            self._first.extend(scores[:missing])
            scores = scores[missing:]
        self._latest.extend(scores)

    def index(self) -> float | None:
        """The index; None until as many scores came after the first ones."""
        if len(self._latest) < _SCORES:
            return None
        edges = np.unique(np.quantile(self._first, np.linspace(0.1, 0.9, 9)))
        then = np.bincount(np.searchsorted(edges, self._first), minlength=len(edges) + 1) / len(self._first)
        return _stability_index(np.searchsorted(edges, np.asarray(self._latest)), then)


def _stability_index(bins: "np.ndarray[Any, Any]", then: "np.ndarray[Any, Any]") -> float:
    now = np.maximum(np.bincount(bins, minlength=len(then)) / len(bins), _FLOOR)
    past = np.maximum(then, _FLOOR)
    return float(np.sum((now - past) * np.log(now / past)))
