"""How far what comes in has moved from what the model was trained on: the population stability index.

The index of a feature is the sum over its bins of (share now - share then) * ln(share now / share then); the bins are
those of the training sample (`model_store.contract.bins`), with the share of it that each bin held; gaps are a bin of
their own where the sample's share of them is known. Below 0.1 a shift is usually called small, from 0.25 on large
(N. Siddiqi, Credit Risk Scorecards, 2006).
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_store.contract.own import is_gap

_WINDOW = 5000
_MIN_ROWS = 500
"""Fewer say too little: with ten bins, chance alone makes an index of about 9/n."""
_SCORES = 2000
_FLOOR = 1e-4
"""Of a share, so that an empty bin counts as very rare, not as impossible."""


_OF_A_BATCH = 10
"""To keep every row of long batches takes an eighth of the time that they take to answer."""


@dataclass(frozen=True)
class FeatureDrift:
    """How far one feature has moved."""

    index: float
    shares: list[float]
    """Of the latest values, by the bins of the manifest; the last one is that of gaps where it has their share."""


class _Bins:
    """One feature's bins.

    Args:
        feature: of the manifest's schema, with `bins`.
    """

    def __init__(self, feature: Mapping[str, Any]) -> None:
        bins = feature["bins"]
        self._written = feature.get("written")
        self._categories: dict[Any, int] | None = None
        if "categories" in bins:
            self._categories = {category: number for number, category in enumerate(bins["categories"])}
        else:
            edges = np.asarray(bins["edges"], np.float64)
            # Values that were counted with 32 bits are compared so: 0.1 in a request is the sample's 0.1.
            kind = np.float32 if bool(np.all(edges == edges.astype(np.float32))) else np.float64
            self._edges = edges.astype(kind)
        shares, gaps = np.asarray(bins["shares"], np.float64), bins.get("gaps")
        self._counts_gaps = gaps is not None
        self._then = shares if gaps is None else np.append(shares * (1 - gaps), gaps)

    def look(self, values: Sequence[Any]) -> "FeatureDrift | None":
        """The index of these values, and the share of each bin; None when too few of them say something."""
        bins = self._numbered(values) if self._categories is None else self._categorized(values, self._categories)
        if len(values if self._counts_gaps else bins) < _MIN_ROWS:
            return None
        if self._counts_gaps:
            bins = np.append(bins, np.full(len(values) - len(bins), len(self._then) - 1))
        shares = _shares(bins, len(self._then))
        return FeatureDrift(_index(shares, self._then), shares.round(6).tolist())

    def _numbered(self, values: Sequence[Any]) -> "np.ndarray[Any, Any]":
        """The bins of the values that are not gaps."""
        numbers = np.array(values, dtype=np.float64)
        is_value = ~np.isnan(numbers)
        if self._written is not None:
            is_value &= numbers != self._written
        return np.searchsorted(self._edges, numbers[is_value].astype(self._edges.dtype))

    def _categorized(self, values: Sequence[Any], numbers: Mapping[Any, int]) -> "np.ndarray[Any, Any]":
        others, written = len(numbers), self._written
        found = [numbers.get(each, others) for each in values if not is_gap(each) and each != written]
        return np.array(found, dtype=np.intp)


class DriftWatch:
    """The latest transactions, against the bins that the manifest keeps for each feature.

    Args:
        feature_schema: of the manifest; features without `bins` are not watched.
    """

    def __init__(self, feature_schema: Sequence[Mapping[str, Any]]) -> None:
        watched = {number: feature for number, feature in enumerate(feature_schema) if feature.get("bins")}
        self._names = {number: str(feature["name"]) for number, feature in watched.items()}
        self._bins = {number: _Bins(feature) for number, feature in watched.items()}
        self._rows: deque[Sequence[Any]] = deque(maxlen=_WINDOW)

    def sample(self, rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
        """The transactions of a request that `add` needs: none when nothing is watched, a part of a long batch.

        Args:
            rows: values in the order of the schema.
        """
        if not self._bins:
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
        """The index of each watched feature; without those of which too few values came."""
        return {name: each.index for name, each in self.look().items()}

    def look(self) -> dict[str, FeatureDrift]:
        """The index and the shares of each watched feature; without those of which too few values came."""
        if len(self._rows) < _MIN_ROWS:
            return {}
        found = {
            name: self._bins[number].look([row[number] for row in self._rows]) for number, name in self._names.items()
        }
        return {name: each for name, each in found.items() if each is not None}


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
    return _index(_shares(bins, len(then)), then)


def _shares(bins: "np.ndarray[Any, Any]", count: int) -> "np.ndarray[Any, Any]":
    found: np.ndarray[Any, Any] = np.bincount(bins, minlength=count) / len(bins)
    return found


def _index(shares: "np.ndarray[Any, Any]", then: "np.ndarray[Any, Any]") -> float:
    now, past = np.maximum(shares, _FLOOR), np.maximum(then, _FLOOR)
    return float(np.sum((now - past) * np.log(now / past)))
