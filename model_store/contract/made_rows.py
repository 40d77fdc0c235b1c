"""Makes rows from a model's structure and contract, without asking the model."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from model_store.contract.columns import Column
from model_store.contract.contract import Contract
from model_store.contract.features import Feature
from model_store.contract.own import gap_value
from model_store.contract.structure import Structure
from model_store.serialization.trees import Trees

_MOST_ROWS = 12_000
_MOST_CELLS = 1_200_000
_DRAWN_ROWS = 128
_UNKNOWN_TEXT = "a category that no training row had"
_PAST_24_BITS, _PAST_32_BITS = float((1 << 24) + 1), 4_294_967_297.0
_EPOCH_MILLISECONDS = 1_760_000_000_123.0
_BEYOND_32_BIT_RANGE = 1e39
_SCALES = (0.5, 1.0, 2.0, 10.0, 100.0, 1000.0)


def made_rows(contract: Contract, structure: Structure, base: tuple[Any, ...], seed: int = 0) -> list[tuple[Any, ...]]:
    """Rows from the structure and the contract, without duplicates, in the form that the model takes."""
    random = np.random.default_rng(seed)
    features = contract.features
    values = [_list_values(feature, structure, number) for number, feature in enumerate(features)]
    rows = [base]
    most = min(_MOST_ROWS, max(500, _MOST_CELLS // max(1, len(features))))
    # Several columns change at once, each in its own order, so that a row reaches many leaves.
    longest = max(len(each) for each in values)
    order = [list(random.permutation(len(each))) for each in values]
    rows += [tuple(each[index[turn % len(each)]] for each, index in zip(values, order, strict=True))
             for turn in range(min(longest, most // 4))]  # fmt: skip
    rows += [tuple(_drawn_value(feature, each, random) for feature, each in zip(features, values, strict=True))
             for _ in range(_DRAWN_ROWS)]  # fmt: skip
    for number, feature in enumerate(features):
        risky = [gap_value(feature), *_list_extremes(feature)]
        rows += [changed(base, number, value) for value in risky]
        if len(rows) > most // 2:
            break
    return list(dict.fromkeys(rows, None)) if not _has_nan(rows) else unique_rows(rows)


def _list_values(feature: Feature, structure: Structure, number: int) -> list[Any]:
    """Values of a feature that every model of this contract is expected to answer."""
    if feature.kind == "boolean":
        return [False, True]
    if feature.categories:
        return list(feature.categories)
    if feature.kind == "text":
        return ["", "text", "another text", "Größe 42", *feature.texts]
    if feature.kind == "time":
        return ["2026-01-01T00:00:00Z", "2026-06-15T12:30:00Z", "2025-12-31T23:59:59Z"]
    found = {*feature.usual, *_split_sides(structure, number), 0.0, 1.0}
    if feature.minimum is not None and feature.maximum is not None:
        found |= {feature.minimum, feature.maximum, (feature.minimum + feature.maximum) / 2}
    if len(found) <= 3:
        found |= {-2.0, -1.0, -0.5, 0.1, 0.5, 2.0, 12.34}
    if feature.written is not None and isinstance(feature.written, int | float):
        found.add(float(feature.written))
    return sorted(found)


def _split_sides(structure: Structure, number: int) -> Iterable[float]:
    """Feature values at and beside each split of the columns that come from one feature."""
    trees, columns = structure.trees, structure.columns
    if trees is None or columns is None:
        return []
    found: set[float] = set()
    position = 0
    for part in columns.parts:
        width = 1 if isinstance(part, Column) else part.width
        if part.source == number and isinstance(part, Column):
            splits = np.unique(trees.threshold[(trees.left >= 0) & (trees.feature == position)])
            for side in _sides(splits, trees):
                found.update(part.feature_value(float(value)) for value in side)
        position += width
    return [value for value in found if math.isfinite(value)]


def _sides(splits: "np.ndarray[Any, Any]", trees: Trees) -> tuple[Any, ...]:
    """Each split and its neighbours on both sides, in the model's precision."""
    if trees.value_bits == 32:
        near = splits.astype(np.float32)
        low, high = np.float32(-np.inf), np.float32(np.inf)
        return near, np.nextafter(near, low), np.nextafter(near, high)
    with np.errstate(over="ignore"):
        return splits, np.nextafter(splits, -np.inf), np.nextafter(splits, np.inf), splits.astype(np.float32)


def _list_extremes(feature: Feature) -> list[Any]:
    if feature.kind == "category" and feature.categories:
        return [unknown_category(feature)]
    if feature.kind in ("text", "time", "boolean", "category"):
        return []
    found = [
        0.0,
        -0.0,
        0.1,
        -1.0,
        _PAST_24_BITS,
        _PAST_32_BITS,
        _EPOCH_MILLISECONDS,
        1e-30,
        -1e15,
        _BEYOND_32_BIT_RANGE,
    ]
    if feature.usual:
        found += [feature.usual[0] - 1, feature.usual[-1] + 1]
    if isinstance(feature.written, int | float):
        found.append(float(feature.written))
    return found


def unknown_category(feature: Feature) -> Any:
    """A category that the model has not seen."""
    if feature.is_numeric:
        return max(float(each) for each in feature.categories) + 91
    return _UNKNOWN_TEXT


def ordinary_value(feature: Feature, choice: int) -> Any:
    """One of four values in the middle of the usual range."""
    if feature.kind == "boolean":
        return choice % 2 == 1
    if feature.categories:
        return feature.categories[choice % len(feature.categories)]
    if feature.kind == "text":
        return "text"
    if feature.kind == "time":
        return "2026-01-01T00:00:00Z"
    if choice == 3 or not feature.usual:
        return (0.0, 1.0, 0.5, 0.0)[choice]
    return float(feature.usual[(len(feature.usual) // 2 + choice) % len(feature.usual)])


def _drawn_value(feature: Feature, values: Sequence[Any], random: "np.random.Generator") -> Any:
    if not (feature.is_numeric and not feature.categories) or random.random() < 0.3:
        return values[int(random.integers(len(values)))]
    if len(feature.usual) >= 2:
        low, high = feature.usual[0], feature.usual[-1]
        spread = high - low
        return round(float(random.uniform(low - spread / 10, high + spread / 10)), int(random.integers(0, 6)))
    return float(random.normal(scale=_SCALES[int(random.integers(len(_SCALES)))]))


def changed(row: tuple[Any, ...], number: int, value: Any) -> tuple[Any, ...]:
    """A row with another value of one feature."""
    return (*row[:number], value, *row[number + 1 :])


def _has_nan(rows: Sequence[tuple[Any, ...]]) -> bool:
    return any(value != value for row in rows for value in row)


def unique_rows(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows without duplicates; NaN equals NaN, and -0 differs from 0."""
    return list({repr(row): row for row in rows}.values())
