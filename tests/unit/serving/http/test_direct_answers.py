"""A request gets the same answer whether it comes in one piece, in many, or with others behind it."""

import json
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from http.client import HTTPResponse

import httpx
import pytest

from tests.service import FEATURES, GOOD, Service, Setting, listening, started

_GOOD_BODY = json.dumps({"transaction": GOOD}).encode()
_BATCH = json.dumps({"transactions": [GOOD] * 7}).encode()
_REQUESTS = {
    "good": (b"POST /predict HTTP/1.1", "full", {}, _GOOD_BODY),
    "batch": (b"POST /predict HTTP/1.1", "full", {}, _BATCH),
    "feedback": (
        b"POST /feedback HTTP/1.1",
        "limited",
        {},
        b'{"items": [{"predicted_fraud": true, "was_fraud": true}]}',
    ),
    "bearer": (b"POST /predict HTTP/1.1", "bearer", {}, _GOOD_BODY),
    "no key": (b"POST /predict HTTP/1.1", "", {}, _GOOD_BODY),
    "no scope": (b"POST /predict HTTP/1.1", "limited", {}, _GOOD_BODY),
    "malformed": (b"POST /predict HTTP/1.1", "full", {}, b'{"transaction": '),
    "missing": (b"POST /predict HTTP/1.1", "full", {}, b'{"transaction": {"amount": 1}}'),
    "empty": (b"POST /predict HTTP/1.1", "full", {}, b""),
    "too large": (b"POST /predict HTTP/1.1", "full", {}, b"[" * 20_001),
    "closes": (b"POST /predict HTTP/1.1", "full", {"Connection": "close"}, _GOOD_BODY),
    "old": (b"POST /predict HTTP/1.0", "full", {}, _GOOD_BODY),
    "asks first": (b"POST /predict HTTP/1.1", "full", {"Expect": "100-continue"}, _GOOD_BODY),
    "query": (b"POST /predict?a=1 HTTP/1.1", "full", {}, _GOOD_BODY),
    "get": (b"GET /predict HTTP/1.1", "full", {}, b""),
    "elsewhere": (b"POST /nowhere HTTP/1.1", "full", {}, _GOOD_BODY),
}


def _raw(setting: Setting, name: str, *, number: int = 0, chunked: bool = False) -> bytes:
    line, key, more, body = _REQUESTS[name]
    secret = {"full": setting.api_key, "limited": setting.limited_key}.get(key)
    headers = {"Host": "x", "X-Request-ID": f"id-{number}", **more}
    if secret:
        headers["X-API-Key"] = secret
    if key == "bearer":
        headers["Authorization"] = f"Bearer {setting.api_key}"
    if chunked:
        headers["Transfer-Encoding"] = "chunked"
        pieces = [body[start : start + 50] for start in range(0, len(body), 50)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    else:
        headers["Content-Length"] = str(len(body))
    return b"\r\n".join([line, *(f"{each}: {value}".encode() for each, value in headers.items()), b"", body])


class _Answers:
    """Reads answers from a connection with the standard library's parser."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rb")

    def makefile(self, _mode: str) -> object:
        """The one file of all answers: what it has read ahead belongs to the next."""
        return _Unclosed(self._file)

    def next(self) -> tuple[int, dict[str, str], bytes]:
        answer = HTTPResponse(self, method="POST")  # type: ignore[arg-type]
        answer.begin()
        headers = {name.lower(): value for name, value in answer.getheaders() if name.lower() != "date"}
        # Receipts differ, since each names one answer.
        return answer.status, headers, re.sub(rb"[0-9a-f]{84}", b"", answer.read())


class _Unclosed:
    def __init__(self, file: object) -> None:
        self._file = file

    def close(self) -> None:
        """Leaves the connection's file open for the next answer."""

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


@pytest.fixture
def connection(service: Service) -> Iterator[socket.socket]:
    host, port = service.url.removeprefix("http://").split(":")
    with closing(socket.create_connection((host, int(port)), timeout=10)) as opened:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield opened


def _answer(service: Service, pieces: Sequence[bytes]) -> tuple[int, dict[str, str], bytes]:
    host, port = service.url.removeprefix("http://").split(":")
    with closing(socket.create_connection((host, int(port)), timeout=10)) as opened:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(0.01)
            opened.sendall(piece)
        return _Answers(opened).next()


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("name", _REQUESTS)
def test_pieces_change_no_answer(service: Service, setting: Setting, name: str, chunked: bool) -> None:
    if chunked and name == "old":
        chunked = False  # HTTP/1.0 has no chunks.
    raw = _raw(setting, name, chunked=chunked)
    head = raw.index(b"\r\n\r\n")
    whole = _answer(service, [raw])
    status = {"no key": 401, "no scope": 403, "too large": 413, "get": 405, "elsewhere": 404}.get(name)
    assert whole[0] == (status or (422 if name in ("malformed", "missing", "empty") else 200))
    assert whole[1]["x-request-id"] == "id-0"
    for cut in (5, head - 1, head + 4, min(head + 20, len(raw) - 1), len(raw) - 1):
        assert _answer(service, [raw[:cut], raw[cut:]]) == whole, f"cut at {cut}"


@pytest.mark.parametrize("given", [b"X-API-Key: fd_wrong\r\n", b""], ids=["another key", "no key"])
def test_a_trailer_is_no_header(service: Service, setting: Setting, given: bytes) -> None:
    head = (
        b"POST /predict HTTP/1.1\r\nHost: x\r\n" + given + b"X-Request-ID: id-1\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    trailers = f"X-API-Key: {setting.api_key}\r\nX-Request-ID: id-2\r\n\r\n".encode()
    body = b"%x\r\n%s\r\n0\r\n" % (len(_GOOD_BODY), _GOOD_BODY)
    whole = _answer(service, [head + body + trailers])
    assert (whole[0], whole[1]["x-request-id"]) == (401, "id-1")
    assert _answer(service, [head, body + trailers]) == whole
    assert _answer(service, [head + body, trailers]) == whole


_HALF = rb"\ud800"
_UNENCODABLE = {
    "unknown feature": json.dumps({"transaction": GOOD}).encode()[:-2] + b', "' + _HALF + b'": 1}}',
    "text for a number": b'{"transaction": {"amount": "' + _HALF + b'", "hour": 3, "distance": 1.5}}',
    "another field": b'{"' + _HALF + b'": {}}',
}


@pytest.mark.parametrize("name", _UNENCODABLE)
def test_half_of_a_surrogate_pair_is_a_422_and_nothing_is_left_in_flight(setting: Setting, name: str) -> None:
    body = _UNENCODABLE[name]
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {setting.api_key}\r\nX-Request-ID: id-0\r\n"
    raw = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with listening() as listener, started(setting, listener, MAX_IN_FLIGHT="3") as service:
        answers = [_answer(service, pieces) for pieces in ([raw], [raw[:-3], raw[-3:]]) * 4]
        assert {status for status, _, _ in answers} == {422}
        assert len({content for _, _, content in answers}) == 1
        assert _answer(service, [_raw(setting, "good")])[0] == 200


def test_requests_that_come_together_are_answered_in_their_order(connection: socket.socket, setting: Setting) -> None:
    names = ["good", "no scope", "query", "batch", "get", "good", "missing", "elsewhere", "feedback", "good"]
    connection.sendall(b"".join(_raw(setting, name, number=number) for number, name in enumerate(names)))
    answers = _Answers(connection)
    found = [answers.next() for _ in names]
    assert [headers["x-request-id"] for _, headers, _ in found] == [f"id-{number}" for number in range(len(names))]
    assert [status for status, _, _ in found] == [200, 403, 200, 200, 405, 200, 422, 404, 200, 200]


def test_a_request_cut_inside_a_run_of_others_keeps_its_place(connection: socket.socket, setting: Setting) -> None:
    together = b"".join(_raw(setting, "good", number=number) for number in range(6))
    cut = len(together) * 2 // 5
    connection.sendall(together[:cut])
    time.sleep(0.05)
    connection.sendall(together[cut:])
    answers = _Answers(connection)
    assert [answers.next()[1]["x-request-id"] for _ in range(6)] == [f"id-{number}" for number in range(6)]


def test_every_answer_is_counted_and_logged_once(service: Service, setting: Setting) -> None:
    def counted() -> int:
        text = httpx.get(f"{service.url}/metrics", headers={"X-API-Key": setting.api_key}, trust_env=False).text
        return sum(
            int(float(line.split()[-1]))
            for line in text.splitlines()
            if line.startswith("fraud_detection_requests_total")
        )

    before = counted()
    for name in _REQUESTS:
        raw = _raw(setting, name, number=77_000)
        _answer(service, [raw])
        _answer(service, [raw[:-1], raw[-1:]])
    assert counted() - before - 1 == 2 * len(_REQUESTS)
    deadline = time.monotonic() + 10
    while service.log.read_text().count("id-77000") < 2 * len(_REQUESTS) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert service.log.read_text().count("id-77000") == 2 * len(_REQUESTS)


def test_answers_that_wait_for_the_models_library_keep_their_order_too(setting: Setting) -> None:
    schema = [{"name": name, "type": "number", "gaps": False} for name in FEATURES]
    slow_id = setting.registry.register_model(
        model=setting.model, model_name="fraud", feature_schema=schema, runtime=False
    )
    with listening() as listener, started(setting, listener, MODEL_ID=slow_id) as service:
        host, port = service.url.removeprefix("http://").split(":")
        with closing(socket.create_connection((host, int(port)), timeout=10)) as connection:
            names = ["good", "missing", "batch", "no key", "good", "feedback"]
            connection.sendall(b"".join(_raw(setting, name, number=number) for number, name in enumerate(names)))
            answers = _Answers(connection)
            found = [answers.next() for _ in names]
        assert [headers["x-request-id"] for _, headers, _ in found] == [f"id-{number}" for number in range(6)]
        assert [status for status, _, _ in found] == [200, 422, 200, 401, 200, 200]
        answered = httpx.get(f"{service.url}/model", headers={"X-API-Key": setting.api_key}, trust_env=False).json()
        assert answered["answered"] == {"faster_form": 0, "own_library": 9}
