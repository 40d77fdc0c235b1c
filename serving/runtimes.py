"""What answers: ONNX Runtime where the model has that form, else the model's own library.

| model | runtime | where it runs |
|---|---|---|
| converted at registration, or registered as ONNX | ONNX Runtime, one thread | on the event loop; long batches not |
| XGBoost | its booster's in-place prediction, one thread | on the event loop; long batches not |
| everything else | `predict_proba` | beside the event loop; requests that wait are answered together |
"""

import asyncio
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from model_store.native_models import OnnxModel

_INLINE_SECONDS = 0.0005
"""So long the event loop may be held; handing rows to a thread and back costs about as much while it is busy."""
_PACE_ROWS, _PACE_ROUNDS = 64, 3
_ROWS_AT_ONCE = 512
_AGREES = 1e-6

Rows = Sequence[Sequence[float]]


class Runtime(Protocol):
    """Answers rows of features with the probability of fraud of each."""

    name: str
    """For people, such as `onnxruntime`."""

    def now(self, rows: Rows) -> list[float] | None:
        """The probabilities, when that takes half a millisecond at most; None when it would take longer."""

    async def soon(self, rows: Rows) -> list[float]:
        """The probabilities; the event loop goes on meanwhile."""

    def compute(self, rows: Rows) -> list[float]:
        """The probabilities, however long it takes."""


class _Threaded(ABC):
    """Calculates in one thread beside the event loop."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")

    @abstractmethod
    def compute(self, rows: Rows) -> list[float]:
        """The probabilities, however long it takes."""

    async def soon(self, rows: Rows) -> list[float]:
        """The probabilities; the event loop goes on meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.compute, rows)


class InlineRuntime(_Threaded):
    """A runtime so fast that handing a row to a thread would take longer."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self._inline_rows = 1
        self._one = np.zeros((1, features), dtype=np.float32)
        self._put = struct.Struct(f"{features}f").pack_into
        self._bytes = memoryview(self._one.data).cast("B")

    def one(self, row: Sequence[float]) -> float:
        """The probability of one row."""
        try:
            self._put(self._bytes, 0, *row)
        except (OverflowError, struct.error):
            # Larger than 32 bits hold: infinite there, as numpy has it.
            return self.compute([row])[0]
        return float(self._answer(self._one)[0])

    def measure_pace(self) -> None:
        """Finds out how many rows the event loop may wait for; before that it is one."""
        rows = np.random.default_rng(0).normal(scale=3, size=(_PACE_ROWS, self._one.shape[1])).astype(np.float32)
        paces = []
        for _ in range(_PACE_ROUNDS):
            started = time.perf_counter()
            self._answer(rows)
            paces.append((time.perf_counter() - started) / _PACE_ROWS)
        self._inline_rows = max(1, int(_INLINE_SECONDS / min(paces)))

    def now(self, rows: Rows) -> list[float] | None:
        """The probabilities of as many rows as take half a millisecond; None for more of them."""
        if len(rows) == 1:
            return [self.one(rows[0])]
        return self.compute(rows) if len(rows) <= self._inline_rows else None

    def compute(self, rows: Rows) -> list[float]:
        """The probabilities, however long it takes."""
        with np.errstate(over="ignore"):
            array = np.asarray(rows, dtype=np.float64).astype(np.float32)
        found: list[float] = self._answer(array).tolist()
        return found

    @abstractmethod
    def _answer(self, rows: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """The probabilities of an array of rows."""


class OnnxRuntime(InlineRuntime):
    """ONNX Runtime.

    Args:
        model: loaded.
        features: how many it takes.
    """

    name = "onnxruntime"

    def __init__(self, model: OnnxModel, features: int) -> None:
        super().__init__(features)
        self._run = model.run
        # The session has its own form by now; the bytes that it was made from are not needed to answer.
        model.content = b""
        self._answers = np.zeros((1, 2), dtype=np.float32)
        self._calculate = model.bound(self._one, self._answers)

    def one(self, row: Sequence[float]) -> float:
        """The probability of one row."""
        if self._calculate is None:
            return super().one(row)
        try:
            self._put(self._bytes, 0, *row)
        except (OverflowError, struct.error):
            return self.compute([row])[0]
        self._calculate()
        return self._answers.item(1)

    def _answer(self, rows: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        return self._run(rows)[:, -1]


class XGBoostRuntime(InlineRuntime):
    """XGBoost without its detour over scikit-learn's interface.

    Args:
        model: an `XGBClassifier` with two classes.
        features: how many it takes.
    """

    name = "xgboost"

    def __init__(self, model: Any, features: int) -> None:
        super().__init__(features)
        self._booster = model.get_booster()
        self._booster.set_param({"nthread": 1})
        best = getattr(model, "best_iteration", None) if self._booster.attr("best_iteration") else None
        self._range = (0, best + 1) if best is not None else (0, 0)

    def _answer(self, rows: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        return np.asarray(self._booster.inplace_predict(rows, iteration_range=self._range, validate_features=False))


class EstimatorRuntime(_Threaded):
    """Whatever has `predict_proba`: requests that came while one batch was calculated make up the next.

    So nobody waits for others to come, and nobody waits longer than for one batch before his own.

    Args:
        model: fitted.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.name = type(model).__module__.split(".")[0]
        self._model = model
        self._waiting: list[tuple[Rows, asyncio.Future[list[float]]]] = []
        self._working: asyncio.Task[None] | None = None

    def now(self, rows: Rows) -> list[float] | None:
        """Nothing: it always takes too long for the event loop."""
        del rows
        return None

    def compute(self, rows: Rows) -> list[float]:
        """The probabilities, however long it takes."""
        with np.errstate(over="ignore"):
            array = np.asarray(rows, dtype=np.float64).astype(np.float32)
        found: list[float] = np.asarray(self._model.predict_proba(array))[:, 1].tolist()
        return found

    async def soon(self, rows: Rows) -> list[float]:
        """The probabilities, calculated together with those of other requests that wait."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[float]] = loop.create_future()
        self._waiting.append((rows, future))
        if self._working is None or self._working.done():
            self._working = loop.create_task(self._work())
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch: list[tuple[Rows, asyncio.Future[list[float]]]] = []
            size = 0
            while self._waiting and (not batch or size + len(self._waiting[0][0]) <= _ROWS_AT_ONCE):
                batch.append(self._waiting.pop(0))
                size += len(batch[-1][0])
            together = [row for rows, _ in batch for row in rows]
            try:
                found = await loop.run_in_executor(self._thread, self.compute, together)
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            start = 0
            for rows, future in batch:
                if not future.done():
                    future.set_result(found[start : start + len(rows)])
                start += len(rows)


def runtime_for(model: Any, features: int) -> Runtime:
    """The fastest runtime that gives the model's own answers."""
    runtime = _fastest(model, features)
    if isinstance(runtime, InlineRuntime):
        runtime.measure_pace()
    return runtime


def _fastest(model: Any, features: int) -> Runtime:
    if isinstance(model, OnnxModel):
        return OnnxRuntime(model, features)
    if type(model).__name__ == "XGBClassifier" and len(getattr(model, "classes_", ())) in (0, 2):
        fast = XGBoostRuntime(model, features)
        rows = np.random.default_rng(0).normal(scale=3, size=(64, features)).tolist()
        difference = np.abs(np.asarray(fast.compute(rows)) - np.asarray(EstimatorRuntime(model).compute(rows)))
        if float(difference.max()) <= _AGREES:
            return fast
    return EstimatorRuntime(model)
