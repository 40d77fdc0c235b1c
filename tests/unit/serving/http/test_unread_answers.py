"""Clients that ask and take no answer: they hold neither the room of others nor memory without end."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx

from tests.service import GOOD, Service, Setting, listening, started

_SCRIPT = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def _silent(service: Service, content: bytes, count: int) -> Iterator[list[socket.socket]]:
    """Connections that send something and read nothing."""
    host, _, port = service.url.removeprefix("http://").partition(":")
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            each = stack.enter_context(socket.socket())
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            each.connect((host, int(port)))
            each.setblocking(False)
            each.send(content)
            opened.append(each)
        yield opened


def _predict(service: Service, setting: Setting) -> httpx.Response:
    headers = {"X-API-Key": setting.api_key}
    return httpx.post(f"{service.url}/predict", json={"transaction": GOOD}, headers=headers, trust_env=False)


def _resident(service: Service) -> int:
    return int(Path(f"/proc/{service.process.pid}/statm").read_text().split()[1]) * 4096


def test_answers_that_nobody_takes_are_no_requests_in_work(setting: Setting) -> None:
    with listening() as listener, started(setting, listener, MAX_IN_FLIGHT="3") as service:
        with _silent(service, _SCRIPT * 8, 12):
            time.sleep(1)
            assert [_predict(service, setting).status_code for _ in range(5)] == [200] * 5
        status = httpx.get(f"{service.url}/status", headers={"X-API-Key": setting.api_key}, trust_env=False).json()
        assert "overloaded" not in status["refusals"]


def test_at_the_limit_a_connection_that_takes_no_answer_goes(setting: Setting) -> None:
    changes = {"MAX_CONNECTIONS_PER_ADDRESS": "4"}
    with listening() as listener, started(setting, listener, **changes) as service:
        url, headers = f"{service.url}/status", {"X-API-Key": setting.api_key}
        with _silent(service, _SCRIPT * 8, 4):
            time.sleep(1)
            assert _predict(service, setting).status_code == 200
            closed = httpx.get(url, headers=headers, trust_env=False).json()["connections_closed"]
        assert closed["evicted"] >= 1


def test_requests_that_wait_on_a_connection_pile_up_no_headers(setting: Setting) -> None:
    padding = b"".join(b"A%d: %s\r\n" % (number, b"x" * 300) for number in range(90))
    request = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n" + padding + b"\r\n"
    with listening() as listener, started(setting, listener) as service:
        assert _predict(service, setting).status_code == 200
        before = _resident(service)
        with _silent(service, b"", 40) as opened:
            left = dict.fromkeys(opened, request * 95)
            for each in opened:
                # Answers that are taken for a while let more requests in.
                each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            until = time.monotonic() + 4
            while time.monotonic() < until:
                for each, rest in left.items():
                    with suppress(BlockingIOError):
                        left[each] = rest[each.send(rest[:200_000]) :] if rest else rest
                time.sleep(0.005)
            grown = (_resident(service) - before) / len(opened)
        assert grown < 2 << 20, f"{grown / 2**20:.1f} MiB a connection"
        assert _predict(service, setting).status_code == 200
