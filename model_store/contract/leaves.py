"""Finds for each leaf of a model of trees a row that ends in it, where one exists."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model_store.contract.columns import Columns, NeedsOwnLibrary
from model_store.contract.features import Feature
from model_store.contract.own import OwnModel, gap_value, is_gap
from model_store.contract.structure import Structure
from model_store.serialization.trees import Trees

MOST_LEAVES = 10_000


def rows_into_leaves(
    structure: Structure, own: OwnModel, rows: list[tuple[Any, ...]]
) -> tuple[list[tuple[Any, ...]], int, int]:
    """Finds one more row for each leaf that no row has reached, where one exists."""
    trees = structure.trees
    assert trees is not None  # noqa: S101 - the caller has looked
    every = trees.leaves
    reached: set[int] = set(_find_leaves(structure, own, rows).ravel().tolist())
    found: list[tuple[Any, ...]] = []
    columns = structure.columns
    if columns is not None and columns.width == trees.width:
        boxes = _boxes(trees)
        for turn in range(4):
            missing = [leaf for leaf in every.tolist() if leaf not in reached and leaf in boxes][:MOST_LEAVES]
            if not missing:
                break
            made = [
                _with_gaps(
                    own, columns.feature_row(_choose_values(boxes[leaf], trees, turn), rows[(leaf + turn) % len(rows)])
                )
                for leaf in missing
            ]
            for row, ends in zip(made, _find_leaves(structure, own, made), strict=True):
                new = {end for end in ends.tolist() if end >= 0} - reached
                if new and len(found) < MOST_LEAVES:
                    reached |= new
                    found.append(row)
    return found, len(every), len({leaf for leaf in reached if leaf >= 0})


def _with_gaps(own: OwnModel, row: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(_to_feature_value(feature, value) for feature, value in zip(own.features, row, strict=True))


def _to_feature_value(feature: Feature, value: Any) -> Any:
    """A value near the wanted one that a caller can send."""
    if is_gap(value):
        return gap_value(feature)
    if feature.kind == "boolean":
        return bool(value >= 0.5)
    return float(round(value)) if feature.kind == "integer" and math.isfinite(value) else value


def _find_leaves(structure: Structure, own: OwnModel, rows: Sequence[tuple[Any, ...]]) -> "np.ndarray[Any, Any]":
    """The leaves that rows end in; -1 for rows that the steps before the trees refuse."""
    trees = structure.trees
    assert trees is not None  # noqa: S101 - the caller has looked
    try:
        table = _before_the_trees(structure, own, rows)
    except Exception:
        if len(rows) < 2:
            return np.full((len(rows), len(trees.roots)), -1)
        middle = len(rows) // 2
        return np.concatenate([_find_leaves(structure, own, part) for part in (rows[:middle], rows[middle:])])
    if table.ndim != 2 or table.shape[1] != trees.width:
        return np.full((len(rows), len(trees.roots)), -1)
    return trees.reached(trees.prepared(table))


def _before_the_trees(structure: Structure, own: OwnModel, rows: Sequence[tuple[Any, ...]]) -> "np.ndarray[Any, Any]":
    columns = structure.columns
    if columns is not None:
        return np.array([_columns_or_gap(columns, row) for row in rows], dtype=np.float64)
    table = own.table(rows)
    for step in structure.steps:
        if step is not None and not isinstance(step, str):
            table = step.transform(table)
    found: np.ndarray[Any, Any] = np.asarray(table.toarray() if hasattr(table, "toarray") else table, dtype=np.float64)
    return found


def _columns_or_gap(columns: Columns, row: Sequence[Any]) -> list[float]:
    try:
        return columns.one(row)
    except NeedsOwnLibrary:
        return [math.nan] * columns.width


def _boxes(trees: Trees) -> dict[int, dict[int, list[float]]]:
    """For each leaf, by column: its bounds, whether the upper one came last, and whether a gap leads there."""
    found: dict[int, dict[int, list[float]]] = {}
    pending: list[tuple[int, dict[int, list[float]]]] = [(root, {}) for root in trees.roots]
    left, right = trees.left.tolist(), trees.right.tolist()
    feature, threshold, gaps_left = trees.feature.tolist(), trees.threshold.tolist(), trees.gaps_left.tolist()
    while pending:
        node, box = pending.pop()
        if left[node] < 0:
            found[node] = box
            continue
        column, split = feature[node], threshold[node]
        low, high, _, gap = box.get(column, [-math.inf, math.inf, 0.0, 1.0])
        for child, bounds, below in (
            (left[node], [low, min(high, split)], 1.0),
            (right[node], [max(low, split), high], 0.0),
        ):
            gap_too = gap * (gaps_left[node] == below)
            if gap_too or bounds[0] < bounds[1]:
                pending.append((child, {**box, column: [*bounds, below, gap_too]}))
    return found


def _choose_values(box: Mapping[int, list[float]], trees: Trees, turn: int) -> dict[int, tuple[float, float]]:
    """For each column of a leaf's box, a value in it: at the last threshold, then at the other, then between."""
    found = {}
    for column, (low, high, below, gap) in box.items():
        if gap and (turn == 3 or low >= high):
            found[column] = (math.nan, math.nan)
            continue
        under, over = _inside(low, high, trees)
        if turn == 2 and math.isfinite(under) and math.isfinite(over):
            middle = (under + over) / 2
            found[column] = (middle, under)
        elif bool(below) != (turn == 1):
            found[column] = (under, over) if math.isfinite(under) else (over, under)
        else:
            found[column] = (over, under) if math.isfinite(over) else (under, over)
    return found


def _inside(low: float, high: float, trees: Trees) -> tuple[float, float]:
    """The largest value below the upper end of a box, and the smallest above its lower end."""
    if trees.value_bits == 32:
        top, bottom = np.float32(high), np.float32(low)
        down, up = np.float32(-np.inf), np.float32(np.inf)
        if trees.operator == "<":
            return float(np.nextafter(top, down)), float(bottom)
        top = np.nextafter(top, down) if float(top) > high else top
        bottom = bottom if float(bottom) > low else np.nextafter(bottom, up)
        return float(top), float(bottom)
    if trees.operator == "<":
        return math.nextafter(high, -math.inf), low
    return high, math.nextafter(low, math.inf)
