"""A model's own answers: rows as callers send them, through the model's own library, as scores from 0 to 1 in 64 bits.

These answers are the reference: golden rows hold them, and optimized forms must return them.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from model_store.contract.features import Feature
from model_store.contract.frames import make_series
from model_store.errors import InvalidInput
from model_store.serialization.object_graph import walk_objects

_EXACT_INTEGERS = 1 << 53
_GRAIN = 1e-9
"""Relative to an anomaly detector's largest known score: closer scores share a rank."""
_BATCH_DEPENDENT = frozenset({"IterativeImputer", "NMF", "MiniBatchNMF"})
"""Classes whose result for a row depends on the other rows of a call: they are asked row by row, as callers ask."""
Row = Sequence[Any]
"""One value for each feature: float (a gap is NaN or the feature's gap value), int, str, bool or None."""
Output = Literal["predict_proba", "decision_function", "anomaly_score"]


class DecidedScore(float):
    """A score with the decision that the model's own `predict` makes of it."""

    __slots__ = ("fraud",)

    fraud: bool


def decided_score(score: float, *, fraud: bool) -> DecidedScore:
    """A score with a decision."""
    made = DecidedScore(score)
    made.fraud = fraud
    return made


def is_fraud(score: float, threshold: float) -> bool:
    """The decision: the model's own when the score has one, else by the threshold."""
    return score.fraud if type(score) is DecidedScore else score >= threshold


class RowRefused(Exception):
    """The model's own library refuses a row.

    Args:
        message: what the library says, on one line.
        index: position of the row in the request; None when unknown.
    """

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class NoProbability(RowRefused):
    """The model returned a number outside 0 to 1 instead of a probability."""


@dataclass(frozen=True)
class AnomalyRanks:
    """Maps an anomaly detector's score to 0 to 1 by its rank among the scores of reference rows.

    Below the detector's own limit lies [0, 0.5), above it (0.5, 1], so 0.5 decides as the detector does.
    """

    inside: tuple[float, ...]
    """Quantiles of the reference's scores that the detector takes for usual, rising, at most 0."""
    outside: tuple[float, ...]
    """The same for the others, rising, above 0."""

    @classmethod
    def of(cls, scores: "np.ndarray[Any, Any]") -> "AnomalyRanks":
        """From the reference's scores; above 0 is an anomaly."""
        levels = np.linspace(0, 1, 101)
        inside, outside = scores[scores <= 0], scores[scores > 0]
        return cls(
            tuple(np.unique(np.quantile(inside, levels)).tolist()) if len(inside) else (),
            tuple(np.unique(np.quantile(outside, levels)).tolist()) if len(outside) else (),
        )

    def ranked(self, scores: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Numbers from 0 to 1, in the order of the scores."""
        usual = scores <= 0
        scores = self._without_last_digits(scores)
        low = _rank(np.where(usual, scores, 0.0), (*self.inside, 0.0))
        high = _rank(np.where(usual, 1.0, scores), (0.0, *self.outside))
        found: np.ndarray[Any, Any] = np.where(usual, np.minimum(low * 0.5, np.nextafter(0.5, 0)), 0.5 + high * 0.5)
        return found

    def _without_last_digits(self, scores: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Rounds scores: their last digits depend on the number of rows of a call, and ranks must not.

        A score is a sum whose terms are of the order of usual scores, or of its own: so many digits are its own.
        """
        reference = np.abs(np.asarray((*self.inside, *self.outside)))
        usual = float(np.median(reference)) if len(reference) else 0.0
        with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            grain = np.exp2(np.floor(np.log2(_GRAIN * np.maximum(np.abs(scores), usual))))
            rounded = np.round(scores / grain) * grain
        found: np.ndarray[Any, Any] = np.where(np.isfinite(rounded), rounded, scores)
        return found


def _rank(scores: "np.ndarray[Any, Any]", knots: tuple[float, ...]) -> "np.ndarray[Any, Any]":
    """The share of the knots below each score, linear between them; the last twentieth at either end is the tails'."""
    points = np.unique(np.asarray(knots))
    if len(points) == 1:
        points = np.array([points[0] - 1, points[0] + 1]) if points[0] else np.array([0.0, 1.0])
    between = np.interp(scores, points, np.linspace(0.05, 0.95, len(points)))
    spread = max(float(points[-1] - points[0]), 1e-12)
    with np.errstate(over="ignore"):
        beyond = np.maximum(scores - points[-1], 0) / spread
        before = np.maximum(points[0] - scores, 0) / spread
    found: np.ndarray[Any, Any] = between + 0.05 * (1 - 1 / (1 + beyond)) - 0.05 * (1 - 1 / (1 + before))
    return found


class OwnModel:
    """A fitted estimator and its contract; answers rows of JSON values.

    Args:
        model: fitted.
        features: in the model's order.
        framed: whether it takes a data frame.
        output: which of its methods is asked.
        positive_index: the class whose score is wanted.
        ranks: of an anomaly detector.
        decided_as: the positive class, where the model's own `predict` decides instead of a threshold.
        texts: whether it takes a row of texts instead of a table.
    """

    def __init__(
        self,
        model: Any,
        features: Sequence[Feature],
        *,
        framed: bool,
        output: Output,
        positive_index: int,
        ranks: AnomalyRanks | None = None,
        decided_as: Any = None,
        texts: bool = False,
    ) -> None:
        self.model, self.features, self.framed = model, tuple(features), framed
        self.output, self.positive_index, self.ranks = output, positive_index, ranks
        self._decided_as, self._texts = decided_as, texts
        self._plain = all(
            (feature.is_numeric or feature.kind == "boolean") and not _beyond_64_bit_floats(feature)
            for feature in self.features
        )
        self._nan_texts = [
            number
            for number, feature in enumerate(self.features)
            if not framed and feature.dtype == "str" and feature.written is None
        ]
        """Columns of an array whose gaps the model takes as NaN, although they hold texts."""
        self._wide = [
            number
            for number, feature in enumerate(self.features)
            if framed and feature.is_numeric and _beyond_64_bit_floats(feature)
        ]
        self.library = type(model).__module__.split(".")[0]
        self._one_by_one = any(type(item).__name__ in _BATCH_DEPENDENT for item in walk_objects(model))

    def scores(self, rows: Sequence[Row]) -> "np.ndarray[Any, Any]":
        """The scores of rows, each from 0 to 1.

        Raises:
            RowRefused: the library does not answer, or answers with something that is not a number from 0 to 1.
        """
        if len(apart := self._apart(rows)) > 1:
            found = np.zeros(len(rows))
            for numbers in apart:
                found[numbers] = self.scores([rows[number] for number in numbers])
            return found
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                table = self.table(rows)
                raw = self.raw(table)
        except Exception as error:
            raise RowRefused(one_line(error)) from None
        return self._checked(raw, len(rows))

    def _apart(self, rows: Sequence[Row]) -> list[list[int]]:
        """The rows that may be asked about in one call, by their numbers.

        Rows with a gap or a fraction beside whole numbers past 64-bit floats are apart: in one column they would cut
        them. So is every row of a model whose answer depends on the others.
        """
        if self._one_by_one:
            return [[number] for number in range(len(rows))]
        if not self._wide:
            return [[]]
        whole: list[int] = []
        others: list[int] = []
        for number, row in enumerate(rows):
            fits = all(type(row[column]) is int or float(row[column]).is_integer() for column in self._wide)
            (whole if fits else others).append(number)
        return [each for each in (whole, others) if each]

    def scores_one_by_one(self, rows: Sequence[Row]) -> "list[float | RowRefused]":
        """The scores of rows, and for those that the library does not answer, why not; in batches where it does."""
        found: list[float | RowRefused] = []
        pending = [rows] if rows else []
        while pending:
            part = pending.pop()
            try:
                found += self.decided_scores(part)
            except RowRefused as refusal:
                if len(part) == 1:
                    found.append(refusal)
                else:
                    middle = len(part) // 2
                    pending += [part[middle:], part[:middle]]
        return found

    def decided_scores(self, rows: Sequence[Row]) -> list[float]:
        """The scores of rows, each with the decision where the model's own `predict` makes it.

        Raises:
            RowRefused: as `scores`.
        """
        scores: list[float] = self.scores(rows).tolist()
        if self._decided_as is None:
            return scores
        if self._one_by_one:
            return [self._decided([row], [score])[0] for row, score in zip(rows, scores, strict=True)]
        return self._decided(rows, scores)

    def _decided(self, rows: Sequence[Row], scores: list[float]) -> list[float]:
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                decided = np.asarray(self.model.predict(self.table(rows))) == self._decided_as
        except Exception as error:
            raise RowRefused(one_line(error)) from None
        return [decided_score(score, fraud=bool(fraud)) for score, fraud in zip(scores, decided.tolist(), strict=True)]

    def raw_scores(self, rows: Sequence[Row]) -> list[float]:
        """The results of the model's own method for the rows that it answers, in their order."""
        found: list[float] = []
        pending = [rows] if rows else []
        while pending:
            part = pending.pop()
            try:
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")
                    found += self.raw(self.table(part)).tolist()
            except Exception:
                if len(part) > 1:
                    middle = len(part) // 2
                    pending += [part[middle:], part[:middle]]
        return found

    def raw(self, table: Any) -> "np.ndarray[Any, Any]":
        """The result of the model's own method for the positive class, before it becomes a score."""
        if self.output == "predict_proba":
            answers = np.asarray(self.model.predict_proba(table))
            return np.asarray(answers[:, self.positive_index], dtype=np.float64)
        decisions: np.ndarray[Any, Any] = np.asarray(self.model.decision_function(table), dtype=np.float64)
        if self.output == "anomaly_score":
            return -decisions.reshape(-1)
        if decisions.ndim == 2 and decisions.shape[1] > 1:
            return decisions[:, self.positive_index]
        decisions = decisions.reshape(-1)
        return decisions if self.positive_index == 1 else -decisions

    def table(self, rows: Sequence[Row]) -> Any:
        """Rows as the model takes them: a data frame, an array, or texts."""
        if self._texts:
            return np.array([row[0] for row in rows], dtype=object)
        if not self.framed:
            dtype: Any = np.float64 if self._plain else object
            array = np.array(rows, dtype=dtype).reshape(len(rows), len(self.features))
            for number in self._nan_texts:
                array[:, number] = [math.nan if is_gap(each) else each for each in array[:, number]]
            return array
        import pandas

        columns = zip(*rows, strict=True) if rows else [()] * len(self.features)
        return pandas.DataFrame(
            {
                feature.name: make_series(feature, list(values))
                for feature, values in zip(self.features, columns, strict=True)
            }
        )

    def _checked(self, raw: "np.ndarray[Any, Any]", count: int) -> "np.ndarray[Any, Any]":
        if raw.shape != (count,):
            raise RowRefused(f"the model returned {raw.shape[0] if raw.ndim else 0} answers to {count} rows")
        if np.isnan(raw).any():
            raise RowRefused("the model returned NaN; a score is a number", int(np.flatnonzero(np.isnan(raw))[0]))
        if self.output == "decision_function":
            with np.errstate(over="ignore"):
                found = 1 / (1 + np.exp(-raw))
            # Rounding must not move a decision to the other side of 0.5.
            scores: np.ndarray[Any, Any] = np.where((raw < 0) & (found >= 0.5), np.nextafter(0.5, 0), found)
            return scores
        if self.output == "anomaly_score":
            if self.ranks is None:
                raise RowRefused("the detector's ranks are not known")
            return self.ranks.ranked(raw)
        outside = (raw < -1e-6) | (raw > 1 + 1e-6)
        if outside.any():
            index = int(np.flatnonzero(outside)[0])
            raise NoProbability(f"the model returned {raw[index]:g}; a probability lies between 0 and 1", index)
        clipped: np.ndarray[Any, Any] = np.clip(raw, 0.0, 1.0)
        return clipped


def _beyond_64_bit_floats(feature: Feature) -> bool:
    """Whether it has values that a 64-bit float cannot tell apart."""
    beyond = (isinstance(each, int) and abs(each) > _EXACT_INTEGERS for each in feature.categories)
    return feature.dtype.startswith("int") or any(beyond)


def _is_gap(value: Any) -> bool:
    return value is None or value != value


def one_line(error: BaseException) -> str:
    """An error's message on one line of at most 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def choose_output(model: Any) -> Output:
    """Which of a model's methods gives its scores.

    Raises:
        InvalidInput: it has none; says what it is.
    """
    name = type(model).__name__
    if _is_outlier_detector(model):
        if callable(getattr(model, "decision_function", None)):
            return "anomaly_score"
        raise InvalidInput(f"{name} cannot score new rows; LocalOutlierFactor does with novelty=True")
    for method in ("predict_proba", "decision_function"):
        try:
            if callable(getattr(model, method, None)):
                return method
        except Exception:  # noqa: S112 - a wrapper asks what it wraps, which may say no in any way
            continue
    raise InvalidInput(f"{name} gives no probabilities and has no decision function; register a classifier")


def _is_outlier_detector(model: Any) -> bool:
    if getattr(model, "_estimator_type", None) == "outlier_detector":
        return True
    if not type(model).__module__.startswith(("sklearn.", "imblearn.")):
        return False
    from sklearn.base import is_outlier_detector

    try:
        return bool(is_outlier_detector(model))
    except Exception:
        return False


def is_gap(value: Any) -> bool:
    """Whether a value of a row is a gap."""
    return _is_gap(value)


def gap_value(feature: Feature) -> Any:
    """The value of a feature's gap in a row."""
    if feature.written is not None:
        return feature.written
    return math.nan if feature.is_numeric else None
