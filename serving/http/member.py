"""A process among others that serve from the same socket: they answer for all, and share the rates of API keys."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from serving.http.auth import ApiKey
from serving.observability.accounts import MetricsOfAll, Past, ProcessAccount, account_of, go_on_from
from serving.observability.logs import RequestLog, records_lost, service_log
from serving.observability.metrics import ServiceMetrics
from serving.process.board import AREA_BYTES, Board

_LOOK_SECONDS = 0.02
_WRITE_SECONDS = 0.5
_ANSWER_SECONDS = 0.5
"""How long a process waits for the accounts of the others; one that is stopped has its last one counted."""
_ROWS = 5000
"""Transactions of all processes that drift is calculated from."""
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ProcessAccount)


class Member:
    """This process in its group.

    Args:
        board: what the group shares.
        metrics: of this process.
        request_log: of this process.
    """

    def __init__(self, board: Board, metrics: ServiceMetrics, request_log: RequestLog) -> None:
        self._board, self._metrics, self._log = board, metrics, request_log
        self.last_used: Callable[[], dict[str, float]] = dict
        """Unix time of the last use of each API key in this process, by its hash."""
        self._writing = threading.Lock()
        found = board.read(board.own)
        self._past = go_on_from(metrics, _decoder.decode(found.content)) if found is not None else Past()

    @contextmanager
    def accounted(self) -> Iterator[None]:
        """Writes this process's account, in a thread, and once more at the end."""
        ended = threading.Event()
        self._write(rows=False)

        def run() -> None:
            written = time.monotonic()
            answered = 0
            while not ended.wait(_LOOK_SECONDS):
                asked = self._board.asked_at()
                if asked > answered or time.monotonic() - written > _WRITE_SECONDS:
                    with suppress(Exception):
                        # A thread that ends would end the account.
                        self._write(rows=asked > answered)
                    answered, written = asked, time.monotonic()

        thread = threading.Thread(target=run, name="account", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(1)
            self._write(rows=False)

    def gathered(self) -> MetricsOfAll:
        """The metrics of all processes, of this moment; waits for their accounts."""
        asked = self._board.ask()
        deadline = time.monotonic() + _ANSWER_SECONDS
        while time.monotonic() < deadline:
            found = [self._board.read(slot) for slot in range(self._board.slots)]
            if all(each is None or not each.is_alive or each.moment >= asked for each in found):
                break
            time.sleep(_LOOK_SECONDS / 4)
        return self._sum()

    def written(self) -> MetricsOfAll:
        """The metrics of all processes by their last accounts, at most half a second old."""
        return self._sum()

    def keys_last_used(self) -> dict[str, float]:
        """Unix time of the last use of each API key in any process, by its hash."""
        found: dict[str, float] = {}
        for account in self._sum().accounts:
            for hashed, moment in account.last_used.items():
                found[hashed] = max(moment, found.get(hashed, 0.0))
        return found

    def buckets(self, rate: float, burst: float) -> "SharedBuckets":
        """Token buckets that all processes of the group share; arguments as for `SharedBuckets`."""
        return SharedBuckets(self._board, rate, burst)

    def take_minute(self) -> list[dict[str, Any]]:
        """What CloudWatch is given for all processes since the last time."""
        found = self.gathered()
        data = found.take_minute()
        self._metrics._pushed, self._metrics._pushed_disk = found._pushed, found._pushed_disk
        return data

    def _sum(self) -> MetricsOfAll:
        accounts, alive = [], []
        for slot in range(self._board.slots):
            found = self._board.read(slot)
            if found is None:
                continue
            account = _decoder.decode(found.content)
            accounts.append(account)
            if found.is_alive or slot == self._board.own:
                alive.append(account)
        return MetricsOfAll(self._metrics, accounts, alive)

    def _write(self, *, rows: bool) -> None:
        board = self._board
        with self._writing:
            moment = time.monotonic_ns()
            account = account_of(
                self._metrics,
                self._past,
                os.getpid(),
                self._log.lost + records_lost(),
                self.last_used(),
                rows=_ROWS // board.slots if rows else 0,
            )
            content = _encoder.encode(account)
            while len(content) > AREA_BYTES and account.rows:
                account.rows = account.rows[: len(account.rows) // 2]
                content = _encoder.encode(account)
            try:
                board.write(content, moment)
            except ValueError as error:
                service_log.warning("the account was not written", extra={"fields": {"error": str(error)}})


class SharedBuckets:
    """Token buckets that all processes of a group share.

    Args:
        board: what the group shares.
        rate: tokens a second, unless a key has its own; 0 for no limit.
        burst: tokens that a full bucket holds.
    """

    def __init__(self, board: Board, rate: float, burst: float) -> None:
        self._board, self._rate, self._burst = board, rate, burst

    def take(self, key: ApiKey) -> float:
        """0 when the request may go on; else in how many seconds one may."""
        rate = key.requests_per_second or self._rate
        if not rate:
            return 0.0
        burst = self._burst if key.requests_per_second is None else max(1.0, 2 * rate)
        with self._board.bucket(bytes.fromhex(key.sha256[:16])) as bucket:
            now = time.monotonic()
            tokens = burst if bucket.tokens is None else min(burst, bucket.tokens + (now - bucket.moment) * rate)
            if tokens >= 1:
                bucket.put(tokens - 1, now)
                return 0.0
            bucket.put(tokens, now)
        return (1 - tokens) / rate
