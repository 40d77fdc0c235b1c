"""HTTP/1.1 on one connection: uvicorn's protocol on httptools, with bounds on what a client may send and hold.

`Upgrade` is a wish that a server may ignore (RFC 9110, 7.8). The parser would take what follows such a request for
another protocol, so the request is parsed again without the wish, and its body is read.
"""

import json
import time
from collections.abc import Sized
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.process.connections import HEALTH_PATHS, Connections, address_of

_MAX_PIPELINED = 100
_LINGER_SECONDS = 2.0
"""How long the rest of a refused request is read, so that its sender sees the answer."""
_CLOSING_SECONDS = 5.0
_UPGRADES = frozenset((b"upgrade", b"http2-settings"))
_TOO_MANY = "the service has as many connections as it takes"
_NO_CERTIFICATE = (403, "client_certificate_required", "only health is answered to a client without a certificate")


class _Flow(FlowControl):
    """Reads nothing more while requests wait on the connection, whose headers would pile up.

    Args:
        transport: of the connection.
        waiting: its requests that wait.
    """

    def __init__(self, transport: Any, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Reads on, where no request waits."""
        if not self._waiting:
            super().resume_reading()


class _PipelinedProtocol(HttpToolsProtocol):
    """Tells the request that is in work that its connection is lost; uvicorn tells only the last one that waits."""

    _running: Any = None

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """Sends nothing more."""
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)


class Connection(_PipelinedProtocol):
    """One connection.

    Args:
        config: uvicorn's.
        server_state: uvicorn's.
        app_state: uvicorn's.
        _loop: the event loop.
        registry: all connections of the process.
    """

    def __init__(
        self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None, *, registry: Connections
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.address, self.only_health = "", False
        self.only_health_because: tuple[int, str, str] = (503, "too_many_connections", _TOO_MANY)
        self._registry = registry
        self._max_bytes, self._max_headers = registry.bounds.max_header_bytes, registry.bounds.max_headers
        self._since = self._begun = time.monotonic()
        self._unparsed = 0
        """Bytes since the parser last got on: a head, trailers or a chunk's extension may not grow without end."""
        self._has_begun = self._in_head = self._in_message = self._upgrading = self._ended = False
        self._unwritten_since: float | None = None
        self._closing_since: float | None = None
        self._refusal: tuple[int, str, str] | None = None

    @property
    def waiting_since(self) -> float | None:
        """Monotonic seconds since when it waits for its client; None while a request is in work."""
        return self._sending_since if self._unwritten_since is None else self._unwritten_since

    @property
    def _sending_since(self) -> float | None:
        """Since when the client has been about to send something."""
        answering = self.cycle is not None and not self.cycle.response_complete
        return None if answering and not (self._in_message and not self._in_head) else self._since

    def connection_made(self, transport: Any) -> None:
        """Takes the connection, if there is room for it."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self.address = address_of(self.client)
        self._registry.admit(self)
        if self._registry.wants_certificates and not transport.get_extra_info("peercert"):
            self.only_health, self.only_health_because = True, _NO_CERTIFICATE

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._registry.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses what has arrived."""
        if self._ended:
            return
        self._unparsed += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._feed_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse_broken()
            return
        if self._unparsed > self._max_bytes and not self._ended:
            self._refuse(431, "header_too_large", f"the headers have more than {self._max_bytes} bytes")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._begin_reading()

    def _begin_reading(self) -> None:
        self._has_begun = self._in_head = self._in_message = True
        self._since = self._begun = time.monotonic()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header; trailers after the body are left out."""
        if not self._in_head:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Hands the request to the application once its head is whole and within bounds."""
        if len(self.headers) > self._max_headers:
            self._stop(431, "too_many_headers", f"the request has more than {self._max_headers} headers")
        if self._unparsed > self._max_bytes and head_bytes(self.url, self.headers) > self._max_bytes:
            self._stop(431, "header_too_large", f"the headers have more than {self._max_bytes} bytes")
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                self._stop(405, "method_not_allowed", "the service does not forward connections")
            self._upgrading = True
            return
        self._in_head = False
        self._unparsed = 0
        self._since = time.monotonic()
        if self.only_health and httptools.parse_url(self.url).path not in HEALTH_PATHS:
            self._stop(*self.only_health_because)
        if len(self.pipeline) >= _MAX_PIPELINED:
            self._stop(400, "too_many_pipelined", f"more than {_MAX_PIPELINED} requests wait on the connection")
        super().on_headers_complete()
        if b"%" in self.url:
            # A path is compared as it was sent: what is written otherwise is another one.
            self.scope["path"] = self.scope["raw_path"].decode("ascii")

    def on_body(self, body: bytes) -> None:
        """Takes a piece of a body."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request has arrived as a whole."""
        if self._upgrading:
            return
        self._unparsed = 0
        self._in_message = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Goes on with the next request; uvicorn's timer for idle connections is left to the sweep."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if not self._in_message or self.flow.read_paused:
            self._since = time.monotonic()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        self.flow.resume_reading()

    def pause_writing(self) -> None:
        """The client does not take its answer."""
        self._unwritten_since = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client takes its answer again."""
        self._unwritten_since = None
        super().resume_writing()

    def look(self, now: float) -> None:
        """Ends the connection when its client takes too long."""
        bounds = self._registry.bounds
        if self._unwritten_since is not None and now - self._unwritten_since > bounds.request_timeout_seconds:
            self._abort("answer_not_read")
        elif self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since > _CLOSING_SECONDS:
                self.transport.abort()
        elif self._ended:
            if now - self._since > _LINGER_SECONDS:
                self.transport.close()
        elif self._sending_since is not None:
            self._look_at_client(now - self._since)

    def _look_at_client(self, seconds: float) -> None:
        bounds = self._registry.bounds
        if self._in_head:
            if seconds > bounds.header_timeout_seconds:
                self._refuse(408, "header_too_slow", "the headers did not arrive in time")
        elif self._in_message:
            # The application answers 408 itself while it waits for a body; here it has answered already, or is stuck.
            if seconds > bounds.request_timeout_seconds + (0 if self.cycle.response_complete else _CLOSING_SECONDS):
                self._abort("body_too_slow")
        elif not self._has_begun:
            if seconds > bounds.header_timeout_seconds:
                self._close("no_request")
        elif seconds > bounds.idle_timeout_seconds:
            self._close("idle")

    def evict(self) -> None:
        """Closes the connection in favor of a new one."""
        self._ended = True
        if self._unwritten_since is not None:
            self._abort("evicted")
            return
        if self._in_head:
            self._answer_early(503, "too_many_connections", _TOO_MANY)
        self._close("evicted")

    def turn_away(self) -> None:
        """Answers 503 and closes."""
        self._answer_early(503, "too_many_connections", _TOO_MANY)
        self._ended = True
        self._close("turned_away")

    def _stop(self, status: int, code: str, message: str) -> None:
        """Keeps the parser from going on, from within one of its callbacks."""
        self._refusal = status, code, message
        raise ValueError(code)

    def _refuse_broken(self) -> None:
        self._refuse(*(self._refusal or (400, "bad_request", "Invalid HTTP request received.")))

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answers, and reads for a moment what else arrives: a close with unread bytes can cost the answer."""
        self._ended = True
        if self.cycle is not None and not self.cycle.response_complete:
            if self._in_message and not self._in_head and self._refusal is None:
                # Its body cannot be read on: to the application, the client has gone away.
                self._abort(code)
                return
            # An earlier request on this connection is not answered yet; the answer to it ends the connection.
            self.cycle.keep_alive = False
            self.pipeline.clear()
            self._registry.accounts.connection_closed(code)
            return
        self._answer_early(status, code, message)
        self._since = time.monotonic()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _answer_early(self, status: int, code: str, message: str) -> None:
        milliseconds = (time.monotonic() - self._begun) * 1000
        method = self.parser.get_method().decode("ascii") if self._in_message and not self._in_head else ""
        request_id = self._registry.accounts.refused_early(status, code, method, milliseconds)
        self.transport.write(_error_response(status, code, message, request_id, self.server_state.default_headers))

    def _close(self, reason: str) -> None:
        self._registry.accounts.connection_closed(reason)
        self.transport.close()

    def _abort(self, reason: str) -> None:
        self._registry.accounts.connection_closed(reason)
        self.transport.abort()

    def _feed_without_upgrade(self, rest: bytes) -> None:
        """Parses the request again without the wish for another protocol, and what follows it."""
        while True:
            head = _head_without_upgrade(self.parser, self.url, self.headers)
            self._upgrading = False
            self._unparsed = len(head)
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            try:
                self.parser.feed_data(head)
                self._unparsed += len(rest)
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            except httptools.HttpParserError:
                self._refuse_broken()
                return
            else:
                return


def head_bytes(url: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    """The size of a request's head, without its first line's method and version."""
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers)


def _head_without_upgrade(parser: Any, url: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    lines = [b"%s %s HTTP/%s" % (parser.get_method(), url, parser.get_http_version().encode())]
    for name, value in headers:
        kept = value
        if name == b"connection":
            tokens = [token.strip() for token in value.split(b",")]
            kept = b", ".join(token for token in tokens if token.lower() not in _UPGRADES)
        if name not in _UPGRADES and (kept or name != b"connection"):
            lines.append(b"%s: %s" % (name, kept))
    return b"\r\n".join([*lines, b"", b""])


def _error_response(
    status: int, code: str, message: str, request_id: str, default_headers: list[tuple[bytes, bytes]]
) -> bytes:
    error = {"error": {"code": code, "message": message, "request_id": request_id}}
    body = json.dumps(error, separators=(",", ":")).encode()
    lines = [
        *(b"%s: %s\r\n" % pair for pair in default_headers if pair[0] != b"connection"),
        b"content-type: application/json\r\n",
        b"content-length: %d\r\n" % len(body),
        b"x-request-id: %s\r\n" % request_id.encode(),
        b"retry-after: 1\r\n" if status == 503 else b"",
        b"connection: close\r\n\r\n",
        body,
    ]
    return b"".join([STATUS_LINE[status], *lines])
