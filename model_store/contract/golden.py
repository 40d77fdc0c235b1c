"""Golden rows: made from a model's own structure, with the model's own answers.

Made, not recorded: both sides of every split, a row into every leaf as far as one can be found (up to 10,000), every
category and one that the model does not know, gaps, zeros, sentinels, extremes, whole numbers past 2**24, values past
32 bits. A row that the model's library does not answer is kept as such: a service has to refuse it too.
"""

import itertools
import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from model_store.contract.contract import Contract
from model_store.contract.features import Feature
from model_store.contract.leaves import rows_into_leaves
from model_store.contract.made_rows import made_rows, unique_rows
from model_store.contract.own import (
    DecidedScore,
    NoProbability,
    RowRefused,
    decided_score,
    gap_value,
    is_fraud,
    is_gap,
)
from model_store.contract.structure import Structure
from model_store.errors import InvalidInput, UnreadableModel

_MOST_ROWS = 100_000
_JSON_VALUES = frozenset({str, int, float, bool, type(None)})
TOLERANCE = 1e-6
"""How far an answer may differ from the model's own: summation in another order."""


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
        """As a file holds them, JSON.

        Raises:
            ValueError: it holds a number or a text that JSON does not have.
        """
        numbers = (value for value in itertools.chain(self.scores, *self.rows) if isinstance(value, float))
        if not all(map(math.isfinite, numbers)):
            raise ValueError("a golden row with a number that is not finite")
        values: dict[str, Any] = {
            "rows": self.rows,
            "scores": [None if score is None else float(score) for score in self.scores],
            "leaves": self.leaves,
            "leaves_reached": self.leaves_reached,
        }
        decisions = [score.fraud if type(score) is DecidedScore else None for score in self.scores]
        if any(each is not None for each in decisions):
            values["decisions"] = decisions
        return msgspec.json.encode(values)

    @classmethod
    def from_bytes(cls, content: bytes) -> "GoldenRows":
        """Reads what `to_bytes` has written.

        Raises:
            UnreadableModel: it is not that.
        """
        try:
            values = json.loads(content)
            rows = tuple(tuple(row) for row in values["rows"])
            decisions = values.get("decisions") or [None] * len(rows)
            scores = tuple(_score(*each) for each in zip(values["scores"], decisions, strict=True))
            leaves, leaves_reached = values["leaves"], values["leaves_reached"]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise UnreadableModel(f"the golden rows cannot be read ({error})") from None
        if len(rows) > _MOST_ROWS:
            raise UnreadableModel(f"there are more than {_MOST_ROWS} golden rows")
        if not all(type(value) in _JSON_VALUES for row in rows for value in row):
            raise UnreadableModel("a golden row holds something else than texts, numbers, truth values and gaps")
        if not all(score is None or math.isfinite(score) for score in scores) or not all(
            count is None or type(count) is int for count in (leaves, leaves_reached)
        ):
            raise UnreadableModel("the golden rows have a score or a count that is not a number")
        found = cls(rows, scores, leaves, leaves_reached)
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

    def decided_by_threshold(self) -> "GoldenRows":
        """The same without the model's own decisions: for a service whose threshold somebody else has set."""
        return replace(self, scores=tuple(None if score is None else float(score) for score in self.scores))

    def for_model(self, features: Sequence[Feature]) -> list[tuple[Any, ...]]:
        """The rows as the model takes them: gaps as they are written for it."""
        gaps = [gap_value(feature) for feature in features]
        return [
            tuple(gap if value is None else value for value, gap in zip(row, gaps, strict=True)) for row in self.rows
        ]


def golden_rows(contract: Contract, model: Any, structure: Structure, base: tuple[Any, ...]) -> GoldenRows:
    """Golden rows of a model, with its own answers.

    Raises:
        InvalidInput: the model does not answer any of them.
    """
    own = contract.own(model)
    rows = made_rows(contract, structure, base)
    leaves = reached_leaves = None
    if structure.trees is not None:
        more, leaves, reached_leaves = rows_into_leaves(structure, own, rows)
        rows = unique_rows([*rows, *more])
    rows = [row for row in rows if _can_be_sent(contract.features, row)]
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
        if is_fraud(own, threshold) != is_fraud(found, threshold):
            return largest, f"golden row {number} is decided otherwise than by the model: {found!r} against {own!r}"
    return largest, ""


def _can_be_sent(features: Sequence[Feature], row: Sequence[Any]) -> bool:
    """Whether a row can be sent as JSON: an infinite number cannot, unless the model takes it for a gap."""
    return not any(
        isinstance(value, float) and math.isinf(value) and value != feature.written
        for feature, value in zip(features, row, strict=True)
    )


def _score(value: Any, fraud: bool | None) -> float | None:
    if value is None:
        return None
    return float(value) if fraud is None else decided_score(float(value), fraud=bool(fraud))


def _json(value: Any) -> Any:
    if is_gap(value) or (isinstance(value, float) and math.isinf(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value
