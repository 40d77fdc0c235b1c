"""An optimized form: the pipeline's columns as a program, the last step's trees in ONNX or its weights in numpy.

A form exists only where every branch is provably the model's own: values are cut to the model's precision, thresholds
keep theirs, sums are in the model's order. What a form does not cover (a value that does not survive its precision, a
category that only the library treats, a score within 1e-6 of the threshold) it leaves to the model's own library.
Golden rows check the form when the model is registered and again before a service is ready; they do not replace the
proof.
"""

import itertools
import json
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from model_store.contract.columns import Column, Columns, NeedsOwnLibrary, in_json
from model_store.contract.contract import Contract
from model_store.contract.own import Output
from model_store.contract.stored_form import FORMAT, GRAPH, OPERATORS, read_stored_form
from model_store.contract.structure import Structure
from model_store.errors import InvalidInput, UnreadableModel
from model_store.serialization.onnx_session import onnx_session
from model_store.serialization.trees import ZERO, Link

TOLERANCE = 1e-6
"""Within so much of the threshold the model's own library decides."""
_MOST_NODES = 4_000_000
_SAFE_MAGNITUDE = 1e8
"""Of the terms of a linear sum: beyond it the order of summation could show in the sixth digit."""


@dataclass(frozen=True)
class Form:
    """An optimized form as it is stored."""

    kind: Literal["onnx", "linear"]
    columns: Columns | None
    """The program of the columns; None when the features are the columns."""
    width: int
    value_bits: int
    sum_bits: int
    divisor: int
    link: Link
    targets: int
    positive_index: int
    gap_values: dict[int, float]
    zero_is_gap: tuple[int, ...]
    gap_is_zero: tuple[int, ...]
    weights: tuple[float, ...] = ()
    intercept: float = 0.0
    graph: bytes = b""
    """ONNX, from prepared rows to sums."""

    def to_bytes(self) -> bytes:
        """One line of JSON, then the graph."""
        about = {
            "format": FORMAT,
            **{key: value for key, value in self.__dict__.items() if key not in ("columns", "graph", "gap_values")},
            "gap_values": [[number, in_json(value)] for number, value in self.gap_values.items()],
            "columns": self.columns.to_dict() if self.columns else None,
        }
        return json.dumps(about, separators=(",", ":"), allow_nan=False).encode() + b"\n" + self.graph

    @classmethod
    def from_bytes(cls, content: bytes) -> "Form":
        """Reads what `to_bytes` has written.

        Raises:
            UnreadableModel: the content is something else, or its graph is not a table of trees.
        """
        stored, graph = read_stored_form(content)
        values = msgspec.structs.asdict(stored)
        del values["format"]
        columns = values.pop("columns")
        values["gap_values"] = {number: float(value) for number, value in stored.gap_values}
        for key in ("zero_is_gap", "gap_is_zero", "weights"):
            values[key] = tuple(values[key])
        found = cls(**values, columns=Columns.from_dict(columns) if columns else None, graph=graph)
        if found.columns is not None and found.columns.width != found.width:
            raise UnreadableModel("the optimized form's program makes another number of columns than it has")
        return found

    def require_features(self, count: int) -> None:
        """Raises unless the form takes rows of so many features.

        Raises:
            UnreadableModel: the form reads other features.
        """
        takes = self.width if self.columns is None else self.columns.least_features
        if takes > count or (self.columns is None and takes != count):
            raise UnreadableModel(f"the optimized form takes {takes} features, its model version has {count}")


def build_form(contract: Contract, structure: Structure) -> Form:
    """The optimized form of a model.

    Raises:
        InvalidInput: it has none; says why.
    """
    if contract.decides == "model":
        raise InvalidInput("it decides by another score than the one it gives: its own library answers")
    if structure.columns is None:
        raise InvalidInput(structure.reason)
    columns = structure.columns
    final = structure.final
    if structure.trees is None:
        weights, intercept = _linear(final, contract, structure.reason)
        if columns.width != len(weights):
            raise InvalidInput("the steps before the last one have another number of columns than its weights")
        return Form(
            kind="linear", columns=None if _identity(columns) else columns, width=len(weights), value_bits=64,
            sum_bits=64, divisor=1, link="logistic", targets=1, positive_index=contract.positive_index, gap_values={},
            zero_is_gap=(), gap_is_zero=(), weights=weights, intercept=intercept,
        )  # fmt: skip
    trees = structure.trees
    if len(trees.left) > _MOST_NODES:
        raise InvalidInput(f"its trees have {len(trees.left)} nodes; an optimized form has at most {_MOST_NODES}")
    if columns.width != trees.width:
        raise InvalidInput("the steps before the last one have another number of columns than its trees")
    if structure.sparse:
        columns = _for_sparse(columns, final)
    from model_store.serialization.tree_onnx import sums_as_onnx

    return Form(
        kind="onnx", columns=None if _identity(columns) else columns, width=trees.width, value_bits=trees.value_bits,
        sum_bits=trees.sum_bits, divisor=trees.divisor, link=trees.link, targets=len(trees.base),
        positive_index=contract.positive_index, gap_values=trees.gap_values,
        zero_is_gap=tuple(sorted(trees.zero_is_gap)), gap_is_zero=tuple(sorted(trees.gap_is_zero)),
        graph=sums_as_onnx(trees),
    )  # fmt: skip


def _identity(columns: Columns) -> bool:
    return not columns.zero_is_gap and all(
        isinstance(part, Column) and part.source == number and not part.operations
        for number, part in enumerate(columns.parts)
    )


def _for_sparse(columns: Columns, final: Any) -> Columns:
    package = type(final).__module__.split(".")[0]
    if package == "xgboost":
        # XGBoost takes what a sparse matrix does not hold for a gap, and zeros are not held.
        return Columns(columns.parts, zero_is_gap=True)
    if package == "sklearn":
        return columns
    raise InvalidInput(f"{type(final).__name__} on a sparse matrix has no exact optimized form")


_LOGISTIC = ("LogisticRegression", "LogisticRegressionCV")
_LINEAR = ("LinearSVC", "RidgeClassifier", "RidgeClassifierCV", "Perceptron", "PassiveAggressiveClassifier")


def _linear(final: Any, contract: Contract, reason: str) -> tuple[tuple[float, ...], float]:
    name, output = type(final).__name__, contract.output
    known = type(final).__module__.startswith("sklearn.linear_model.") or name == "LinearSVC"
    logistic: tuple[tuple[str, Output], ...] = (
        *((each, "predict_proba") for each in _LOGISTIC),
        *((each, "decision_function") for each in _LINEAR),
    )
    by_loss = name == "SGDClassifier" and (final.loss == "log_loss") == (output == "predict_proba")
    if not known or ((name, output) not in logistic and not by_loss):
        raise InvalidInput(reason)
    weights = np.atleast_2d(np.asarray(final.coef_, dtype=np.float64))
    if weights.shape[0] != 1 or len(contract.classes) != 2:
        raise InvalidInput(f"{name} of several classes answers from its own library")
    return tuple(weights[0].tolist()), float(np.ravel(final.intercept_)[0])


class FormRunner:
    """Answers rows from a form.

    Args:
        form: stored.
        threshold: within 1e-6 of it a score is left to the model's own library.

    Raises:
        UnreadableModel: the form's graph is not one.
    """

    def __init__(self, form: Form, threshold: float) -> None:
        self.form, self._threshold = form, threshold
        self._columns = form.columns.one if form.columns else None
        self._cut = np.zeros((1, form.width), dtype=np.float32 if form.value_bits == 32 else np.float64)
        self._bytes = memoryview(self._cut.data).cast("B")
        self._code = "f" if form.value_bits == 32 else "d"
        self._put = struct.Struct(f"={form.width}{self._code}").pack_into
        number_type: Any = np.float32 if form.sum_bits == 32 else np.float64
        self._ready = self._cut if self._cut.dtype == number_type else np.zeros((1, form.width), dtype=number_type)
        self._sums = np.zeros((1, form.targets), dtype=number_type)
        self._gap_values = np.full(form.width, np.nan)
        for number, value in form.gap_values.items():
            self._gap_values[number] = np.float64(np.float32(value))
        self._zero_is_gap = np.isin(np.arange(form.width), form.zero_is_gap)
        self._gap_is_zero = np.isin(np.arange(form.width), form.gap_is_zero)
        self._prepares = bool(form.gap_values or form.zero_is_gap or form.gap_is_zero)
        self._weights = np.asarray(form.weights)
        if form.kind == "onnx":
            self._session = onnx_session(form.graph, GRAPH, OPERATORS)
            self._calculate = self._bound()

    def one(self, row: Sequence[Any]) -> float | None:
        """The score of one row; None where the model's own library has to answer."""
        form = self.form
        try:
            values = row if self._columns is None else self._columns(row)
            self._put(self._bytes, 0, *values)
        except (NeedsOwnLibrary, OverflowError, struct.error, TypeError, ValueError):
            return None
        if form.kind == "linear":
            terms = self._cut[0] * self._weights
            if float(np.abs(terms).sum()) > _SAFE_MAGNITUDE:
                return None
            return self._decided(_logistic(float(terms.sum()) + form.intercept))
        if self._prepares:
            self._prepare(self._cut)
        if self._ready is not self._cut:
            self._ready[:] = self._cut
        self._calculate()
        if form.link == "softmax":
            return self._decided(float(_softmax(self._sums / form.divisor)[0, form.positive_index]))
        total = self._sums.item(0)
        if form.divisor != 1:
            total /= form.divisor
        return self._decided(_logistic(total) if form.link == "logistic" else min(1.0, max(0.0, total)))

    def many(self, rows: Sequence[Sequence[Any]]) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
        """The scores of rows, and which of the rows the model's own library has to answer."""
        form = self.form
        own = np.zeros(len(rows), dtype=bool)
        try:
            cut = self._convert_batch(rows) if self._columns is None else None
            table = self._table(rows, own) if cut is None else cut
        except (TypeError, ValueError, OverflowError):
            return np.zeros(len(rows)), np.ones(len(rows), dtype=bool)
        if form.kind == "linear":
            terms = table * self._weights
            own |= np.abs(terms).sum(axis=1) > _SAFE_MAGNITUDE
            scores = _logistics(terms.sum(axis=1) + form.intercept)
        else:
            if cut is None:
                with np.errstate(over="ignore"):
                    cut = table.astype(self._cut.dtype)
                if form.value_bits == 32 and not np.isfinite(cut).all():
                    own |= (np.isinf(cut) & np.isfinite(table)).any(axis=1)
            if self._prepares:
                self._prepare(cut)
            sums = np.asarray(
                self._session.run(None, {"rows": cut.astype(self._sums.dtype, copy=False)})[0], np.float64
            )
            if form.divisor != 1:
                sums = sums / form.divisor
            if form.link == "softmax":
                scores = _softmax(sums)[:, form.positive_index]
            else:
                scores = _logistics(sums[:, 0]) if form.link == "logistic" else np.clip(sums[:, 0], 0.0, 1.0)
        if form.link == "logistic" and form.positive_index == 0:
            scores = 1.0 - scores
        own |= ~(np.abs(scores - self._threshold) > TOLERANCE)
        return scores, own

    def _decided(self, score: float) -> float | None:
        if self.form.link == "logistic" and self.form.positive_index == 0:
            score = 1.0 - score
        return score if abs(score - self._threshold) > TOLERANCE else None

    def _convert_batch(self, rows: Sequence[Sequence[Any]]) -> "np.ndarray[Any, Any] | None":
        """Rows in the form's precision; None when a value is not a number or does not fit: then one by one."""
        width = self.form.width
        content = bytearray(len(rows) * width * self._cut.itemsize)
        try:
            struct.pack_into(f"={len(rows) * width}{self._code}", content, 0, *itertools.chain.from_iterable(rows))
        except (OverflowError, struct.error, TypeError):
            return None
        return np.frombuffer(content, dtype=self._cut.dtype).reshape(len(rows), width)

    def _table(self, rows: Sequence[Sequence[Any]], own: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        if self.form.columns is None:
            return np.array(rows, dtype=np.float64)
        found, left = self.form.columns.many(rows)
        own |= left
        return found

    def _prepare(self, cut: "np.ndarray[Any, Any]") -> None:
        """Turns what the library takes for a gap into NaN, and gaps that it takes for zero into zero; in place."""
        if self.form.gap_values:
            cut[cut == self._gap_values] = np.nan
        if self.form.zero_is_gap:
            cut[(np.abs(cut) <= ZERO) & self._zero_is_gap] = np.nan
        if self.form.gap_is_zero:
            cut[np.isnan(cut) & self._gap_is_zero] = 0.0

    def _bound(self) -> Callable[[], None]:
        binding = self._session.io_binding()
        for bind, name, array in (
            (binding.bind_input, "rows", self._ready),
            (binding.bind_output, "sums", self._sums),
        ):
            bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        run = self._session.run_with_iobinding
        return lambda: run(binding)


def _logistic(total: float) -> float:
    return 1.0 / (1.0 + math.exp(-total)) if total > -700 else math.exp(total) if total == total else math.nan


def _logistics(totals: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    with np.errstate(over="ignore"):
        found: np.ndarray[Any, Any] = 1.0 / (1.0 + np.exp(-totals.astype(np.float64)))
    return found


def _softmax(sums: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    powers = np.exp(sums.astype(np.float64) - sums.max(axis=1, keepdims=True))
    found: np.ndarray[Any, Any] = powers / powers.sum(axis=1, keepdims=True)
    return found
