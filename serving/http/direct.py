"""One connection to the service: a request whose whole body comes at once is answered at once.

uvicorn makes a task, an event and two messages for each request, which takes longer than the prediction. Requests to
the paths of `Service.direct_paths` do without when they come in one piece on a connection that waits for nothing else;
all others go uvicorn's way. Both ways take the same steps in `Service`, and both are within the same bounds.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.http.app import Answer, Headers
from serving.process.connection import Connection, head_bytes


class ServiceConnection(Connection):
    """One connection to a `Service`.

    Args:
        arguments: of a `Connection`.
    """

    def __init__(self, *args: Any, **arguments: Any) -> None:
        super().__init__(*args, **arguments)
        self._direct_paths: dict[bytes, str] = self.app.direct_paths
        self._answer: Callable[[str, Headers, bytes], Any] = self.app.answer_directly
        self._path: str | None = None
        """Of the request that is read, while it may still be answered directly."""
        self._pieces: list[bytes] = []
        self._defaults: Headers = []
        self._default_bytes, self._ends = b"", False

    def data_received(self, data: bytes) -> None:
        """Reads what has come; a request that is not whole goes on in a task."""
        super().data_received(data)
        if self._path is not None:
            self._path = None
            if not self.transport.is_closing():
                self._begin_task(self._pieces)

    def on_message_begin(self) -> None:
        """A request begins; what a task needs of it is made only when there is one."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._begin_reading()

    def on_headers_complete(self) -> None:
        """Takes the direct way where it can."""
        path, parser, cycle = self._direct_paths.get(self.url), self.parser, self.cycle
        if (
            path is not None
            and len(self.headers) <= self._max_headers
            and (self._unparsed <= self._max_bytes or head_bytes(self.url, self.headers) <= self._max_bytes)
            and (cycle is None or cycle.response_complete)
            and not (self.only_health or self.expect_100_continue or self.flow.write_paused)
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and not parser.should_upgrade()
        ):
            self._path, self._pieces = path, []
            self._in_head = False
            self._unparsed = 0
        else:
            self._begin_task()

    def on_body(self, body: bytes) -> None:
        """A piece of the body has come."""
        if self._path is None:
            super().on_body(body)
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        path = self._path
        if path is None:
            super().on_message_complete()
            return
        self._path = None
        pieces = self._pieces
        answer = self._answer(path, self.headers, pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if isinstance(answer, Answer):
            self._in_message = False
            self._write(answer)
            return
        app, self.app = self.app, answer
        try:
            self._begin_task()
        finally:
            self.app = app
        super().on_message_complete()

    def _begin_task(self, pieces: Sequence[bytes] = ()) -> None:
        """Goes uvicorn's way, with what has come of the body."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        HttpToolsProtocol.on_message_begin(self)
        self.url, self.expect_100_continue = url, expects
        self.headers = self.scope["headers"] = headers
        super().on_headers_complete()
        for piece in pieces:
            super().on_body(piece)

    def _write(self, answer: Answer) -> None:
        if self._defaults is not self.server_state.default_headers:
            self._defaults = self.server_state.default_headers
            self._default_bytes = _header_bytes(self._defaults)
            self._ends = _ends(self._defaults)
        status, content, request_id, headers = answer
        closes = self._ends or (b"connection", b"close") in headers
        keeps = self.parser.should_keep_alive()
        lines = b"%scontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\n%s%s\r\n%s" % (
            self._default_bytes,
            len(content),
            request_id.encode(),
            _header_bytes(headers) if headers else b"",
            b"" if keeps or closes else b"connection: close\r\n",
            content,
        )
        self.transport.write(STATUS_LINE[status] + lines)
        self.server_state.total_requests += 1
        self._since = time.monotonic()
        if closes or not keeps:
            self.transport.close()


def _header_bytes(headers: Any) -> bytes:
    return b"".join([b"%s: %s\r\n" % each for each in headers])


def _ends(headers: Any) -> bool:
    return (b"connection", b"close") in headers
