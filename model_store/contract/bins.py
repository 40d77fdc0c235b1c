"""The bins of a feature: which share of the training rows held which values, for drift.

| kind | bins | written as |
|---|---|---|
| number, integer | between the distinct deciles | `edges`, and one more of `shares` |
| category, boolean | one for each category, and one for all others | `categories`, and one more of `shares` |

Both have `gaps`, the share of all rows that have a gap; `shares` are of the rows that have none.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model_store.errors import InvalidInput

MOST_CATEGORIES = 200
"""Maximum categories with a bin of their own; the others share one."""


def number_bins(values: "np.ndarray[Any, Any]", rows: int) -> dict[str, Any]:
    """The bins of a column of numbers.

    Args:
        values: without gaps; finite, at least one.
        rows: of the column, those with gaps included.
    """
    edges = np.unique(np.quantile(values, np.linspace(0.1, 0.9, 9)))
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
    shares = (counts / len(values)).round(6).tolist()
    return {"edges": edges.tolist(), "shares": shares, "gaps": round(1 - len(values) / rows, 6)}


def category_bins(values: Sequence[Any], categories: Sequence[Any], rows: int) -> dict[str, Any]:
    """The bins of a column of categories or truth values.

    Args:
        values: without gaps; at least one.
        categories: those that the model knows. Others are counted together, so that no text of a row is kept.
        rows: of the column, those with gaps included.
    """
    counted = Counter(values)
    known = sorted(categories, key=lambda each: -counted[each])[:MOST_CATEGORIES]
    counts = [counted[each] for each in known]
    shares = [round(count / len(values), 6) for count in (*counts, len(values) - sum(counts))]
    return {"categories": known, "shares": shares, "gaps": round(1 - len(values) / rows, 6)}


def require_bins(name: str, bins: Any) -> None:
    """Checks the bins of a feature in a description or a manifest.

    Raises:
        InvalidInput: they are of another kind.
    """
    fits = isinstance(bins, Mapping) and set(bins) <= {"edges", "categories", "shares", "gaps"}
    if fits and "categories" in bins:
        fits = "edges" not in bins and _is_list(bins["categories"], str | int | float)
        fits = fits and _are_numbers(bins.get("shares")) and len(bins["shares"]) == len(bins["categories"]) + 1
    elif fits:
        fits = _are_numbers(bins.get("edges")) and _are_numbers(bins.get("shares"))
    if fits and "gaps" in bins:
        fits = _are_numbers([bins["gaps"]]) and 0 <= bins["gaps"] <= 1
    if not fits:
        raise InvalidInput(
            f"feature {name!r} has bins of another kind; allowed: edges and shares, lists of numbers, or categories "
            "and shares; with either, gaps, a number from 0 to 1"
        )


def _is_list(values: Any, kind: Any) -> bool:
    return (
        isinstance(values, Sequence) and not isinstance(values, str) and all(isinstance(each, kind) for each in values)
    )


def _are_numbers(values: Any) -> bool:
    return _is_list(values, int | float) and not any(isinstance(each, bool) for each in values)
