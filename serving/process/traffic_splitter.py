"""Serves two model versions, stable and candidate, at one address on one machine.

    python -m serving.traffic_splitter      # started by the supervisor, which sets FRONT_* and API_* in its environment

Each prediction goes to the candidate or to the stable version, divided by the weight; other requests go to the stable
version, feedback too: its receipts say which version decided. A request that names a version in `X-Model-Id` goes to
it. A shadow candidate gets a copy of every prediction; its answer is compared and thrown away. The stable version
answers when the candidate does not.

The splitter writes the counts of both to `front.json` in the run directory, twice a second. The supervisor starts a new
splitter on the same socket for a new weight, so the counts belong to one weight.

On a cluster a Gateway's HTTPRoute divides the traffic instead.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from conventions import variables
from conventions.latency import latency_step
from conventions.run_files import STATUS_FILE, TRAFFIC_SPLITTER_FILE
from serving.errors import SettingsError
from serving.observability.logs import configure_logs, service_log
from serving.process.options import add_process_options, process_options
from serving.process.server import report, serve
from serving.process.splitter_answers import NO_PATH, UNAVAILABLE, Refusal, Response, error_response, read_body
from serving.process.splitter_settings import SplitterBounds, TrafficSplitterSettings
from serving.process.tls import Tls

_WRITE_SECONDS = 0.5
_TIMEOUT_SECONDS = 60.0
_IDLE_SECONDS = 3.0
_COPIES_AT_ONCE = 64
_SERVER_ERROR = 500
_NO_ANSWER = 502
_ALL = 100
_OF_THE_CONNECTION = frozenset(
    (b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect", b"content-length")
)
_NOT_ADDED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class _Prediction(msgspec.Struct):
    is_fraud: bool
    fraud_probability: float = 0.0


class _Answer(msgspec.Struct):
    predictions: list[_Prediction]


_ANSWERS = msgspec.json.Decoder(_Answer)


@dataclass
class Variant:
    """One of the two versions: where it is, and what it did."""

    name: str
    model_id: str
    directory: Path
    origin: str = ""
    requests: int = 0
    errors: int = 0
    decisions: int = 0
    frauds: int = 0
    latencies: "Counter[int]" = field(default_factory=Counter)

    def find(self) -> None:
        """Looks up where it listens; a supervisor that was started again listens elsewhere."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            serving = json.loads((self.directory / STATUS_FILE).read_text(encoding="utf-8"))["serving"]
            self.origin = f"http://127.0.0.1:{int(serving['port'])}"

    def note(self, status: int, milliseconds: float, answer: _Answer | None, *, undecided: bool = False) -> None:
        """Counts one request; one that the model did not decide is an error of the model."""
        self.requests += 1
        self.errors += undecided or status >= _SERVER_ERROR
        self.latencies[latency_step(milliseconds)] += 1
        if answer is not None:
            self.decisions += len(answer.predictions)
            self.frauds += sum(each.is_fraud for each in answer.predictions)

    def counts(self) -> dict[str, Any]:
        """The counts as `front.json` has them."""
        return {
            "model_id": self.model_id,
            "requests": self.requests,
            "errors": self.errors,
            "decisions": self.decisions,
            "frauds": self.frauds,
            "latencies": {str(step): count for step, count in sorted(self.latencies.items())},
        }


@dataclass(frozen=True)
class _Request:
    method: str
    target: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes


class TrafficSplitter:
    """The application, and its state.

    Args:
        settings: of the splitter.
    """

    def __init__(self, settings: TrafficSplitterSettings) -> None:
        self._settings = settings
        self.draining = False
        self.stable = Variant("stable", settings.model_id, settings.stable)
        self.candidate = (
            Variant("candidate", settings.candidate_model_id, settings.candidate) if settings.candidate else None
        )
        for variant in self._variants():
            variant.find()
        self._session: aiohttp.ClientSession | None = None
        self._turn = 0
        self._since = time.time()
        self._copies: set[asyncio.Task[None]] = set()
        self._compared = self._differing = self._left_out = 0
        self._writer: asyncio.Task[None] | None = None
        self._refusals: Counter[str] = Counter()
        self._closed: Counter[str] = Counter()
        prefix = secrets.token_hex(8)
        self._request_ids = (f"{prefix}{number:016x}" for number in itertools.count())

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        return self._settings.host, self._settings.port

    @property
    def drain_seconds(self) -> float:
        """How long open connections are served after a stop was asked for."""
        return 2.0

    @property
    def introduction(self) -> dict[str, Any]:
        """What stands behind the splitter."""
        return {"model_id": self._settings.model_id}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Passes one request on, and its answer back."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            request_id = next(self._request_ids)
            # A target without a path, such as *@host/, would name another host behind the splitter's own.
            body = await read_body(receive, self.bounds) if scope["raw_path"].startswith(b"/") else NO_PATH
            if isinstance(body, Refusal):
                response = self._refuse(body, request_id)
            else:
                response = await self._answer(_request(scope, body)) or self._refuse(UNAVAILABLE, request_id)
            await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
            await send({"type": "http.response.body", "body": response.body})

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        # Given up before the services give them up, after five seconds: none is closed while it is asked.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, skip_auto_headers=_NOT_ADDED
        ) as self._session:
            self._writer = asyncio.create_task(self._write_often())
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self._writer.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    @property
    def bounds(self) -> SplitterBounds:
        """What a client may send and hold."""
        return self._settings.bounds

    def refused_early(self, status: int, code: str, method: str, milliseconds: float) -> str:
        """Counts an answer that is given before a request is passed on; returns its request id."""
        request_id = next(self._request_ids)
        self._log_refusal(request_id, status, code, method=method, latency_ms=round(milliseconds, 3))
        return request_id

    def connection_closed(self, reason: str) -> None:
        """Counts a connection that the splitter has closed on its own account."""
        self._closed[reason] += 1

    def _refuse(self, refusal: Refusal, request_id: str) -> Response:
        """The splitter's own answer, counted and logged."""
        self._log_refusal(request_id, refusal.status, refusal.code)
        return error_response(refusal, request_id)

    def _log_refusal(self, request_id: str, status: int, code: str, **more: Any) -> None:
        self._refusals[code] += 1
        fields = {"request_id": request_id, "status": status, "code": code, **more}
        service_log.info("request refused", extra={"fields": fields})

    async def _answer(self, request: _Request) -> Response | None:
        variant = self._choose_variant(request)
        predicting = request.path == "/predict" and request.method == "POST"
        response, answer = await self._ask(variant, request, predicting)
        if response is None and variant is self.candidate:
            response, answer = await self._ask(self.stable, request, predicting)
        if predicting and variant is self.stable and self.candidate is not None and self._settings.shadow:
            self._copy(request, answer)
        return response

    def _choose_variant(self, request: _Request) -> Variant:
        if self.candidate is None:
            return self.stable
        named = next((value for name, value in request.headers if name == "x-model-id"), None)
        if named is not None:
            return self.candidate if named == self.candidate.model_id else self.stable
        if request.path != "/predict":
            return self.stable
        self._turn += self._settings.weight
        if self._turn < _ALL:
            return self.stable
        self._turn -= _ALL
        return self.candidate

    async def _ask(
        self, variant: Variant, request: _Request, predicting: bool
    ) -> tuple[Response | None, _Answer | None]:
        """A variant's answer; None when it gives none."""
        started = time.perf_counter()
        response = await self._send(variant, request)
        # A prediction changes nothing: it may be asked for again, on a new connection, where the process now is.
        if response is None and (predicting or request.method in ("GET", "HEAD")):
            variant.find()
            response = await self._send(variant, request)
        status = _NO_ANSWER if response is None else response.status
        answer = _decisions(response) if predicting and response is not None else None
        if predicting:
            undecided = response is not None and any(name.lower() == b"x-undecided" for name, _ in response.headers)
            variant.note(status, (time.perf_counter() - started) * 1000, answer, undecided=undecided)
        return response, answer

    async def _send(self, variant: Variant, request: _Request) -> Response | None:
        assert self._session is not None  # noqa: S101 - made before the first request
        url = URL(variant.origin + request.target, encoded=True)
        try:
            async with self._session.request(
                request.method, url, headers=request.headers, data=request.body or None, allow_redirects=False
            ) as answer:
                body = await answer.read()
                headers = [pair for pair in answer.raw_headers if pair[0].lower() not in _OF_THE_CONNECTION]
                headers.append((b"content-length", b"%d" % len(body)))
                return Response(answer.status, headers, body)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            fields = {"side": variant.name, "model_id": variant.model_id, "error": f"{type(error).__name__}: {error}"}
            service_log.warning("no answer", extra={"fields": fields})
            return None

    def _copy(self, request: _Request, answered: _Answer | None) -> None:
        if len(self._copies) >= _COPIES_AT_ONCE:
            self._left_out += 1
            return
        task = asyncio.create_task(self._compare(request, answered))
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def _compare(self, request: _Request, answered: _Answer | None) -> None:
        assert self.candidate is not None  # noqa: S101 - the caller has looked
        _, answer = await self._ask(self.candidate, request, predicting=True)
        if answered is not None and answer is not None:
            pairs = zip(answered.predictions, answer.predictions, strict=False)
            differing = [one.is_fraud != other.is_fraud for one, other in pairs]
            self._compared += len(differing)
            self._differing += sum(differing)

    def _variants(self) -> list[Variant]:
        return [self.stable, *([self.candidate] if self.candidate else [])]

    async def _write_often(self) -> None:
        while not self.draining:
            for variant in self._variants():
                # A container is replaced by one on another port, which is ready; the old one stops a while later.
                variant.find()
            self._write()
            await asyncio.sleep(_WRITE_SECONDS)

    def _write(self) -> None:
        content = {
            "pid": os.getpid(),
            "since": self._since,
            "seconds": time.time() - self._since,
            "weight": self._settings.weight,
            "shadow": self._settings.shadow,
            "sides": {variant.name: variant.counts() for variant in self._variants()},
            "compared": self._compared,
            "differing": self._differing,
            "left_out": self._left_out,
            "refusals": dict(self._refusals),
            "connections_closed": dict(self._closed),
        }
        staging = self._settings.directory / f".{TRAFFIC_SPLITTER_FILE}.{os.getpid()}"
        with contextlib.suppress(OSError):
            staging.write_text(json.dumps(content) + "\n", encoding="utf-8")
            staging.replace(self._settings.directory / TRAFFIC_SPLITTER_FILE)


def _request(scope: Any, body: bytes) -> _Request:
    query = scope["query_string"].decode("latin-1")
    target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
    headers = []
    for name, value in scope["headers"]:
        if name not in _OF_THE_CONNECTION:
            # What is sent on is UTF-8. Other bytes would be another value there, so such a header is left out.
            with contextlib.suppress(UnicodeDecodeError):
                headers.append((name.decode("ascii"), value.decode()))
    return _Request(scope["method"], target, scope["path"], headers, body)


def _decisions(response: Response) -> _Answer | None:
    try:
        return _ANSWERS.decode(response.body) if response.status == 200 else None
    except msgspec.DecodeError:
        return None


def main() -> int:
    """Runs the traffic splitter; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.traffic_splitter",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_process_options(parser)
    options = parser.parse_args()
    configure_logs(os.environ.get(variables.LOG_LEVEL) or "INFO")
    try:
        settings = TrafficSplitterSettings.from_environment()
        splitter, tls = TrafficSplitter(settings), Tls.of(settings)
    except KeyError as error:
        parser.error(f"{error.args[0]} is not set; `deploy_model.py up` sets it and starts the splitter")
    except SettingsError as error:
        service_log.error(str(error))
        if options.ready_fd is not None:
            report(options.ready_fd, {"status": "failed", "code": "SettingsError", "error": str(error)})
        parser.error(str(error))
    if not splitter.stable.origin:
        message = f"no process serves {splitter.stable.model_id} in {splitter.stable.directory}"
        service_log.error(message)
        if options.ready_fd is not None:
            report(options.ready_fd, {"status": "failed", "code": "NoStable", "error": message})
        return 1
    serve(
        splitter,
        splitter,
        process_options(options),
        lifespan=True,
        tls=tls,
    )
    return 0
