"""Idempotency: a repeated request of an SDK gets the first answer and runs once.

An SDK gives all requests of one call the same `amz-sdk-invocation-id`, and repeats a request whose answer it did not
get. A busy machine can lose a connection after the work was done. moto would answer the repeated create request with
"exists already", and the caller would not learn that its own request created the resource. AWS has an idempotency
token in each service; this application covers all services.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, NamedTuple

__all__ = ["IdempotentRequests", "drain_request_body"]

_KEPT = 1_000
_WAIT_SECONDS = 60.0


class _Given(NamedTuple):
    status: str
    headers: list[tuple[str, str]]
    body: bytes


class IdempotentRequests:
    """A WSGI application around another; keeps the answers of the last 1,000 calls that change something."""

    def __init__(self, application: Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]) -> None:
        self._application = application
        self._given: OrderedDict[str, Future[_Given]] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answers one request; replays successful answers only."""
        call = environ.get("HTTP_AMZ_SDK_INVOCATION_ID")
        if call is None or environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return self._application(environ, start_response)
        mine: Future[_Given] = Future()
        earlier = self._keep(call, mine)
        if earlier is not None and (given := earlier.result(_WAIT_SECONDS)).status.startswith("2"):
            drain_request_body(environ)
        else:
            given = self._answer(environ, mine)
        start_response(given.status, given.headers)
        return [given.body]

    def _keep(self, call: str, mine: Future[_Given]) -> Future[_Given] | None:
        """Returns the earlier answer to this call, which may still be pending; None for a new call."""
        with self._lock:
            earlier = self._given.get(call)
            if earlier is None or (earlier.done() and not earlier.result().status.startswith("2")):
                self._given[call] = mine
            while len(self._given) > _KEPT:
                self._given.popitem(last=False)
        return earlier

    def _answer(self, environ: dict[str, Any], mine: Future[_Given]) -> _Given:
        caught: list[Any] = []
        given = _Given("500 Internal Server Error", [], b"")
        try:
            body = b"".join(
                self._application(environ, lambda status, headers, _=None: caught.extend((status, headers)))
            )
            given = _Given(caught[0], caught[1], body)
        finally:
            mine.set_result(given)
        return given


def drain_request_body(environ: dict[str, Any]) -> None:
    """Reads the request body to its end: a client that is still sending would miss an early answer."""
    chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "")
    environ["wsgi.input"].read(*(() if chunked else (int(environ.get("CONTENT_LENGTH") or 0),)))
