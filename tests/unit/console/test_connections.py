"""What a client may send before anybody knows who it is: bounded in size and in time, on a real connection."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import uvicorn

from console import connection, guard
from console.server import server_config
from console.sessions import Person
from tests.unit.console.conftest import OWN, PORT, Opened

_PIECE = b"a" * 60_000
_HEAD = f"Host: 127.0.0.1:{PORT}\r\nOrigin: {OWN}\r\n".encode()
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_MULTIPART = b"Content-Type: multipart/form-data; boundary=x\r\n"
_FILE = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n'


@pytest.fixture(scope="module")
def port(opened: Opened) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(server_config(opened.app))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(timeout=10)


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def _sent(port: int, begin: bytes, piece: bytes, most: int = 40 << 20) -> tuple[int, bytes]:
    """Sends the same piece until the console closes; returns the bytes that it took, and its answer."""
    taken, answer = 0, b""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(10)
        with suppress(OSError):
            client.sendall(begin)
            while taken < most:
                client.sendall(piece)
                taken += len(piece)
        with suppress(OSError):
            answer = client.recv(1000)
    return taken, answer


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"GET / HTTP/1.1\r\nX-A: ", _PIECE),
        (b"GET / HTTP/1.1\r\n", b"X-A: " + _PIECE + b"\r\n"),
        (b"GET /" + _PIECE, _PIECE),
    ],
    ids=["one header", "many headers", "the address"],
)
def test_a_head_without_an_end_is_not_kept(port: int, begin: bytes, piece: bytes) -> None:
    assert _sent(port, begin, piece)[0] < 10 << 20


def test_a_file_without_a_length_is_not_kept_before_sign_in(port: int) -> None:
    begin = b"POST /sign-in HTTP/1.1\r\n" + _HEAD + _CHUNKED + _MULTIPART + b"\r\n" + _chunk(_FILE)
    taken, answer = _sent(port, begin, _chunk(_PIECE))
    assert taken < 10 << 20
    assert answer == b"" or b" 413 " in answer.splitlines()[0]


def test_a_file_of_a_signed_in_person_is_bounded_too(port: int, opened: Opened) -> None:
    value = opened.console.sessions.start(Person("", "ann"))
    cookie = f"Cookie: {opened.console.settings.cookie}={value}\r\n".encode()
    begin = b"POST /sign-out HTTP/1.1\r\n" + _HEAD + cookie + _CHUNKED + _MULTIPART + b"\r\n" + _chunk(_FILE)
    taken, answer = _sent(port, begin, _chunk(_PIECE), 80 << 20)
    assert taken < 40 << 20
    assert answer == b"" or b" 413 " in answer.splitlines()[0]


def _closed_after(port: int, sent: bytes, drip: bytes) -> float:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(0.2)
        client.sendall(sent)
        while time.monotonic() - began < 20:
            try:
                client.sendall(drip)
                if client.recv(1000) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("sent", "drip"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\n", b"X-A: b\r\n"),
        (b"POST /sign-in HTTP/1.1\r\n" + _HEAD + _CHUNKED + _MULTIPART + b"\r\n", b"1\r\na\r\n"),
        (b"POST /audit/prove HTTP/1.1\r\nHost: evil\r\n" + _CHUNKED + b"\r\n", b"1\r\na\r\n"),
    ],
    ids=["nothing", "a head, line by line", "a body, byte by byte", "a body after the refusal"],
)
def test_a_slow_client_does_not_hold_a_connection(
    port: int, monkeypatch: pytest.MonkeyPatch, sent: bytes, drip: bytes
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(connection, "WHOLE_SECONDS", 2.0)
    monkeypatch.setattr(guard, "BODY_SECONDS", 1.0)
    assert _closed_after(port, sent, drip) < 10


def test_a_page_that_is_watched_is_no_slow_client(port: int, opened: Opened, monkeypatch: Any) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(connection, "WHOLE_SECONDS", 2.0)
    monkeypatch.setattr(guard, "BODY_SECONDS", 1.0)
    value = opened.console.sessions.start(Person("", "ann"))
    cookie = f"Cookie: {opened.console.settings.cookie}={value}\r\n".encode()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(10)
        client.sendall(b"GET /events HTTP/1.1\r\n" + _HEAD + cookie + b"\r\n")
        began, seen = time.monotonic(), b""
        while time.monotonic() - began < 6:
            seen += client.recv(100_000)
    assert seen.count(b"event: card-development") >= 3
