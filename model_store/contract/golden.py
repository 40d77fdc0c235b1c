"""Golden rows: made from a model's own structure, with the model's own answers.

Made, not recorded: both sides of every split, a row into every leaf as far as one can be found (up to 10,000), every
category and one that the model does not know, gaps, zeros, sentinels, extremes, whole numbers past 2**24, values past
32 bits. A row that the model's library does not answer is kept as such: a service has to refuse it too.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from model_store.contract.columns import Column, Columns, NeedsOwnLibrary, columns_of
from model_store.contract.contract import Contract
from model_store.contract.features import Feature
from model_store.contract.own import NoProbability, OwnModel, RowRefused, gap_of, is_gap
from model_store.errors import InvalidInput, UnreadableModel
from model_store.serialization.trees import Trees, trees_of

TOLERANCE = 1e-6
"""How far an answer may differ from the model's own: summation in another order."""
MOST_LEAVES = 10_000
_MOST_ROWS = 12_000
_MOST_CELLS = 1_200_000
_DRAWN_ROWS = 128
_UNKNOWN_TEXT = "a category that no training row had"
_PAST_24_BITS, _PAST_32_BITS = float((1 << 24) + 1), 4_294_967_297.0
_EPOCH_MILLISECONDS = 1_760_000_000_123.0
_BEYOND_32_BIT_RANGE = 1e39
_SCALES = (0.5, 1.0, 2.0, 10.0, 100.0, 1000.0)


@dataclass(frozen=True)
class GoldenRows:
    """Rows, and what the model's own library answers to each."""

    rows: tuple[tuple[Any, ...], ...]
    """One JSON value a feature, in the contract's order; None for a gap."""
    scores: tuple[float | None, ...]
    """The model's own score; None where its library refuses the row."""
    leaves: int | None = None
    """Of a model of trees."""
    leaves_reached: int | None = None

    def to_bytes(self) -> bytes:
        """As a file holds them, JSON."""
        values = {
            "rows": self.rows,
            "scores": self.scores,
            "leaves": self.leaves,
            "leaves_reached": self.leaves_reached,
        }
        return json.dumps(values, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "GoldenRows":
        """Reads what `to_bytes` has written.

        Raises:
            UnreadableModel: it is not that.
        """
        try:
            values = json.loads(content)
            rows = tuple(tuple(row) for row in values["rows"])
            scores = tuple(None if each is None else float(each) for each in values["scores"])
            found = cls(rows, scores, values["leaves"], values["leaves_reached"])
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableModel(f"the golden rows cannot be read ({error})") from None
        if len(rows) != len(scores) or not rows:
            raise UnreadableModel("the golden rows do not have one answer each")
        return found

    def described(self) -> dict[str, Any]:
        """What the contract says of them, beside their digest."""
        return {
            "rows": len(self.rows),
            "refused": sum(score is None for score in self.scores),
            "leaves": self.leaves,
            "leaves_reached": self.leaves_reached,
        }

    def without(self, numbers: Collection[int]) -> "GoldenRows":
        """The others; for rows that a converted model answers and the model itself does not."""
        kept = [number for number in range(len(self.rows)) if number not in numbers]
        return replace(
            self, rows=tuple(self.rows[each] for each in kept), scores=tuple(self.scores[each] for each in kept)
        )

    def for_model(self, features: Sequence[Feature]) -> list[tuple[Any, ...]]:
        """The rows as the model takes them: gaps as they are written for it."""
        gaps = [gap_of(feature) for feature in features]
        return [
            tuple(gap if value is None else value for value, gap in zip(row, gaps, strict=True)) for row in self.rows
        ]


@dataclass(frozen=True)
class Structure:
    """What golden rows and faster forms are made from: a pipeline's columns and the last step's trees."""

    columns: Columns | None
    """None where the steps before the last have no exact program."""
    sparse: bool
    trees: Trees | None
    final: Any
    steps: tuple[Any, ...]
    reason: str
    """Why there are no columns or no trees; empty when there are both."""


def structure_of(model: Any, contract: Contract) -> Structure:
    """The structure of a fitted model, as far as it is known."""
    steps, final = _split(model)
    columns, sparse, trees, reasons = None, False, None, []
    try:
        columns, sparse = columns_of(steps, len(contract.features))
    except InvalidInput as error:
        reasons.append(str(error))
    try:
        trees = trees_of(final, contract.positive_index)
    except InvalidInput as error:
        reasons.append(str(error))
    return Structure(columns, sparse, trees, final, tuple(steps), "; ".join(reasons))


def _split(model: Any) -> tuple[list[Any], Any]:
    steps: list[Any] = []
    while True:
        name = type(model).__name__
        if name == "Pipeline" and getattr(model, "steps", None):
            inner = [step for _, step in model.steps]
            # A sampler of imbalanced-learn takes part in training only.
            steps += [each for each in inner[:-1] if not (hasattr(each, "fit_resample"))]
            model = inner[-1]
        elif name in ("FixedThresholdClassifier", "TunedThresholdClassifierCV"):
            model = model.estimator_
        elif hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        else:
            return steps, model


def with_known_gaps(contract: Contract, model: Any, base: tuple[Any, ...]) -> Contract:
    """The contract with what the model's library does with gaps and unknown categories, found out by asking it."""
    own, features = contract.own(model), list(contract.features)
    questions = [(number, _changed(base, number, gap_of(feature))) for number, feature in enumerate(features)]
    unknown = [
        (number, _changed(base, number, _unknown_category(feature)))
        for number, feature in enumerate(features)
        if feature.kind == "category" and feature.categories
    ]
    answers = own.scores_one_by_one([row for _, row in questions + unknown])
    for (number, _), answer in zip(questions, answers, strict=False):
        answered = not isinstance(answer, RowRefused)
        feature = features[number]
        features[number] = replace(feature, gaps=answered if feature.gaps is None else feature.gaps and answered)
    for (number, _), answer in zip(unknown, answers[len(questions) :], strict=True):
        word = "refused" if isinstance(answer, RowRefused) else "answered"
        features[number] = replace(features[number], unknown=word)  # type: ignore[arg-type]
    return replace(contract, features=tuple(features))


def base_row(contract: Contract, model: Any) -> tuple[Any, ...]:
    """A row that the model answers.

    Raises:
        InvalidInput: none of those tried is answered; says what the model's library says.
    """
    own = contract.own(model)
    refusal = ""
    for choice in range(4):
        row = tuple(_ordinary(feature, choice) for feature in contract.features)
        try:
            if contract.output == "anomaly_score":
                own.raw(own.table([row]))
            else:
                own.scores([row])
        except RowRefused as error:
            refusal = str(error)
        except Exception as error:
            refusal = " ".join(str(error).split())[:300]
        else:
            return row
    raise InvalidInput(
        f"the model does not answer an ordinary row: {refusal}; give some training rows with --sample FILE, or keep "
        "it without serving it with --registry-only"
    )


def made_rows(contract: Contract, structure: Structure, base: tuple[Any, ...], seed: int = 0) -> list[tuple[Any, ...]]:
    """Rows from the structure and the contract, without duplicates, in the form that the model takes."""
    random = np.random.default_rng(seed)
    features = contract.features
    values = [_values(feature, structure, number) for number, feature in enumerate(features)]
    rows = [base]
    most = min(_MOST_ROWS, max(500, _MOST_CELLS // max(1, len(features))))
    # Several columns change at once, each in an order of its own, so that a row reaches many leaves.
    longest = max(len(each) for each in values)
    order = [list(random.permutation(len(each))) for each in values]
    rows += [tuple(each[index[turn % len(each)]] for each, index in zip(values, order, strict=True))
             for turn in range(min(longest, most // 4))]  # fmt: skip
    rows += [tuple(_drawn(feature, each, random) for feature, each in zip(features, values, strict=True))
             for _ in range(_DRAWN_ROWS)]  # fmt: skip
    for number, feature in enumerate(features):
        risky = [gap_of(feature), *_extremes(feature)]
        rows += [_changed(base, number, value) for value in risky]
        if len(rows) > most // 2:
            break
    return list(dict.fromkeys(rows, None)) if not _has_nan(rows) else _unique(rows)


def golden_rows(contract: Contract, model: Any, structure: Structure, base: tuple[Any, ...]) -> GoldenRows:
    """Golden rows of a model, with its own answers.

    Raises:
        InvalidInput: the model does not answer any of them.
    """
    own = contract.own(model)
    rows = made_rows(contract, structure, base)
    leaves = reached_leaves = None
    if structure.trees is not None:
        more, leaves, reached_leaves = _rows_into_leaves(structure, own, rows)
        rows = _unique([*rows, *more])
    answers = own.scores_one_by_one(rows)
    for answer in answers:
        if isinstance(answer, NoProbability):
            raise InvalidInput(f"{answer}; register a model that gives probabilities")
    if all(isinstance(answer, RowRefused) for answer in answers):
        raise InvalidInput(f"the model answers none of its golden rows: {answers[0]}")
    return GoldenRows(
        rows=tuple(tuple(_json(value) for value in row) for row in rows),
        scores=tuple(None if isinstance(answer, RowRefused) else answer for answer in answers),
        leaves=leaves,
        leaves_reached=reached_leaves,
    )


def difference(golden: GoldenRows, answers: Sequence[float | None], threshold: float) -> tuple[float, str]:
    """How far answers differ from the golden ones.

    Returns:
        The largest difference, and what is wrong: empty when no answer differs by more than 1e-6, no decision differs,
        and the same rows are refused.
    """
    largest = 0.0
    for number, (own, found) in enumerate(zip(golden.scores, answers, strict=True)):
        if (own is None) != (found is None):
            return (
                math.inf,
                f"golden row {number} is {'refused' if found is None else 'answered'}, the model's own is not",
            )
        if own is None or found is None:
            continue
        largest = max(largest, abs(own - found))
        if abs(own - found) > TOLERANCE:
            return largest, f"golden row {number} gives {found:.9g}, the model's own answer is {own:.9g}"
        if (own >= threshold) != (found >= threshold):
            return largest, f"golden row {number} is decided otherwise than by the model: {found!r} against {own!r}"
    return largest, ""


# --- values ------------------------------------------------------------------------------------------------------


def _values(feature: Feature, structure: Structure, number: int) -> list[Any]:
    """Values of a feature that every model of this contract answers, as far as that can be told."""
    if feature.kind == "boolean":
        return [False, True]
    if feature.categories:
        return list(feature.categories)
    if feature.kind == "text":
        return ["", "text", "another text", "Größe 42"]
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
    place = 0
    for part in columns.parts:
        width = 1 if isinstance(part, Column) else part.width
        if part.source == number and isinstance(part, Column):
            splits = np.unique(trees.threshold[(trees.left >= 0) & (trees.feature == place)])
            for side in _sides(splits, trees):
                found.update(part.feature_value(float(value)) for value in side)
        place += width
    return [value for value in found if math.isfinite(value)]


def _sides(splits: "np.ndarray[Any, Any]", trees: Trees) -> tuple[Any, ...]:
    """Each split and its neighbours on both sides, in the model's precision."""
    if trees.value_bits == 32:
        near = splits.astype(np.float32)
        low, high = np.float32(-np.inf), np.float32(np.inf)
        return near, np.nextafter(near, low), np.nextafter(near, high)
    return splits, np.nextafter(splits, -np.inf), np.nextafter(splits, np.inf), splits.astype(np.float32)


def _extremes(feature: Feature) -> list[Any]:
    if feature.kind == "category" and feature.categories:
        return [_unknown_category(feature)]
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


def _unknown_category(feature: Feature) -> Any:
    if feature.is_numeric:
        return max(float(each) for each in feature.categories) + 91
    return _UNKNOWN_TEXT


def _ordinary(feature: Feature, choice: int) -> Any:
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


def _drawn(feature: Feature, values: Sequence[Any], random: "np.random.Generator") -> Any:
    if not (feature.is_numeric and not feature.categories) or random.random() < 0.3:
        return values[int(random.integers(len(values)))]
    if len(feature.usual) >= 2:
        low, high = feature.usual[0], feature.usual[-1]
        spread = high - low
        return round(float(random.uniform(low - spread / 10, high + spread / 10)), int(random.integers(0, 6)))
    return float(random.normal(scale=_SCALES[int(random.integers(len(_SCALES)))]))


# --- leaves ------------------------------------------------------------------------------------------------------


def _rows_into_leaves(
    structure: Structure, own: OwnModel, rows: list[tuple[Any, ...]]
) -> tuple[list[tuple[Any, ...]], int, int]:
    """More rows, one into each leaf that no row has reached, as far as they are found."""
    trees = structure.trees
    assert trees is not None  # noqa: S101 - the caller has looked
    every = trees.leaves
    reached: set[int] = set(_leaves_of(structure, own, rows).ravel().tolist())
    found: list[tuple[Any, ...]] = []
    columns = structure.columns
    if columns is not None and columns.width == trees.width:
        boxes = _boxes(trees)
        for turn in range(4):
            missing = [leaf for leaf in every.tolist() if leaf not in reached and leaf in boxes][:MOST_LEAVES]
            if not missing:
                break
            made = [
                _with_gaps(own, columns.feature_row(_wanted(boxes[leaf], trees, turn), rows[(leaf + turn) % len(rows)]))
                for leaf in missing
            ]
            for row, ends in zip(made, _leaves_of(structure, own, made), strict=True):
                new = {end for end in ends.tolist() if end >= 0} - reached
                if new and len(found) < MOST_LEAVES:
                    reached |= new
                    found.append(row)
    return found, len(every), len({leaf for leaf in reached if leaf >= 0})


def _with_gaps(own: OwnModel, row: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(gap_of(feature) if is_gap(value) else value for feature, value in zip(own.features, row, strict=True))


def _leaves_of(structure: Structure, own: OwnModel, rows: Sequence[tuple[Any, ...]]) -> "np.ndarray[Any, Any]":
    """The leaves that rows end in; -1 for rows that the steps before the trees refuse."""
    trees, columns = structure.trees, structure.columns
    assert trees is not None  # noqa: S101 - the caller has looked
    nothing = np.full((len(rows), len(trees.roots)), -1)
    try:
        if columns is not None:
            table = np.array([_columns_or_gap(columns, row) for row in rows], dtype=np.float64)
        else:
            table = own.table(rows)
            for step in structure.steps:
                if step is not None and not isinstance(step, str):
                    table = step.transform(table)
            table = np.asarray(table.toarray() if hasattr(table, "toarray") else table, dtype=np.float64)
    except Exception:
        return nothing
    return trees.reached(trees.prepared(table)) if table.ndim == 2 and table.shape[1] == trees.width else nothing


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


def _wanted(box: Mapping[int, list[float]], trees: Trees, turn: int) -> dict[int, tuple[float, float]]:
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


# --- plumbing ----------------------------------------------------------------------------------------------------


def _changed(row: tuple[Any, ...], number: int, value: Any) -> tuple[Any, ...]:
    return (*row[:number], value, *row[number + 1 :])


def _has_nan(rows: Sequence[tuple[Any, ...]]) -> bool:
    return any(value != value for row in rows for value in row)


def _unique(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows without those that stand before; NaN equals NaN, and -0 is not 0."""
    return list({repr(row): row for row in rows}.values())


def _json(value: Any) -> Any:
    if is_gap(value):
        return None
    return value.item() if isinstance(value, np.generic) else value
