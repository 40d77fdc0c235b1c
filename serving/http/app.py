"""The service: an ASGI application whose way to a prediction has nothing on it that a prediction does not need.

Around every request but those for health: the API key, its scope, its rate, the size of the body, one line in the log.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from model_store.contract.own import RowRefused, is_fraud
from serving.http.auth import ApiKey
from serving.http.limits import Buckets, RedisBuckets
from serving.http.one_row import OneRow
from serving.http.state import ServiceState
from serving.inference.transactions import InvalidRequest, TransactionReader, parse_feedback
from serving.observability.logs import service_log

if TYPE_CHECKING:
    from serving.observability.tracing import Tracing

OPEN_PATHS = frozenset(("/health", "/health/live", "/health/ready"))
SCOPES = {"/predict": "predict", "/feedback": "feedback", "/metrics": "admin", "/status": "admin"}
DEVELOPMENT_PATHS = frozenset(("/docs", "/openapi.json"))
"""What outsiders need not see: only development shows it without a key."""
_PUBLIC_PATHS = frozenset(("/",))
"""A page without data of its own: what it shows it asks for with a key."""
_MAX_REQUEST_ID = 128
_ALLOW_POST = ((b"allow", b"POST"),)
_JSON = (b"content-type", b"application/json")
_UNDECIDED = ((b"x-undecided", b"1"),)
"""On answers to transactions that are well formed and that this model does not decide: they count as errors of it."""
_encode = msgspec.json.Encoder().encode

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class _Prediction(msgspec.Struct, gc=False):
    fraud_probability: float
    is_fraud: bool


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status, self.code = status, code
        self.where: str | None = more.get("where")
        self.headers: tuple[tuple[bytes, bytes], ...] = more.get("headers", ())


class _Request:
    """What is known of one request."""

    __slots__ = ("authorization", "decisions", "given_key", "key", "length", "path", "request_id", "undecided")

    def __init__(self, scope: Scope) -> None:
        self.path: str = scope["path"]
        self.key: ApiKey | None = None
        self.decisions: int | None = None
        self.undecided = False
        self.given_key = self.authorization = self.length = b""
        self.request_id = ""
        for name, value in scope["headers"]:
            if name == b"x-api-key":
                self.given_key = value
            elif name == b"authorization":
                self.authorization = value
            elif name == b"content-length":
                self.length = value
            elif name == b"x-request-id" and 0 < len(value) <= _MAX_REQUEST_ID and value.isascii():
                text = value.decode("ascii")
                self.request_id = text if text.isprintable() else ""


class Service:
    """The application for one loaded model.

    Args:
        state: of the service.
        pages: answers everything but predictions and feedback.
        tracing: makes a span of each request; None for no traces.
    """

    def __init__(
        self,
        state: ServiceState,
        pages: Callable[[Any, Any, Any], Awaitable[None]],
        tracing: "Tracing | None" = None,
    ) -> None:
        settings = state.settings
        self._state, self._pages, self._tracing = state, pages, tracing
        self._reader = TransactionReader(state.model.contract.features, settings.max_batch)
        self._buckets = Buckets(settings.rate_limit_per_second, settings.rate_limit_burst)
        self._shared = (
            RedisBuckets(settings.rate_limit_url, settings.rate_limit_per_second, settings.rate_limit_burst)
            if settings.rate_limit_url
            else None
        )
        prefix = secrets.token_hex(8)
        self._ids = (f"{prefix}{number:016x}" for number in itertools.count())
        self._known = {"model_id": state.model.metadata.model_id, "threshold": state.model.threshold}
        self._reading: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        lean = tracing is None and self._shared is None and state.model.runtime.inline
        self._one_row = OneRow(state, self._reader, self._buckets, self._reading) if lean else None
        self._actions = {"/predict": self._predict, "/feedback": self._feedback}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            return
        if self._one_row is not None and scope["path"] == "/predict" and scope["method"] == "POST":
            first = await self._lean(scope, receive, send)
            if first is None:
                return
            if first:
                receive = _again(first, receive)
        started = time.perf_counter()
        request = _Request(scope)
        request.request_id = request.request_id or next(self._ids)
        state = self._state
        state.in_flight += 1
        try:
            if self._tracing is None or request.path in OPEN_PATHS:
                status = await self._answer(scope, receive, send, request)
            else:
                with self._tracing.request(scope, request.request_id) as span:
                    status = await self._answer(scope, receive, send, request)
                    span["http.response.status_code"] = status
        finally:
            state.in_flight -= 1
        if request.path not in OPEN_PATHS:
            self._note(request, scope["method"], status, (time.perf_counter() - started) * 1000)

    async def _lean(self, scope: Scope, receive: Receive, send: Send) -> dict[str, Any] | None:
        assert self._one_row is not None  # noqa: S101 - the caller has looked
        self._ensure_sweeper()
        try:
            return await self._one_row.answer(scope, receive, send)
        except asyncio.CancelledError:
            if not self._came_too_late():
                raise
            refused = _too_slow()
            request_id = next(self._ids)
            await _send_error(send, refused, request_id)
            return None

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request: _Request) -> int:
        try:
            await self._admit(request)
            action = self._actions.get(request.path)
            if action is None:
                return await self._page(scope, receive, send, request)
            if scope["method"] != "POST":
                refused = _Refused(405, "method_not_allowed", f"{request.path} takes POST", headers=_ALLOW_POST)
                return await _send_error(send, refused, request.request_id)
            content = await action(await self._body(receive), request)
            return await _send(send, 200, content, request.request_id)
        except _Refused as refused:
            return await _send_error(send, refused, request.request_id)
        except Exception:
            service_log.exception("a request failed", extra={"fields": {"request_id": request.request_id}})
            failed = _Refused(500, "internal", "the service failed; its log has the request id")
            return await _send_error(send, failed, request.request_id)

    async def _admit(self, request: _Request) -> None:
        """Lets a request go on, or refuses it."""
        state, path = self._state, request.path
        if path in OPEN_PATHS or path in _PUBLIC_PATHS:
            return
        if path in DEVELOPMENT_PATHS and state.settings.environment == "development":
            return
        key = state.api_keys.find(request.given_key, request.authorization)
        if key is None:
            message = "a known API key is needed in X-API-Key or as a bearer token"
            raise _Refused(401, "unauthorized", message, headers=((b"www-authenticate", b"Bearer"),))
        request.key = key
        scope = SCOPES.get(path)
        if scope is not None and scope not in key.scopes:
            raise _Refused(403, "forbidden", f"key {key.name!r} does not have the scope {scope}")
        wait = self._buckets.take(key) if self._shared is None else await self._shared.take(key)
        if wait:
            seconds = max(1, round(wait + 0.5))
            message = f"key {key.name!r} has made too many requests; the next one may come in {seconds} s"
            raise _Refused(429, "too_many_requests", message, headers=((b"retry-after", b"%d" % seconds),))
        if state.in_flight > state.settings.max_in_flight:
            message = f"the service works on {state.settings.max_in_flight} requests already"
            raise _Refused(503, "overloaded", message, headers=((b"retry-after", b"1"),))
        if request.length.isdigit() and int(request.length) > state.settings.max_body_bytes:
            raise self._too_large()

    async def _body(self, receive: Receive) -> bytes:
        """The body, no larger than allowed, whatever its header claimed, and in time."""
        task: Any = asyncio.current_task()
        self._reading[task] = time.perf_counter()
        self._ensure_sweeper()
        try:
            return await self._read(receive)
        except asyncio.CancelledError:
            if self._came_too_late():
                raise _too_slow() from None
            raise
        finally:
            del self._reading[task]

    def _ensure_sweeper(self) -> None:
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep())

    def _came_too_late(self) -> bool:
        """Whether the present task was cancelled since its body did not arrive in time."""
        task: Any = asyncio.current_task()
        late = task in self._late
        if late:
            self._late.discard(task)
            task.uncancel()
        return late

    async def _sweep(self) -> None:
        """Ends the wait for bodies that take too long; one look a second costs less than a timer a request."""
        while True:
            await asyncio.sleep(min(1.0, self._state.settings.request_timeout_seconds / 2))
            oldest = time.perf_counter() - self._state.settings.request_timeout_seconds
            for task in [task for task, since in self._reading.items() if since < oldest]:
                self._late.add(task)
                task.cancel()

    async def _read(self, receive: Receive) -> bytes:
        message = await receive()
        body: bytes = message.get("body", b"")
        if not message.get("more_body") and len(body) <= self._state.settings.max_body_bytes:
            return body
        pieces, size = [body], len(body)
        while message.get("more_body") and size <= self._state.settings.max_body_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Refused(400, "disconnected", "the client went away")
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
        if size > self._state.settings.max_body_bytes:
            raise self._too_large()
        return b"".join(pieces)

    async def _predict(self, body: bytes, request: _Request) -> bytes:
        try:
            rows = self._reader.rows(body)
        except InvalidRequest as error:
            request.undecided = error.code == "unknown_category"
            headers = _UNDECIDED if request.undecided else ()
            raise _Refused(422, error.code, str(error), where=error.field, headers=headers) from None
        self._state.metrics.arrived(rows)
        runtime, threshold = self._state.model.runtime, self._state.model.threshold
        probabilities = runtime.now(rows)
        if probabilities is None:
            try:
                probabilities = await runtime.soon(rows)
            except RowRefused as refusal:
                request.undecided = True
                raise await self._not_answered(body, rows, refusal) from None
        if self._state.model.contract.decides == "model":
            verdicts = [is_fraud(value, threshold) for value in probabilities]
        else:
            verdicts = [value >= threshold for value in probabilities]
        predictions = list(map(_Prediction, map(float, probabilities), verdicts))
        frauds = sum(verdicts)
        request.decisions = frauds
        self._state.metrics.decisions(probabilities, frauds)
        return _encode({**self._known, "request_id": request.request_id, "predictions": predictions})

    async def _not_answered(self, body: bytes, rows: list[Any], refusal: RowRefused) -> _Refused:
        """What a caller is told whose transaction the model's own library does not answer."""
        index = refusal.index or 0
        place = f"transactions[{index}]" if b'"transactions"' in body else "transaction"
        model = self._state.model
        number = None
        if model.answered_row is not None:
            number = await model.runtime.refused_feature(rows[index], model.answered_row)
        where = place if number is None else f"{place}.{model.contract.features[number].name}"
        return _Refused(
            422, "not_answered", f"{where}: the model does not answer: {refusal}", where=where, headers=_UNDECIDED
        )

    async def _feedback(self, body: bytes, request: _Request) -> bytes:
        try:
            outcomes = parse_feedback(body, self._state.settings.max_batch)
        except InvalidRequest as error:
            raise _Refused(422, error.code, str(error), where=error.field) from None
        self._state.metrics.feedback(outcomes)
        return _encode({"request_id": request.request_id, "taken": len(outcomes)})

    async def _page(self, scope: Scope, receive: Receive, send: Send, request: _Request) -> int:
        status = 500

        async def framed(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request.request_id.encode())]
            await send(message)

        await self._pages(scope, receive, framed)
        return status

    def _too_large(self) -> _Refused:
        # What is left of the body is not read; the connection cannot be used again.
        message = f"the body has more than {self._state.settings.max_body_bytes} bytes"
        return _Refused(413, "body_too_large", message, headers=((b"connection", b"close"),))

    def _note(self, request: _Request, method: str, status: int, milliseconds: float) -> None:
        self._state.metrics.request(status, milliseconds, undecided=request.undecided)
        log = self._state.request_log
        if log.enabled:
            log.add(
                {
                    "request_id": request.request_id,
                    "key": request.key.name if request.key else None,
                    "model_id": self._known["model_id"],
                    "method": method,
                    "path": request.path,
                    "status": status,
                    "latency_ms": int(milliseconds * 1000) / 1000,
                    "frauds": request.decisions,
                }
            )


def _again(message: dict[str, Any], receive: Receive) -> Receive:
    """A receive that gives one message once more, and then what comes."""
    left = [message]

    async def received() -> dict[str, Any]:
        return left.pop() if left else await receive()

    return received


def _too_slow() -> _Refused:
    return _Refused(408, "body_too_slow", "the body did not arrive in time", headers=((b"connection", b"close"),))


async def _send(
    send: Send, status: int, content: bytes, request_id: str, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> int:
    start = [_JSON, (b"content-length", b"%d" % len(content)), (b"x-request-id", request_id.encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": content})
    return status


async def _send_error(send: Send, refused: _Refused, request_id: str) -> int:
    error = {"code": refused.code, "message": str(refused), "request_id": request_id}
    if refused.where is not None:
        error["field"] = refused.where
    return await _send(send, refused.status, _encode({"error": error}), request_id, refused.headers)
