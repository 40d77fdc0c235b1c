"""Columns of a data frame from JSON values, of the type that the model was trained on.

The value of one row changes no other row's answer: a column of whole numbers is one of floats where a row has a gap, a
fraction or a number past 64 bits, which the model does not notice, and rows whose numbers floats would cut are asked
apart (`OwnModel`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from model_store.contract.features import ANY, Feature

_TIME_TYPE = "datetime64[us]"
"""What pandas reads times as, unless a sample tells otherwise."""


def make_series(feature: Feature, values: Sequence[Any]) -> Any:
    """A column.

    Args:
        feature: the column's.
        values: one a row; a gap is None or NaN.
    """
    import pandas

    if feature.dtype == ANY:
        return pandas.Series(list(values), dtype=object)
    if feature.dtype == "category":
        return _categories(feature, values)
    return _SERIES.get(feature.kind, _texts if _is_text(feature) else _numbers)(feature, values)


def _is_text(feature: Feature) -> bool:
    return feature.kind == "category" and not feature.is_numeric


def _is_gap(value: Any) -> bool:
    return value is None or value != value


def _categories(feature: Feature, values: Sequence[Any]) -> Any:
    import pandas

    known = list(feature.categories)
    more = sorted({each for each in values if not _is_gap(each) and each not in known}, key=str)
    gapless = [None if _is_gap(each) else each for each in values]
    return pandas.Categorical(gapless, categories=pandas.Index(known + more))


def _times(feature: Feature, values: Sequence[Any]) -> Any:
    import pandas

    written = [None if _is_gap(each) else each.upper() for each in values]
    moments = pandas.to_datetime(pandas.Series(written, dtype=object), utc=True, format="ISO8601")
    # The unit is the column's, never that of the most precise caller in a batch.
    if "," in feature.dtype:
        return moments.astype(feature.dtype)
    return moments.dt.tz_localize(None).astype(feature.dtype or _TIME_TYPE)


def _texts(feature: Feature, values: Sequence[Any]) -> Any:
    import pandas

    dtype: Any = feature.dtype or "str"
    gap = None if dtype == "object" else math.nan
    return pandas.Series([gap if _is_gap(each) else each for each in values], dtype=dtype)


def _booleans(feature: Feature, values: Sequence[Any]) -> Any:
    import pandas

    if feature.dtype == "boolean":
        return pandas.array([None if _is_gap(each) else bool(each) for each in values], dtype="boolean")
    if not any(_is_gap(each) for each in values):
        return pandas.Series(list(values), dtype=bool)
    gap = None if feature.dtype == "object" else math.nan
    return pandas.Series([gap if _is_gap(each) else each for each in values], dtype=object)


def _numbers(feature: Feature, values: Sequence[Any]) -> Any:
    whole = bool(feature.categories) and all(isinstance(each, int) for each in feature.categories)
    gap = any(_is_gap(each) for each in values)
    if (feature.kind == "integer" or whole) and not gap and all(float(each).is_integer() for each in values):
        if all(_fits_64_bits(int(each)) for each in values):
            return np.array([int(each) for each in values], dtype=np.int64)
        if not all(_fits_64_bits(each) for each in feature.categories):
            return np.array([int(each) for each in values], dtype=object)
    # A whole number past 64 bits makes floats of a column, as a gap does; most libraries refuse columns of objects.
    return np.array([math.nan if each is None else each for each in values], dtype=np.float64)


def _fits_64_bits(value: int) -> bool:
    return -(1 << 63) <= value < 1 << 63


_SERIES: Mapping[str, Callable[[Feature, Sequence[Any]], Any]] = {
    "time": _times,
    "text": _texts,
    "boolean": _booleans,
}
