"""HTTP/1.1 on one connection: uvicorn's protocol on h11, which bounds a head's size, with bounds on its time."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS, WHOLE_SECONDS = 10.0, 65.0
"""A request's head has to arrive within the first, and the whole request within the second."""
_LOOK_SECONDS = 1.0


class Connection(H11Protocol):
    """Closes the connection of a client that takes too long to send its request."""

    _looking: asyncio.TimerHandle | None = None
    _since = 0.0

    def connection_made(self, transport: Any) -> None:
        """Begins to look at the time."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Looks no more."""
        if self._looking is not None:
            self._looking.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """The time of the next request begins."""
        self._since = self.loop.time()
        super().on_response_complete()

    def _look(self) -> None:
        state, now = self.conn.their_state, self.loop.time()
        if state not in (h11.IDLE, h11.SEND_BODY):
            self._since = now
        elif now - self._since > (HEAD_SECONDS if state is h11.IDLE else WHOLE_SECONDS):
            self.transport.abort()
            return
        self._looking = self.loop.call_later(_LOOK_SECONDS, self._look)
