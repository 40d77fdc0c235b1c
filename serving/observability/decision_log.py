"""The decision log: each decision as a row, written beside the requests by a thread.

What a target does not take waits, up to a bound; what comes beyond is counted and lost. No request waits for it.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from model_store.decisions.log_parts import (
    FeatureKeys,
    LoggedAnswer,
    day_of,
    feedback_key,
    part_key,
    write_part,
)
from model_store.decisions.log_reader import DecisionLogReader
from model_store.decisions.log_store import LogStore, open_log
from model_store.decisions.receipt_keys import derive_for_deployment
from model_store.decisions.receipts import Receipt
from model_store.errors import ModelStoreError
from serving.observability.logs import service_log

if TYPE_CHECKING:
    from serving.settings import ServingSettings

MAX_WAITING_ROWS = 100_000
"""Decisions that wait to be written; what comes beyond is counted and lost."""
_FLUSH_WAITING_ROWS = 20_000
_END_SECONDS = 5.0
_CLAIM_SECONDS = 2.0
_PARALLEL_CLAIMS = 16
_PRUNE_SECONDS = 3600.0
PURPOSE = "decision-log"
"""Of the key that seals the keys of features."""


class DecisionLog:
    """Writes the decisions of one process.

    Args:
        settings: of the service.
        model_key: that the key of features is derived from.
        process: of the receipts of this process.
        threshold: from which on a transaction is fraud.
        names: of the features, in the order of the rows.
        count: counts decisions that were `written` or `lost`.
    """

    def __init__(
        self,
        settings: "ServingSettings",
        model_key: bytes,
        process: str,
        threshold: float,
        names: Sequence[str],
        count: Callable[[str, int], None],
    ) -> None:
        self._settings, self._process, self._threshold, self._names = settings, process, threshold, names
        self._store: LogStore = open_log(settings.decision_log, settings.decision_log_kms_key)
        seal = derive_for_deployment(model_key, PURPOSE, settings.environment, settings.deployment_name)
        self._keys = FeatureKeys(self._store, seal)
        self.keeps_features = settings.decision_log_features
        self._waiting: deque[LoggedAnswer] = deque()
        # Each is changed by one thread only: requests add, the writer takes away.
        self._added_rows = self._taken_rows = 0
        self._count = count
        self.lost = 0
        """Decisions that are not in the log since the process started: nothing took them while the queue was full."""
        self._failed = ""
        self._pruned_at = 0.0
        self._due = threading.Event()
        self._claims = ThreadPoolExecutor(_PARALLEL_CLAIMS, thread_name_prefix="feedback-log")
        self._claims_fail_until = 0.0

    @property
    def _waiting_rows(self) -> int:
        return self._added_rows - self._taken_rows

    def add(self, answer: LoggedAnswer) -> None:
        """Adds the decisions of an answer."""
        rows = len(answer.scores)
        if self._waiting_rows + rows > MAX_WAITING_ROWS:
            self.lost += rows
            self._count("lost", rows)
            return
        self._added_rows += rows
        self._waiting.append(answer)
        if self._waiting_rows > _FLUSH_WAITING_ROWS:
            self._due.set()

    async def claim(self, receipts: Sequence[tuple[Receipt, bool]]) -> list[bool] | None:
        """Records what decisions turned out to be; whether each had no record yet; None when the log does not answer.

        Args:
            receipts: of the decisions, with whether each was fraud.
        """
        if time.monotonic() < self._claims_fail_until:
            return None
        loop = asyncio.get_running_loop()
        claims = [loop.run_in_executor(self._claims, self._claim, *each) for each in receipts]
        try:
            async with asyncio.timeout(_CLAIM_SECONDS):
                return list(await asyncio.gather(*claims))
        except (TimeoutError, ModelStoreError) as error:
            self._claims_fail_until = time.monotonic() + _CLAIM_SECONDS
            fields = {"error": f"{type(error).__name__}: {error}"[:300]}
            message = "the decision log does not answer; repeats of feedback are found by each process alone"
            service_log.warning(message, extra={"fields": fields})
            return None

    def _claim(self, receipt: Receipt, was_fraud: bool) -> bool:
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        content = f'{{"was_fraud": {str(was_fraud).lower()}, "time": "{moment}"}}\n'
        return self._store.put_if_absent(feedback_key(receipt), content.encode())

    @contextmanager
    def written_often(self) -> Iterator[None]:
        """Writes in a thread what waits, and once more at the end."""
        # Imported before the first request: an import holds up all threads.
        import pyarrow.parquet  # noqa: F401

        ended = threading.Event()

        def run() -> None:
            while not ended.is_set():
                self._due.wait(self._settings.decision_log_seconds)
                self._due.clear()
                self._write_guarded()
                self._prune()

        thread = threading.Thread(target=run, name="decision-log", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            self._due.set()
            # A target that does not answer does not keep the process.
            thread.join(_END_SECONDS)
            last = threading.Thread(target=self._write_guarded, name="decision-log-end", daemon=True)
            last.start()
            last.join(_END_SECONDS)
            self._claims.shutdown(wait=False, cancel_futures=True)
            if self._waiting:
                fields = {"lost": self._waiting_rows}
                service_log.error("decisions were not written before the end", extra={"fields": fields})

    def _write_guarded(self) -> None:
        try:
            self._write()
        except Exception as error:
            # A thread that ends would end the log.
            if str(error) != self._failed:
                self._failed = str(error)
                fields = {"error": self._failed[:300], "waiting": self._waiting_rows, "lost": self.lost}
                service_log.error("the decision log was not written; it is tried again", extra={"fields": fields})
        else:
            if self._failed:
                self._failed = ""
                service_log.info("the decision log is written again", extra={"fields": {"lost": self.lost}})

    def _write(self) -> None:
        """Writes what waits, a part for each day; what fails goes on waiting."""
        while self._waiting:
            day, answers = day_of(self._waiting[0].at), list(self._of_one_day())
            seal = self._seal(day)
            content = write_part(answers, self._settings.model_id, self._threshold, seal)
            key = part_key(day, self._process, answers[0].answer, answers[-1].answer)
            self._store.put(key, content)
            rows = 0
            for _ in answers:
                rows += len(self._waiting.popleft().scores)
            self._taken_rows += rows
            self._count("written", rows)

    def _of_one_day(self) -> Iterator[LoggedAnswer]:
        """The answers at the head of the queue that are of the same day, as many as a part may hold."""
        day, rows = day_of(self._waiting[0].at), 0
        for each in list(self._waiting):
            if day_of(each.at) != day or rows > _FLUSH_WAITING_ROWS:
                return
            rows += len(each.scores)
            yield each

    def _seal(self, day: str) -> dict[str, Any] | None:
        if not self.keeps_features:
            return None
        key = self._keys.for_writing(day)
        return None if key is None else {"key": key, "names": self._names}

    def _prune(self) -> None:
        """Removes the days beyond the retention, of a log in a directory; a bucket has a rule of its own for that."""
        days = self._settings.decision_log_days
        if not days or self._settings.decision_log.startswith("s3://") or time.monotonic() < self._pruned_at:
            return
        self._pruned_at = time.monotonic() + _PRUNE_SECONDS
        try:
            before = (datetime.now(UTC) - timedelta(days=days)).date()
            DecisionLogReader(self._store).remove_before(before)
        except Exception as error:
            # A thread that ends would end the log.
            service_log.error("old decisions were not removed", extra={"fields": {"error": str(error)[:300]}})
