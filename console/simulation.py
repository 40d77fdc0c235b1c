"""What another threshold would have done: precision, recall and alerts a day on scores whose outcome is known."""

import csv
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TextIO

from model_store.errors import InvalidInput

_SCORE_NAMES = ("fraud_probability", "score", "probability")
_LABEL_NAMES = ("was_fraud", "label", "is_fraud")
_TRUE, _FALSE = ("1", "true", "yes", "fraud"), ("0", "false", "no", "")
MOST_ROWS = 200_000
_STEPS = 100


@dataclass(frozen=True)
class LabelledScores:
    """Scores of a model with what each transaction turned out to be."""

    scores: Sequence[float]
    labels: Sequence[bool]
    days: float
    """How many days of traffic they are."""

    @classmethod
    def of(cls, scores: Sequence[float], labels: Sequence[bool], days: float) -> "LabelledScores":
        """Scores and outcomes.

        Raises:
            InvalidInput: there are none.
        """
        if not scores:
            raise InvalidInput("no decision of this time has feedback; without rows there is nothing to simulate")
        return cls(scores, labels, days)

    @classmethod
    def read_csv(cls, file: TextIO, days: float) -> "LabelledScores":
        """Reads a CSV file with a column of scores and one of outcomes.

        Args:
            file: with a heading: `fraud_probability`, `score` or `probability`; `was_fraud`, `label` or `is_fraud`.
            days: how many days of traffic the file is.

        Raises:
            InvalidInput: a column is missing, or a value is not one; names the line.
        """
        reader = csv.DictReader(file)
        names = reader.fieldnames or []
        score = next((name for name in _SCORE_NAMES if name in names), "")
        label = next((name for name in _LABEL_NAMES if name in names), "")
        if not score or not label:
            raise InvalidInput(
                f"the file needs a column {' or '.join(_SCORE_NAMES)} and a column {' or '.join(_LABEL_NAMES)}"
            )
        scores, labels = [], []
        for number, row in enumerate(reader, start=2):
            if number > MOST_ROWS:
                raise InvalidInput(f"the file has more than {MOST_ROWS} rows; take a sample")
            scores.append(_score(row[score], number))
            labels.append(_label(row[label], number))
        return cls.of(scores, labels, days)


def simulated(given: LabelledScores, threshold: float | None) -> dict[str, Any]:
    """Precision, recall and alerts a day at thresholds from 0.01 to 0.99.

    Args:
        given: the scores and outcomes.
        threshold: the endpoint's own; None where it is not known.
    """
    steps = [step / _STEPS for step in range(1, _STEPS)]
    known = _Sorted(given)
    rows = [known.at(step) for step in steps]
    return {
        "rows": rows,
        "own": known.at(threshold) if threshold is not None else None,
        "transactions": len(given.scores),
        "frauds": known.frauds,
        "days": given.days,
        "plot": {
            "title": "precision and recall by threshold",
            "x": "threshold",
            "data": [steps, [row["precision"] for row in rows], [row["recall"] for row in rows]],
            "series": ["precision", "recall"],
        },
    }


class _Sorted:
    """Scores in order, each with how many frauds have a lower one."""

    def __init__(self, given: LabelledScores) -> None:
        pairs = sorted(zip(given.scores, given.labels, strict=True))
        self._scores = [score for score, _ in pairs]
        self._frauds_below = [0, *accumulate(int(label) for _, label in pairs)]
        self._days = given.days
        self.frauds = self._frauds_below[-1]

    def at(self, threshold: float) -> dict[str, Any]:
        """What a threshold decides: a score at it or above is an alert."""
        below = bisect_left(self._scores, threshold)
        alerts, missed = len(self._scores) - below, self._frauds_below[below]
        caught = self.frauds - missed
        return {
            "threshold": threshold,
            "precision": caught / alerts if alerts else None,
            "recall": caught / self.frauds if self.frauds else None,
            "alerts_a_day": alerts / self._days,
            "missed": missed,
        }


def _score(text: str | None, line: int) -> float:
    try:
        found = float(text or "")
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise InvalidInput(f"line {line}: {(text or '')[:40]!r} is not a score; a score lies between 0 and 1")
    return found


def _label(text: str | None, line: int) -> bool:
    plain = (text or "").strip().lower()
    if plain in _TRUE or plain in _FALSE:
        return plain in _TRUE
    raise InvalidInput(f"line {line}: {plain[:40]!r} is not an outcome; allowed: 1, 0, true, false")
