"""The edge of the service: one path for all, no other protocol, and bounds on what a client may send and hold."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
import pytest

from tests.service import GOOD, Service, Setting, listening, started

BODY = json.dumps({"transaction": GOOD}).encode()
UPGRADE = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"


@contextmanager
def connected(service: Service) -> Iterator[socket.socket]:
    host, port = service.url.removeprefix("http://").split(":")
    with closing(socket.create_connection((host, int(port)), timeout=10)) as opened:
        yield opened


def head(setting: Setting, more: str = "", length: int = len(BODY), path: str = "/predict") -> bytes:
    lines = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {setting.api_key}\r\nContent-Length: {length}\r\n{more}\r\n"
    return lines.encode()


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next answer on a connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, f"closed after {data!r}"
        data += piece
    start, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in start.lower().split(b"\r\n") if line.startswith(b"content-len"))
    while len(body) < length:
        body += connection.recv(65536)
    return int(start.split()[1]), body


def closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(4096) == b""
    except ConnectionResetError:
        return True


def counted(service: Service, setting: Setting, name: str) -> dict[str, int]:
    found = httpx.get(f"{service.url}/status", headers={"X-API-Key": setting.api_key}, trust_env=False).json()[name]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("path", ["/metrics%0A", "/status%0A", "/%6detrics", "/metrics/", "//metrics", "/metrics%00"])
def test_a_path_that_is_written_otherwise_is_none_of_the_service(service: Service, setting: Setting, path: str) -> None:
    for key in (setting.limited_key, setting.api_key, ""):
        found = httpx.get(service.url + path, headers={"X-API-Key": key}, trust_env=False)
        assert found.status_code == 404
        assert found.json()["error"]["code"] == "not_found"
        assert found.json()["error"]["request_id"] == found.headers["x-request-id"]


def test_every_path_that_is_authorized_is_answered(service: Service, setting: Setting) -> None:
    from serving.http.app import OPEN_PATHS, PATHS
    from serving.process.connections import HEALTH_PATHS

    assert {path.decode() for path in HEALTH_PATHS} == OPEN_PATHS
    for path in PATHS - {"/predict", "/feedback"}:
        assert httpx.get(service.url + path, headers={"X-API-Key": setting.api_key}, trust_env=False).status_code == 200
        refused = httpx.put(service.url + path, headers={"X-API-Key": setting.api_key}, trust_env=False)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
        assert refused.json()["error"]["request_id"]


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_a_wish_for_another_protocol_costs_no_body(service: Service, setting: Setting, pieces: int) -> None:
    request = head(setting, UPGRADE) + BODY
    with connected(service) as connection:
        for _ in range(2):
            size = len(request) // pieces + 1
            for start in range(0, len(request), size):
                connection.sendall(request[start : start + size])
                time.sleep(0.01)
            status, body = answer(connection)
            assert status == 200, body
            assert len(json.loads(body)["predictions"]) == 1


def test_a_body_after_an_upgrade_is_never_a_request(service: Service, setting: Setting) -> None:
    inner = head(setting, path="/feedback", length=0)
    with connected(service) as connection:
        connection.sendall(head(setting, UPGRADE, length=len(inner)))
        time.sleep(0.05)
        connection.sendall(inner + head(setting, "Upgrade: websocket\r\nConnection: upgrade\r\n") + BODY)
        assert answer(connection)[0] == 422, "the body is no JSON"
        assert answer(connection)[0] == 200


def test_connect_is_refused(service: Service) -> None:
    with connected(service) as connection:
        connection.sendall(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n")
        status, body = answer(connection)
        assert (status, json.loads(body)["error"]["code"]) == (405, "method_not_allowed")


def test_trailers_are_no_headers(service: Service, setting: Setting) -> None:
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    request += b"%x\r\n%s\r\n0\r\nX-API-Key: %s\r\n\r\n" % (len(BODY), BODY, setting.api_key.encode())
    with connected(service) as connection:
        connection.sendall(request)
        assert answer(connection)[0] == 401


@pytest.mark.parametrize(
    ("more", "code"),
    [("X-Long: " + "a" * 40_000 + "\r\n", "header_too_large"), ("X-A: b\r\n" * 120, "too_many_headers")],
)
def test_headers_are_bounded(service: Service, setting: Setting, more: str, code: str) -> None:
    before = counted(service, setting, "refusals").get(code, 0)
    with connected(service) as connection:
        connection.sendall(head(setting, more))
        status, body = answer(connection)
        assert (status, json.loads(body)["error"]["code"]) == (431, code)
        assert closed(connection)
    assert counted(service, setting, "refusals")[code] == before + 1


def test_a_header_without_end_is_refused_long_before_it_costs_memory(service: Service, setting: Setting) -> None:
    with connected(service) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX-Endless: ")
        sent = 0
        with pytest.raises(OSError, match=r"reset|pipe|Connection"):
            while sent < 50_000_000:
                sent += connection.send(b"a" * 65536)
                time.sleep(0.02)
        assert sent < 40_000_000


def test_trailers_and_extensions_without_end_are_refused(service: Service, setting: Setting) -> None:
    for ending in (b"0\r\nX: ", b"1;e="):
        with connected(service) as connection:
            start = head(setting, "Transfer-Encoding: chunked\r\n").replace(b"Content-Length: ", b"X-No: ")
            connection.sendall(start + ending)
            time.sleep(0.2)
            connection.sendall(b"a" * 40_000)
            assert closed(connection)
    assert httpx.get(f"{service.url}/health", trust_env=False).status_code == 200


def test_half_a_head_is_answered_408_in_time(setting: Setting) -> None:
    with listening() as listener, started(setting, listener, HEADER_TIMEOUT_SECONDS="0.5") as service:
        with connected(service) as half, connected(service) as silent:
            half.sendall(b"POST /predict HTTP/1.1\r\nHost:")
            begun = time.monotonic()
            status, body = answer(half)
            assert (status, json.loads(body)["error"]["code"]) == (408, "header_too_slow")
            assert closed(half)
            assert closed(silent)
            assert time.monotonic() - begun < 3
        assert counted(service, setting, "refusals") == {"header_too_slow": 1}
        assert counted(service, setting, "connections_closed") == {"no_request": 1}


def test_a_connection_that_waits_is_closed(setting: Setting) -> None:
    with (
        listening() as listener,
        started(setting, listener, IDLE_TIMEOUT_SECONDS="5") as service,
        connected(service) as connection,
    ):
        connection.sendall(head(setting) + BODY)
        assert answer(connection)[0] == 200
        begun = time.monotonic()
        assert closed(connection)
        assert 4 < time.monotonic() - begun < 8


def test_a_body_that_goes_on_after_its_answer_ends_the_connection(setting: Setting) -> None:
    with listening() as listener, started(setting, listener, REQUEST_TIMEOUT_SECONDS="0.6") as service:
        with connected(service) as connection:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
            assert answer(connection)[0] == 401
            assert closed(connection)
        assert counted(service, setting, "connections_closed") == {"body_too_slow": 1}


def test_at_the_limit_the_longest_waiting_goes_and_health_is_answered(setting: Setting) -> None:
    changes = {"MAX_CONNECTIONS": "20", "HEADER_TIMEOUT_SECONDS": "60"}
    with listening() as listener, started(setting, listener, **changes) as service:
        half = []
        for _ in range(60):
            host, port = service.url.removeprefix("http://").split(":")
            half.append(socket.create_connection((host, int(port)), timeout=10))
            half[-1].sendall(b"POST /predict HTTP/1.1\r\nHost:")
            time.sleep(0.002)
        for _ in range(30):
            found = httpx.post(f"{service.url}/predict", content=BODY, headers={"X-API-Key": setting.api_key},
                               trust_env=False)  # fmt: skip
            assert found.status_code == 200
            assert httpx.get(f"{service.url}/health/live", trust_env=False).status_code == 200
        status, body = answer(half[0])
        assert (status, json.loads(body)["error"]["code"]) == (503, "too_many_connections")
        assert counted(service, setting, "connections_closed")["evicted"] >= 40
        for connection in half:
            connection.close()


def test_when_all_connections_are_in_work_health_is_answered_and_others_get_503(setting: Setting) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, listening() as listener:
        # The first request waits for it.
        redis = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        changes = {"RATE_LIMIT_URL": redis, "MAX_CONNECTIONS_PER_ADDRESS": "1"}
        with started(setting, listener, **changes) as service, connected(service) as busy:
            busy.sendall(head(setting) + BODY)
            time.sleep(0.05)
            with connected(service) as other, connected(service) as monitor:
                other.sendall(head(setting) + BODY)
                monitor.sendall(b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
                status, body = answer(other)
                assert (status, json.loads(body)["error"]["code"]) == (503, "too_many_connections")
                assert answer(monitor)[0] == 200
            assert answer(busy)[0] == 200


def test_half_a_surrogate_pair_is_a_422_that_counts_once(service: Service, setting: Setting) -> None:
    before = counted(service, setting, "refusals")
    for text in ('{"transaction": {"\\ud800": 1}}', '{"\\udfff": 1}', '{"transaction": {"amount": "\\ud800"}}'):
        found = httpx.post(f"{service.url}/predict", content=text, headers={"X-API-Key": setting.api_key},
                           trust_env=False)  # fmt: skip
        assert found.status_code == 422, found.text
        assert found.json()["error"]["request_id"]
    after = counted(service, setting, "refusals")
    assert sum(after.values()) == sum(before.values()) + 3


def test_a_client_that_reads_nothing_costs_no_error_of_the_service(setting: Setting) -> None:
    wanted = f"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\nX-API-Key: {setting.api_key}\r\n\r\n".encode()
    with listening() as listener, started(setting, listener, REQUEST_TIMEOUT_SECONDS="1") as service:
        with socket.socket() as silent:
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            silent.connect(listener.getsockname())
            silent.sendall(wanted * 6)
            deadline = time.monotonic() + 15
            while not counted(service, setting, "connections_closed") and time.monotonic() < deadline:
                time.sleep(0.1)
        assert counted(service, setting, "connections_closed") == {"answer_not_read": 1}
        assert "internal" not in counted(service, setting, "refusals")
        assert "a request failed" not in service.log.read_text()
