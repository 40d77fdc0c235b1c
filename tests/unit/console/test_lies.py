"""An endpoint that lies: huge, slow, HTML, other types. Its page says so, the others open, and no thread ends."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from console.looking import Look, Looking
from console.pages import try_it
from console.settings import ConsoleSettings
from infra.deployment_config import parse_deployment_config
from serving.observability.status import Status
from stacks.checks import asking
from stacks.checks.alerts import StatusRead, measured
from stacks.checks.golden import Asked, ask_golden_rows
from stacks.errors import EndpointSilent
from tests.unit.console.conftest import HOSTILE, Opened

_GOOD: dict[str, Any] = {
    "seconds": 60.0,
    "requests": 1,
    "requests_per_second": 0.1,
    "errors": 0,
    "error_rate": 0.0,
    "latency_ms": {"p50": 1.0, "p95": None, "p99": None},
    "gauges": {},
    "drift_by_feature": {},
    "total": {"requests": 1, "errors": 0},
    "feedback": 0,
}


@dataclass
class Liar:
    """Answers every request with the same bytes."""

    url: str = ""
    content: bytes = b""
    pieces: int = 1
    pause_seconds: float = 0.0


@pytest.fixture
def liar() -> Iterator[Liar]:
    made = Liar()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            for _ in range(made.pieces):
                try:
                    self.wfile.write(made.content)
                except OSError:
                    return
                time.sleep(made.pause_seconds)

        do_POST = do_GET

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "api_key"
    file.write_text("key\n")
    return file


def test_a_true_status_is_read_with_what_a_later_release_adds(liar: Liar, key: Path) -> None:
    liar.content = json.dumps({**_GOOD, "later": {"a": [1]}}).encode()
    assert measured(liar.url, key)["later"] == {"a": [1]}


@pytest.mark.parametrize(
    "content",
    [
        b"<!doctype html><script>alert(1)</script>",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        json.dumps({**_GOOD, "latency_ms": "slow"}).encode(),
        json.dumps({**_GOOD, "drift_by_feature": {"amount": HOSTILE}}).encode(),
        json.dumps({**_GOOD, "drift_shares": {"amount": 1}}).encode(),
        json.dumps({**_GOOD, "gauges": {"FraudRate": float("nan")}}).encode(),
        json.dumps({**_GOOD, "feedback_by_version": {"m": {"right": HOSTILE}}}).encode(),
        b"\xff\xfe",
    ],
)
def test_an_answer_that_is_no_status_is_silence(liar: Liar, key: Path, content: bytes) -> None:
    liar.content = content
    with pytest.raises(EndpointSilent) as told:
        measured(liar.url, key)
    assert "script" not in str(told.value)


@pytest.mark.parametrize(
    "content",
    [b"<!doctype html>", b"[]", b"null", b"{}", b'{"predictions": [], "threshold": 0.5}', b"[" * 100_000, b"\xff\xfe"],
)
def test_golden_rows_that_are_answered_with_something_else_are_not_proven(
    liar: Liar, key: Path, content: bytes
) -> None:
    liar.content = content
    check = ask_golden_rows(liar.url, key, [Asked({"amount": 1.0}, 0.25)])
    assert not check.healthy
    assert "does not answer as the service does" in check.detail


def test_golden_rows_that_are_answered_without_an_end_are_not_proven(liar: Liar, key: Path) -> None:
    liar.content, liar.pieces = b"a" * (1 << 20), 1000
    check = ask_golden_rows(liar.url, key, [Asked({"amount": 1.0}, 0.25)])
    assert "has more than" in check.detail


def test_a_status_is_read_as_the_service_writes_it() -> None:
    """The two have no module in common: the commands run without the service."""
    written = {field.name: field.type for field in msgspec.structs.fields(Status)}
    read = {field.name: field.type for field in msgspec.structs.fields(StatusRead)}
    assert {name: written.get(name) for name in read} == read


def test_an_answer_without_an_end_is_not_kept(liar: Liar, key: Path) -> None:
    liar.content, liar.pieces = b"a" * (1 << 20), 1000
    with pytest.raises(EndpointSilent, match="has more than"):
        measured(liar.url, key)


def test_an_answer_that_drips_is_given_up(liar: Liar, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MOST_SECONDS", 1.0)
    liar.content, liar.pieces, liar.pause_seconds = b" ", 1000, 0.1
    began = time.monotonic()
    with pytest.raises(EndpointSilent, match="did not end"):
        measured(liar.url, key)
    assert time.monotonic() - began < 5


def _serving(opened: Opened, url: str, numbers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"cpu": "500m", "memory": "512Mi", "gpu": 0}
    scaling = {"min_replicas": 1, "max_replicas": 1, "target_cpu_utilization": 80}
    about = {"environment": "development", "deployment_name": "fraud-detection-dev", "api_endpoint": url}
    config = parse_deployment_config({**about, "resource_limits": limits, "scaling_config": scaling}, "test")
    look = Look(time.time(), opened.hostile, config, "local", numbers)
    monkeypatch.setattr(opened.console.looking, "at", lambda _name, **_more: look)


def test_what_an_endpoint_names_becomes_no_markup(
    opened: Opened, browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = {**_GOOD, "drift_by_feature": {HOSTILE: 0.3}, "latency_ms": {HOSTILE: 1.0}, "drift_shares": {HOSTILE: []}}
    _serving(opened, "http://127.0.0.1:9", numbers, monkeypatch)
    for path in ("/", "/environments/development/endpoint", "/environments/development/try"):
        page = browser.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<img" not in page.text


def test_an_answer_to_a_trial_is_bounded_and_is_text(
    opened: Opened, browser: TestClient, liar: Liar, change: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = opened.console.checkout / ".secrets"
    secrets.mkdir(exist_ok=True)
    (secrets / "api_key").write_text("key\n")
    _serving(opened, liar.url, {}, monkeypatch)
    liar.content = HOSTILE.encode()
    page = change(browser, "/environments/development/try").text
    assert "&lt;script&gt;" in page
    assert "<script>alert" not in page
    liar.content, liar.pieces = b"a" * (1 << 20), 1000
    assert "has more than" in change(browser, "/environments/development/try").text
    liar.content, liar.pieces, liar.pause_seconds = b" ", 1000, 0.1
    monkeypatch.setattr(asking, "MOST_SECONDS", 1.0)
    assert "did not end" in change(browser, "/environments/development/try").text
    assert try_it.parse_value("number", "1") == 1


def test_a_reader_sends_nothing_to_production_with_the_key_of_the_console(
    opened: Opened, browser: TestClient, reader: TestClient, change: Callable[..., Any]
) -> None:
    assert change(browser, "/environments/production/try").status_code == 200
    answer = change(reader, "/environments/production/try")
    assert answer.status_code == 403
    assert "needs the role promoter" in answer.text
    assert change(reader, "/environments/development/try").status_code == 200


def test_looking_goes_on_after_whatever_has_failed(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ConsoleSettings(opened.console.checkout, 0)
    looking = Looking(settings, opened.console.histories)
    seen = {"count": 0}

    def broken(*_arguments: object, **_more: object) -> Look:
        seen["count"] += 1
        raise RuntimeError("lies")

    monkeypatch.setattr(looking, "_look", broken)
    looking.start()
    try:
        assert looking.at("development", wait=5.0).problem == "lies"
        count = seen["count"]
        looking.again()
        deadline = time.monotonic() + 5
        while seen["count"] <= count and time.monotonic() < deadline:
            time.sleep(0.02)
        assert seen["count"] > count
    finally:
        looking.stop()
