"""What answers: an optimized form where its every branch is the model's own, the model's own library for the rest.

| model | runtime | where it runs |
|---|---|---|
| has an optimized form | ONNX Runtime or the model's weights, one thread | on the event loop; long batches not |
| everything else, and rows that a form leaves alone | the model's own library | beside the event loop, with others |

A row that the library does not answer is one caller's: the others of the same micro-batch are answered.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from model_store.contract.answering import answer_each
from model_store.contract.form import FormRunner
from model_store.contract.own import OwnModel, RowRefused

_INLINE_SECONDS = 0.0015
"""So long the event loop may be held: as long as reading a few requests; a thread answers what takes longer."""
_PACE_ROWS, _PACE_ROUNDS = 64, 3
_ROWS_AT_ONCE = 512

Rows = Sequence[Sequence[Any]]


class Runtime:
    """Answers rows of features with the score of each.

    Args:
        own: the model with its own library.
        form: its optimized form; None when it has none.
    """

    def __init__(self, own: OwnModel, form: FormRunner | None = None) -> None:
        self.own, self._form = own, form
        self.name = own.library if form is None else "onnxruntime" if form.form.kind == "onnx" else "weights"
        """For people, such as `onnxruntime`."""
        self.by_form = self.by_own = 0
        """Rows answered by the optimized form, and by the model's own library."""
        self._inline_rows = 1
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._waiting: list[tuple[Rows, asyncio.Future[list[float]]]] = []
        self._batching: asyncio.Task[None] | None = None

    def one(self, row: Sequence[Any]) -> float | None:
        """The score of one row, when the optimized form answers it."""
        if self._form is None or (score := self._form.one(row)) is None:
            return None
        self.by_form += 1
        return score

    def predict_inline(self, rows: Rows) -> list[float] | None:
        """The scores, when the optimized form answers all rows in a millisecond and a half; None when not."""
        form = self._form
        if form is None:
            return None
        if len(rows) == 1:
            score = form.one(rows[0])
            if score is None:
                return None
            self.by_form += 1
            return [score]
        if len(rows) > self._inline_rows:
            return None
        scores, own = form.many(rows)
        if own.any():
            return None
        self.by_form += len(rows)
        found: list[float] = scores.tolist()
        return found

    def compute(self, rows: Rows) -> list[float]:
        """The scores, however long it takes.

        Raises:
            RowRefused: the model's library does not answer a row; names the first.
        """
        found = self.compute_each(rows)
        for number, score in enumerate(found):
            if isinstance(score, RowRefused):
                raise RowRefused(str(score), number)
        return found  # type: ignore[return-value]

    def compute_each(self, rows: Rows) -> list[float | RowRefused]:
        """The scores, and for rows that the model's library does not answer, why not."""
        found, by_own = answer_each(self.own, self._form, rows)
        self.by_own += by_own
        self.by_form += len(rows) - by_own
        return found

    async def predict_async(self, rows: Rows) -> list[float]:
        """The scores, calculated beside the event loop together with those of other requests that wait.

        A request waits for no other to come; it waits for at most one batch that began before it.

        Raises:
            RowRefused: as `compute`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[float]] = loop.create_future()
        self._waiting.append((rows, future))
        if self._batching is None or self._batching.done():
            self._batching = loop.create_task(self._work())
        return await future

    async def refused_feature(self, row: Sequence[Any], answered: Sequence[Any]) -> int | None:
        """The feature because of which the library does not answer a row; None when it is not one alone.

        Args:
            row: not answered.
            answered: a row that is; its values are tried in the other's place, one by one.
        """

        def look() -> int | None:
            tried = [[*row[:number], answered[number], *row[number + 1 :]] for number in range(len(row))]
            for number, score in enumerate(self.own.scores_one_by_one(tried)):
                if not isinstance(score, RowRefused):
                    return number
            return None

        return await asyncio.get_running_loop().run_in_executor(self._thread, look)

    def measure_pace(self, rows: Rows) -> None:
        """Finds out how many rows the event loop may wait for; before that it is one.

        Args:
            rows: ordinary ones.
        """
        if self._form is None or not rows:
            return
        several = [rows[number % len(rows)] for number in range(_PACE_ROWS)]
        paces = []
        for _ in range(_PACE_ROUNDS):
            started = time.perf_counter()
            self._form.many(several)
            paces.append((time.perf_counter() - started) / _PACE_ROWS)
        self._inline_rows = max(1, int(_INLINE_SECONDS / min(paces)))

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
                found = await loop.run_in_executor(self._thread, self.compute_each, together)
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            start = 0
            for rows, future in batch:
                _set_scores(future, found[start : start + len(rows)])
                start += len(rows)


def _set_scores(future: "asyncio.Future[list[float]]", scores: list[float | RowRefused]) -> None:
    if future.done():
        return
    for number, score in enumerate(scores):
        if isinstance(score, RowRefused):
            future.set_exception(RowRefused(str(score), number))
            return
    future.set_result(scores)  # type: ignore[arg-type]
