"""The service, as a real process: what it answers, what it refuses, and how it ends."""

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.checkout import SOURCE, free_port
from tests.event_loop import run_in_a_loop_of_its_own
from tests.service import GOOD, Service, Setting, listening, started


def test_readiness_names_model_id_and_digest(service: Service, setting: Setting) -> None:
    assert service.ready["status"] == "ready"
    assert service.ready["model_id"] == setting.model_id
    assert service.ready["digest"] == setting.registry.get_metadata(setting.model_id).digest


def test_a_booster_is_served_without_scikit_learn(service: Service) -> None:
    loaded = Path(f"/proc/{service.process.pid}/maps").read_text()
    assert "xgboost" in loaded
    assert "/sklearn/" not in loaded


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_health_needs_no_key(service: Service, path: str) -> None:
    assert httpx.get(service.url + path, trust_env=False).status_code == 200


def test_health_shows_model_resources_and_versions(client: httpx.Client, setting: Setting) -> None:
    health = client.get("/health").json()
    assert health["model_id"] == setting.model_id
    assert health["resources"]["memory_bytes"] > 1 << 20
    assert "numpy" in health["versions"]


def test_predictions_are_the_models_own(client: httpx.Client, setting: Setting) -> None:
    rows = [{"amount": a, "hour": b, "distance": c} for a, b, c in [(1.0, 2.0, 3.0), (-1.0, 0.5, 0.0), (0.1, -2, 9)]]
    answer = client.post("/predict", json={"transactions": rows}).json()
    expected = setting.model.predict_proba(np.array([list(row.values()) for row in rows], dtype=np.float32))[:, 1]
    assert [item["fraud_probability"] for item in answer["predictions"]] == [float(value) for value in expected]
    assert [item["is_fraud"] for item in answer["predictions"]] == [bool(value >= 0.5) for value in expected]
    assert answer["model_id"] == setting.model_id


def test_the_order_of_features_in_the_request_does_not_matter(client: httpx.Client) -> None:
    one = client.post("/predict", json={"transaction": GOOD}).json()["predictions"]
    other = client.post("/predict", json={"transaction": dict(reversed(GOOD.items()))}).json()["predictions"]
    assert one[0].pop("receipt") != other[0].pop("receipt")
    assert one == other


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"{", "malformed_json", None),
        (b"\xff\xfe\x00", "malformed_json", None),
        (b"[" * 5000, "malformed_json", None),
        (json.dumps({"transaction": GOOD}).encode("utf-16"), "malformed_json", None),
        (json.dumps({"transaction": GOOD}).encode("utf-32-le"), "malformed_json", None),
        (b"[]", "invalid_body", None),
        (b"{}", "invalid_body", None),
        (b'{"transaction": 1}', "invalid_transaction", "transaction"),
        (b'{"transactions": []}', "invalid_batch", "transactions"),
        (b'{"transaction": {"amount": 1, "hour": 2}}', "missing_feature", "transaction.distance"),
        (json.dumps({"transaction": {**GOOD, "x": 1}}).encode(), "unknown_feature", "transaction.x"),
        (json.dumps({"transaction": {**GOOD, "hour": "3"}}).encode(), "not_a_number", "transaction.hour"),
        (json.dumps({"transaction": {**GOOD, "hour": True}}).encode(), "not_a_number", "transaction.hour"),
        (json.dumps({"transaction": {**GOOD, "hour": None}}).encode(), "not_a_number", "transaction.hour"),
        (json.dumps({"transaction": {**GOOD, "hour": float("nan")}}).encode(), "not_finite", "transaction.hour"),
        (b'{"transaction": {"amount": 1e999, "hour": 1, "distance": 1}}', "not_finite", "transaction.amount"),
        (json.dumps({"transactions": [GOOD, {**GOOD, "hour": []}]}).encode(), "not_a_number", "transactions[1].hour"),
        (json.dumps({"transactions": [GOOD] * 51}).encode(), "invalid_batch", "transactions"),
    ],
)
def test_a_body_that_is_not_allowed_is_a_422_that_names_the_field(
    client: httpx.Client, body: bytes, code: str, field: str | None
) -> None:
    answer = client.post("/predict", content=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"].get("field") == field


def test_an_oversized_body_is_a_413_with_and_without_a_length(client: httpx.Client) -> None:
    assert client.post("/predict", content=b" " * 30_000).status_code == 413

    def pieces() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * 1000

    assert client.post("/predict", content=pieces()).status_code == 413


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "ä"}])
@pytest.mark.parametrize("path", ["/predict", "/model"])
def test_without_a_known_key_everything_else_is_a_401(service: Service, headers: dict[str, str], path: str) -> None:
    encoded = {name: value.encode() for name, value in headers.items()}
    answer = httpx.post(service.url + path, headers=encoded, json={"transaction": GOOD}, trust_env=False)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_bearer_token_is_a_key_too(service: Service, setting: Setting) -> None:
    headers = {"Authorization": f"Bearer {setting.api_key}"}
    answer = httpx.post(f"{service.url}/predict", headers=headers, json={"transaction": GOOD}, trust_env=False)
    assert answer.status_code == 200


def test_a_key_without_the_scope_is_a_403(service: Service, setting: Setting) -> None:
    headers = {"X-API-Key": setting.limited_key}
    answer = httpx.post(f"{service.url}/predict", headers=headers, json={"transaction": GOOD}, trust_env=False)
    assert answer.status_code == 403


def test_the_model_page_shows_the_manifest(client: httpx.Client, setting: Setting) -> None:
    answer = client.get("/model").json()
    assert answer["manifest"]["model_id"] == setting.model_id
    assert answer["digest"] == setting.registry.get_metadata(setting.model_id).digest


def test_the_request_id_is_taken_over_or_made(client: httpx.Client) -> None:
    given = client.post("/predict", json={"transaction": GOOD}, headers={"X-Request-ID": "abc-1"})
    assert given.headers["X-Request-ID"] == given.json()["request_id"] == "abc-1"
    assert len(client.post("/predict", json={"transaction": GOOD}).headers["X-Request-ID"]) == 32


def test_the_log_has_a_json_line_a_request_with_no_feature_and_no_key(
    client: httpx.Client, service: Service, setting: Setting
) -> None:
    client.post("/predict", json={"transaction": {**GOOD, "amount": 987.125}}, headers={"X-Request-ID": "logged-1"})
    deadline = time.monotonic() + 5
    while "logged-1" not in service.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    text = service.log.read_text()
    (line,) = [entry for entry in map(json.loads, text.splitlines()) if entry.get("request_id") == "logged-1"]
    assert (line["key"], line["path"], line["status"], line["model_id"]) == ("full", "/predict", 200, setting.model_id)
    assert line["latency_ms"] > 0
    assert "987.125" not in text
    assert setting.api_key not in text


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"MODEL_SHA256": "sha256:" + "0" * 64}, "ChecksumMismatch", "MODEL_SHA256"),
        ({"MODEL_SHA256": "nonsense"}, "SettingsError", "MODEL_SHA256"),
        ({"MODEL_URI": "file:///nowhere"}, "FileMissing", "/nowhere"),
        ({"MODEL_URI": "ftp://x"}, "SettingsError", "MODEL_URI"),
        ({"MODEL_KEY_FILE": "/nowhere"}, "KeyFileUnsafe", "/nowhere"),
        ({"API_KEYS_FILE": "/nowhere"}, "ApiKeysError", "/nowhere"),
        ({"ENVIRONMENT": "moon"}, "SettingsError", "'moon' is not allowed; allowed: development"),
        ({"DECISION_THRESHOLD": "2"}, "SettingsError", "DECISION_THRESHOLD: '2'"),
    ],
)
def test_an_unusable_model_ends_the_service_with_one_line(
    setting: Setting, changes: dict[str, str], code: str, words: str
) -> None:
    with listening() as listener, started(setting, listener, **changes) as refused:
        assert refused.ready["status"] == "failed"
        assert refused.ready["code"] == code
        assert words in refused.ready["error"]
        assert refused.process.wait(timeout=20) != 0
        assert "Traceback" not in refused.log.read_text()


def test_a_model_that_was_altered_is_never_served(setting: Setting) -> None:
    copy = setting.directory / "altered"
    shutil.copytree(setting.registry.artifact_path(setting.model_id).parent, copy)
    artifact = copy / "artifact"
    content = artifact.read_bytes()
    artifact.write_bytes(content[:1500] + bytes([content[1500] ^ 1]) + content[1501:])
    with listening() as listener, started(setting, listener, MODEL_URI=str(copy)) as refused:
        assert refused.ready["code"] == "PayloadAuthentication"
        assert refused.process.wait(timeout=20) == 4


def test_outside_development_the_documentation_is_not_shown(setting: Setting, service: Service) -> None:
    assert httpx.get(f"{service.url}/docs", trust_env=False).status_code == 200
    with listening() as listener, started(setting, listener, ENVIRONMENT="production") as production:
        assert httpx.get(f"{production.url}/docs", trust_env=False).status_code == 401
        headers = {"X-API-Key": setting.api_key}
        assert httpx.get(f"{production.url}/openapi.json", headers=headers, trust_env=False).status_code == 200


def test_no_request_fails_while_one_process_takes_over_from_another_on_one_socket(setting: Setting) -> None:
    with listening() as listener, ExitStack() as processes:
        first = processes.enter_context(started(setting, listener))
        answers = run_in_a_loop_of_its_own(_replaced_under_load(setting, listener, first, processes))
        assert first.process.wait(timeout=20) == 0
    assert len(answers) > 100
    assert set(answers) == {200}


async def _replaced_under_load(
    setting: Setting, listener: socket.socket, first: Service, processes: ExitStack
) -> list[int]:
    answers: list[int] = []
    stop = asyncio.Event()

    async def caller(client: httpx.AsyncClient) -> None:
        while not stop.is_set():
            answers.append((await client.post("/predict", json={"transaction": GOOD})).status_code)
            await asyncio.sleep(0.01)

    headers = {"X-API-Key": setting.api_key}
    async with httpx.AsyncClient(base_url=first.url, headers=headers, timeout=10, trust_env=False) as client:
        callers = [asyncio.create_task(caller(client)) for _ in range(4)]
        await asyncio.to_thread(processes.enter_context, started(setting, listener))
        first.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(first.process.wait, 20)
        await asyncio.sleep(0.5)
        stop.set()
        await asyncio.gather(*callers)
    return answers


def test_without_a_supervisor_it_binds_its_address_and_exits_0_on_sigterm(setting: Setting) -> None:
    port = free_port()
    environment = setting.environment(API_PORT=str(port))
    command = [sys.executable, "-m", "serving"]
    with subprocess.Popen(command, cwd=SOURCE, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(f"http://127.0.0.1:{port}/health/ready")
            taken = subprocess.run(command, cwd=SOURCE, env=environment, capture_output=True, timeout=60)
            process.terminate()
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
    assert taken.returncode == 98


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            assert time.monotonic() < deadline, f"{url} does not answer"
        time.sleep(0.05)
