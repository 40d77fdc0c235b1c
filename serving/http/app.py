"""The service: an ASGI application whose way to a prediction has nothing on it that a prediction does not need.

Around every request but those for health: the API key, its scope, its rate, the size of the body, one line in the log.
"""

import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import msgspec

from model_store.contract.own import RowRefused
from serving.http.auth import ApiKey
from serving.http.body import BodyReader, Receive
from serving.http.decisions import Decider
from serving.http.documentation import DOCUMENTATION_PATHS
from serving.http.feedback import FeedbackTaker
from serving.http.rate_limit import Buckets, RedisBuckets
from serving.http.reasons import Reasons
from serving.http.refused import Refused
from serving.http.repeats import shared_repeats
from serving.http.state import ServiceState
from serving.inference.transactions import InvalidRequest, TransactionReader
from serving.observability.logs import service_log

if TYPE_CHECKING:
    from serving.observability.tracing import Tracing

OPEN_PATHS = frozenset(("/health", "/health/live", "/health/ready"))
SCOPES = {"/predict": "predict", "/feedback": "feedback", "/metrics": "admin", "/status": "admin"}
DEVELOPMENT_PATHS = frozenset(("/openapi.json", *DOCUMENTATION_PATHS))
"""Shown without a key in development only."""
_PUBLIC_PATHS = frozenset(("/",))
"""A page without data of its own: what it shows it asks for with a key."""
PATHS = frozenset((*SCOPES, *OPEN_PATHS, *DEVELOPMENT_PATHS, *_PUBLIC_PATHS, "/model"))
"""Every path of the service: a request is authorized and routed by the same text. Any other path is answered 404."""
_MAX_REQUEST_ID = 128
_LONGEST_WAIT_SECONDS = 86_400
_ALLOW_POST = ((b"allow", b"POST"),)
_ALLOW_GET = ((b"allow", b"GET, HEAD"),)
_JSON = (b"content-type", b"application/json")
_UNDECIDED = ((b"x-undecided", b"1"),)
"""On answers to transactions that are well formed and that this model does not decide: they count as errors of it."""
_encode = msgspec.json.Encoder().encode

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]
"""Of ASGI."""
Headers = list[tuple[bytes, bytes]]


class Answer(NamedTuple):
    """The answer to a request."""

    status: int
    content: bytes
    request_id: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Beside the usual ones."""

    def all_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the answer."""
        length = (b"content-length", b"%d" % len(self.content))
        return [_JSON, length, (b"x-request-id", self.request_id.encode()), *self.headers]


class _Request:
    """One request: its headers, and what is counted and logged of it once it is answered."""

    key: ApiKey | None = None
    rows: Sequence[Any] = ()
    scores: Sequence[float] = ()
    frauds: int | None = None
    undecided = False
    in_work = False
    code = ""
    """Why it was refused."""

    def __init__(self, method: str, path: str, headers: Headers) -> None:
        self.started = time.perf_counter()
        self.method, self.path = method, path
        self.headers = dict(headers)
        given_id = self.headers.get(b"x-request-id")
        self.request_id = _readable_id(given_id) if given_id else ""


class Service:
    """The application for one loaded model.

    Args:
        state: of the service.
        pages: answers everything except predictions and feedback.
        tracing: makes a span of each request; None for no traces.
    """

    def __init__(
        self,
        state: ServiceState,
        pages: Application,
        tracing: "Tracing | None" = None,
    ) -> None:
        settings = state.settings
        self._state, self._pages, self._tracing = state, pages, tracing
        self._read_rows = TransactionReader(state.model.contract.features, settings.max_batch).rows
        self._predict_inline = state.model.runtime.predict_inline
        rate, burst = settings.rate_limit_per_second, settings.rate_limit_burst
        self._buckets = Buckets(rate, burst) if state.member is None else state.member.buckets(rate, burst)
        self._shared = (
            RedisBuckets(settings.rate_limit_url, rate, burst, self._buckets) if settings.rate_limit_url else None
        )
        self._ids, state.tracing = state.request_ids, tracing
        self._model_id = state.model.metadata.model_id
        self._answer_with = Decider(state).answer
        self._take_feedback = FeedbackTaker(state, shared_repeats(state)).take
        self._bodies = BodyReader(settings.max_body_bytes, settings.request_timeout_seconds)
        self._read_body = self._bodies.read
        self._reasons = Reasons(state.model)
        self._actions: dict[str, Callable[[bytes, _Request], bytes | Awaitable[bytes]]] = {
            "/predict": self._predict,
            "/feedback": self._feedback,
        }
        waits = self._shared is not None or tracing is not None
        self.direct_paths: dict[bytes, str] = {} if waits else {path.encode(): path for path in self._actions}
        """Paths by their bytes in a request; empty where each request waits for something, or has a span."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            return
        request = self._begin(scope["method"], scope["path"], scope["headers"])
        if self._tracing is None or request.path in OPEN_PATHS:
            await self._answer(scope, receive, send, request)
            return
        route = request.path if request.path in PATHS else ""
        with self._tracing.request(scope, route, request.request_id) as span:
            span["http.response.status_code"] = await self._answer(scope, receive, send, request)
            if request.code:
                span["error.type"] = request.code

    def answer_directly(self, path: str, headers: Headers, body: bytes) -> Answer | Application:
        """Answers a POST whose whole body is there; the same steps as those of `__call__`, without a task of its own.

        Args:
            path: one of `direct_paths`.
            headers: names in lower case, and values.
            body: of the request.

        Returns:
            The answer; where the model's library has to be waited for, an application that waits and sends it.
        """
        request = self._begin("POST", path, headers)
        answer, waits = None, False
        try:
            try:
                self._admit(request)
                self._bodies.require_size(body)
                content = self._actions[path](body, request)
                if not isinstance(content, bytes):
                    waits = True
                    return functools.partial(self._answer_later, request, content)
                answer = Answer(200, content, request.request_id)
            except Exception as error:
                answer = self._failure(error, request)
            return answer
        finally:
            if not waits:
                self._end(request, answer)

    def _begin(self, method: str, path: str, headers: Headers) -> _Request:
        request = _Request(method, path, headers)
        request.request_id = request.request_id or next(self._ids)
        return request

    def _leave(self, request: _Request) -> None:
        """Makes room for another request: a client that takes no answer holds none."""
        if request.in_work:
            request.in_work = False
            self._state.in_flight -= 1

    def _end(self, request: _Request, answer: Answer | None) -> None:
        """Counts and logs a request that has this answer; None when its connection ended before."""
        self._leave(request)
        if answer is None or (request.path in OPEN_PATHS and not request.code):
            return
        state, frauds = self._state, request.frauds
        milliseconds = (time.perf_counter() - request.started) * 1000
        state.metrics.request(
            answer.status, milliseconds, request.rows, request.scores, frauds or 0, undecided=request.undecided
        )
        if request.code:
            state.metrics.refused(request.code)
        if request.key is not None:
            state.last_used[request.key.sha256] = request.started
        if state.request_log.enabled:
            key = None if request.key is None else request.key.name
            state.request_log.add(
                request.request_id,
                key,
                self._model_id,
                request.method,
                request.path if request.path in PATHS else "other",
                answer.status,
                milliseconds,
                frauds,
                request.code,
            )

    def _failure(self, error: Exception, request: _Request) -> Answer:
        """The answer to a request that failed, or that is refused."""
        if not isinstance(error, Refused):
            fields = {"request_id": request.request_id}
            service_log.error("a request failed", exc_info=error, extra={"fields": fields})
            error = Refused(500, "internal", "the service failed; its log has the request id")
        request.code = error.code
        return Answer(error.status, _encode(error.body(request.request_id)), request.request_id, error.headers)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request: _Request) -> int:
        """Sends the answer to a request; returns its status."""
        answer = None
        try:
            try:
                self._admit(request)
                if self._shared is not None and request.key is not None:
                    wait = await self._shared.take(request.key)
                    if wait:
                        _refuse_rate(request.key, wait)
                action = self._actions.get(request.path)
                if action is None:
                    answer = Answer(
                        await _page(self._pages, scope, receive, send, request, self._leave), b"", request.request_id
                    )
                    return answer.status
                _require_post(request)
                explain = self._reasons.wanted(scope["query_string"]) if request.path == "/predict" else None
                content = action(await self._read_body(receive), request)
                content = content if isinstance(content, bytes) else await content
                content = content if explain is None else await explain(content, request.rows)
                answer = Answer(200, content, request.request_id)
            except Exception as error:
                answer = self._failure(error, request)
            self._leave(request)
            await _send(answer, send)
            return answer.status
        finally:
            self._end(request, answer)

    async def _answer_later(
        self, request: _Request, content: Awaitable[bytes], _scope: Scope, _receive: Receive, send: Send
    ) -> None:
        """Sends the answer once its content is there."""
        answer = None
        try:
            try:
                answer = Answer(200, await content, request.request_id)
            except Exception as error:
                answer = self._failure(error, request)
            self._leave(request)
            await _send(answer, send)
        finally:
            self._end(request, answer)

    def _admit(self, request: _Request) -> None:
        """Raises Refused unless the path is open, or a key may use it now and the service has room for the request."""
        state, path, headers = self._state, request.path, request.headers
        scope = SCOPES.get(path)
        if scope is None:
            if self._is_open(path):
                return
            if path not in PATHS:
                raise Refused(404, "not_found", "the service has no such path; GET /docs shows those that it has")
        key = state.api_keys.find(headers.get(b"x-api-key", b""), headers.get(b"authorization", b""))
        if key is None:
            message = "a known API key is needed in X-API-Key or as a bearer token"
            raise Refused(401, "unauthorized", message, headers=((b"www-authenticate", b"Bearer"),))
        request.key = key
        if scope is not None and scope not in key.scopes:
            raise Refused(403, "forbidden", f"key {key.name!r} does not have the scope {scope}")
        if self._shared is None:
            wait = self._buckets.take(key)
            if wait:
                _refuse_rate(key, wait)
        request.in_work = True
        state.in_flight += 1
        if state.in_flight > state.settings.max_in_flight:
            message = f"the service works on {state.settings.max_in_flight} requests already"
            raise Refused(503, "overloaded", message, headers=((b"retry-after", b"1"),))
        self._bodies.require_length(headers.get(b"content-length", b""))

    def _is_open(self, path: str) -> bool:
        """Whether a path needs no key."""
        is_development = self._state.settings.environment == "development"
        return path in OPEN_PATHS or path in _PUBLIC_PATHS or (is_development and path in DEVELOPMENT_PATHS)

    def _predict(self, body: bytes, request: _Request) -> bytes | Awaitable[bytes]:
        """The answer to transactions: at once where the optimized form gives it, else once the thread has."""
        try:
            rows = self._read_rows(body)
        except InvalidRequest as error:
            request.undecided = error.code == "unknown_category"
            headers = _UNDECIDED if request.undecided else ()
            raise Refused(422, error.code, str(error), where=error.field, headers=headers) from None
        request.rows = rows
        scores = self._predict_inline(rows)
        return self._predicted_later(body, request) if scores is None else self._decided(scores, request)

    async def _predicted_later(self, body: bytes, request: _Request) -> bytes:
        try:
            scores = await self._state.model.runtime.predict_async(request.rows)
        except RowRefused as refusal:
            request.undecided = True
            raise await self._not_answered(body, request.rows, refusal) from None
        return self._decided(scores, request)

    def _decided(self, scores: list[float], request: _Request) -> bytes:
        request.scores = scores
        content, request.frauds = self._answer_with(scores, request.request_id, request.key, request.rows)
        return content

    async def _not_answered(self, body: bytes, rows: Sequence[Any], refusal: RowRefused) -> Refused:
        """What a caller is told whose transaction the model's own library does not answer."""
        index = refusal.index or 0
        path = f"transactions[{index}]" if b'"transactions"' in body else "transaction"
        model = self._state.model
        number = None
        if model.answered_row is not None:
            number = await model.runtime.refused_feature(rows[index], model.answered_row)
        where = path if number is None else f"{path}.{model.contract.features[number].name}"
        return Refused(
            422, "not_answered", f"{where}: the model does not answer: {refusal}", where=where, headers=_UNDECIDED
        )

    def _feedback(self, body: bytes, request: _Request) -> bytes | Awaitable[bytes]:
        return self._take_feedback(body, request.request_id)


async def _page(
    pages: Application, scope: Scope, receive: Receive, send: Send, request: _Request, leave: Callable[[_Request], None]
) -> int:
    if request.method not in ("GET", "HEAD"):
        raise Refused(405, "method_not_allowed", f"{request.path} takes GET", headers=_ALLOW_GET)
    status = 500

    async def framed(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            leave(request)
            status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", request.request_id.encode())]
        await send(message)

    await pages(scope, receive, framed)
    return status


def _require_post(request: _Request) -> None:
    if request.method != "POST":
        raise Refused(405, "method_not_allowed", f"{request.path} takes POST", headers=_ALLOW_POST)


async def _send(answer: Answer, send: Send) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.all_headers()})
    await send({"type": "http.response.body", "body": answer.content})


def _refuse_rate(key: ApiKey, wait: float) -> NoReturn:
    """Raises Refused for a key that has to wait, in seconds, until its next request."""
    seconds = max(1, round(min(wait, _LONGEST_WAIT_SECONDS) + 0.5))
    message = f"key {key.name!r} has made too many requests; the next one may come in {seconds} s"
    raise Refused(429, "too_many_requests", message, headers=((b"retry-after", b"%d" % seconds),))


def _readable_id(given: bytes) -> str:
    """A caller's request id, if it is short, printable ASCII; else empty."""
    if len(given) > _MAX_REQUEST_ID or not given.isascii():
        return ""
    text = given.decode("ascii")
    return text if text.isprintable() else ""
