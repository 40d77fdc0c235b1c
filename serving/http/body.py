"""Reads the bodies of requests: no larger than allowed, whatever their header claims, and in time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from serving.http.refused import Refused

Receive = Callable[[], Awaitable[dict[str, Any]]]
_CLOSE = ((b"connection", b"close"),)
"""The rest of such a body is not read: the connection cannot be used again."""


class BodyReader:
    """Reads the bodies of all requests of one service.

    Args:
        max_bytes: of a body.
        timeout_seconds: how long a body may take to arrive.
    """

    def __init__(self, max_bytes: int, timeout_seconds: float) -> None:
        self._max_bytes, self._timeout_seconds = max_bytes, timeout_seconds
        self._long_length = len(str(max_bytes))
        self._reading: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._sweeper: asyncio.Task[None] | None = None

    def require_length(self, length: bytes) -> None:
        """Checks the header `Content-Length`, which may be missing or wrong.

        Raises:
            Refused: 413, the body is too large.
        """
        if len(length) >= self._long_length and length.isdigit() and int(length) > self._max_bytes:
            raise self._too_large()

    def require_size(self, body: bytes) -> None:
        """Checks a body that is there.

        Raises:
            Refused: 413, the body is too large.
        """
        if len(body) > self._max_bytes:
            raise self._too_large()

    async def read(self, receive: Receive) -> bytes:
        """The whole body.

        Raises:
            Refused: 400, the client went away; 408, the body did not arrive in time; 413, it is too large.
        """
        task: Any = asyncio.current_task()
        self._reading[task] = time.perf_counter()
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep())
        try:
            message = await receive()
            body: bytes | None = message.get("body")
            if body is None:
                raise Refused(400, "disconnected", "the client went away")
            if message.get("more_body"):
                body = await self._rest(body, receive)
        except asyncio.CancelledError:
            if self._is_late(task):
                raise Refused(408, "body_too_slow", "the body did not arrive in time", headers=_CLOSE) from None
            raise
        finally:
            del self._reading[task]
        self.require_size(body)
        return body

    async def _rest(self, first: bytes, receive: Receive) -> bytes:
        """A body that arrives in several messages, read until it ends or is too large."""
        pieces, size, more = [first], len(first), True
        while more and size <= self._max_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "disconnected", "the client went away")
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            more = message.get("more_body", False)
        return b"".join(pieces)

    def _is_late(self, task: Any) -> bool:
        """Whether the task was cancelled since its body did not arrive in time."""
        late = task in self._late
        if late:
            self._late.discard(task)
            task.uncancel()
        return late

    async def _sweep(self) -> None:
        """Ends the wait for bodies that take too long; one look a second costs less than a timer a request."""
        while True:
            await asyncio.sleep(min(1.0, self._timeout_seconds / 2))
            oldest = time.perf_counter() - self._timeout_seconds
            for task in [task for task, since in self._reading.items() if since < oldest]:
                self._late.add(task)
                task.cancel()

    def _too_large(self) -> Refused:
        return Refused(413, "body_too_large", f"the body has more than {self._max_bytes} bytes", headers=_CLOSE)
