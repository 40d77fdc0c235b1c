"""What keeps the service answering: rates, back-pressure, slow clients, optimized forms, logs that are rotated."""

import concurrent.futures
import json
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from serving.errors import ApiKeysError
from serving.http.auth import ApiKey, ApiKeys, hash_api_key, new_api_key
from serving.http.rate_limit import Buckets
from tests.faults.of_redis import Delay, Redis
from tests.service import GOOD, Service, Setting, listening, started


def _post(service: Service, key: str, **more: Any) -> httpx.Response:
    body = more.pop("json", {"transaction": GOOD})
    return httpx.post(f"{service.url}/predict", json=body, headers={"X-API-Key": key}, trust_env=False, **more)


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    now = [0.0]
    buckets = Buckets(10, 5, clock=lambda: now[0])
    key, other = (ApiKey(name, name, frozenset()) for name in ("a", "b"))
    assert [buckets.take(key) for _ in range(5)] == [0.0] * 5
    assert buckets.take(key) == pytest.approx(0.1)
    assert buckets.take(other) == 0.0, "each key has a bucket of its own"
    now[0] += 0.1
    assert buckets.take(key) == 0.0
    assert buckets.take(key) > 0
    now[0] += 100
    assert [buckets.take(key) > 0 for _ in range(6)] == [False] * 5 + [True], "no more than a burst is saved up"


def test_a_key_over_its_rate_is_answered_429_with_retry_after(setting: Setting) -> None:
    changes = {"RATE_LIMIT_PER_SECOND": "1", "RATE_LIMIT_BURST": "3"}
    with listening() as listener, started(setting, listener, **changes) as service:
        answers = [_post(service, setting.api_key) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert int(answers[-1].headers["Retry-After"]) >= 1
        assert answers[-1].json()["error"]["code"] == "too_many_requests"
        assert httpx.get(f"{service.url}/health", trust_env=False).status_code == 200, "health is not limited"


def test_a_key_can_have_a_rate_of_its_own(setting: Setting, tmp_path: Path) -> None:
    slow = new_api_key()
    entry = {"name": "slow", "sha256": hash_api_key(slow), "scopes": ["predict"], "requests_per_second": 0.5}
    file = tmp_path / "api_keys.json"
    file.write_text(json.dumps({"keys": [entry]}))
    file.chmod(0o600)
    with listening() as listener, started(setting, listener, API_KEYS_FILE=str(file)) as service:
        assert [_post(service, slow).status_code for _ in range(2)] == [200, 429]


def test_redis_that_does_not_answer_does_not_stop_the_service(setting: Setting) -> None:
    changes = {"RATE_LIMIT_URL": "redis://127.0.0.1:1/0", "RATE_LIMIT_PER_SECOND": "1", "RATE_LIMIT_BURST": "1"}
    with listening() as listener, started(setting, listener, **changes) as service:
        assert [_post(service, setting.api_key).status_code for _ in range(2)] == [200, 429]
        assert "Redis does not answer" in service.log.read_text()


def test_a_redis_that_swallows_everything_delays_one_request_and_no_more(setting: Setting) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with listening() as listener, started(setting, listener, RATE_LIMIT_URL=url) as service:
            took = []
            headers = {"X-API-Key": setting.api_key}
            with httpx.Client(trust_env=False, headers=headers) as client:
                for _ in range(20):
                    begun = time.perf_counter()
                    answer = client.post(f"{service.url}/predict", json={"transaction": GOOD})
                    assert answer.status_code == 200
                    took.append(time.perf_counter() - begun)
    assert sum(seconds > 0.24 for seconds in took) <= 1, took


def test_a_redis_that_answers_late_delays_no_request_for_longer_than_one_that_is_silent(
    setting: Setting, tmp_path: Path
) -> None:
    redis = Redis(tmp_path)
    redis.start()
    delay = Delay(redis.port)
    delay.seconds = 0.15
    took = []
    try:
        url = f"redis://127.0.0.1:{delay.port}/0"
        with listening() as listener, started(setting, listener, RATE_LIMIT_URL=url) as service:
            headers = {"X-API-Key": setting.api_key}
            with httpx.Client(trust_env=False, headers=headers) as client:
                for _ in range(20):
                    begun = time.perf_counter()
                    assert client.post(f"{service.url}/predict", json={"transaction": GOOD}).status_code == 200
                    took.append(time.perf_counter() - begun)
    finally:
        delay.stop()
        redis.kill()
    # Several answers make a connection: each in time, and all of them not.
    assert max(took) < 0.4, took


def test_a_body_that_does_not_arrive_is_a_408_and_delays_no_other_request(setting: Setting) -> None:
    with listening() as listener, started(setting, listener, REQUEST_TIMEOUT_SECONDS="0.6") as service:
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as slow:
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {setting.api_key}\r\nContent-Length: 100\r\n\r\n{{"
            slow.sendall(head.encode())
            started_at = time.monotonic()
            assert _post(service, setting.api_key).status_code == 200
            assert time.monotonic() - started_at < 0.5
            answer = slow.recv(4096)
        assert answer.startswith(b"HTTP/1.1 408")


def test_requests_over_the_concurrency_limit_are_answered_503_with_retry_after(setting: Setting) -> None:
    data = np.random.default_rng(0).normal(size=(300, 3))
    pipeline = make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=20))
    pipeline.fit(data, data[:, 0] > 0)
    schema = [{"name": name, "type": "number"} for name in GOOD]
    model_id = setting.registry.register_model(pipeline, "fraud", feature_schema=schema)
    batch = {"transactions": [GOOD] * 50}
    with listening() as listener, started(setting, listener, MODEL_ID=model_id, MAX_IN_FLIGHT="2") as service:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: _post(service, setting.api_key, json=batch, timeout=30), range(150)))
        statuses = {answer.status_code for answer in answers}
        assert statuses == {200, 503}
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert refused.headers["Retry-After"] == "1"
        assert refused.json()["error"]["code"] == "overloaded"


def test_the_optimized_form_answers_and_says_the_same(setting: Setting) -> None:
    metadata = setting.registry.get_metadata(setting.model_id)
    assert metadata.runtime is not None
    assert metadata.runtime["largest_difference"] <= metadata.runtime["tolerance"]
    rows = np.random.default_rng(1).normal(scale=2, size=(40, 3)).round(3)
    body = {"transactions": [dict(zip(GOOD, row, strict=True)) for row in rows.tolist()]}
    changes = {"MODEL_RUNTIME_SHA256": metadata.runtime_digest}
    with listening() as listener, started(setting, listener, **changes) as service:
        headers = {"X-API-Key": setting.api_key}
        shown = httpx.get(f"{service.url}/model", headers=headers, trust_env=False).json()
        assert shown["runtime"] == "onnxruntime"
        found = [item["fraud_probability"] for item in _post(service, setting.api_key, json=body).json()["predictions"]]
    expected = setting.model.predict_proba(rows.astype(np.float32))[:, 1]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_optimized_form_that_is_not_the_registered_one_is_never_served(setting: Setting, tmp_path: Path) -> None:
    changes = {"MODEL_RUNTIME_SHA256": "sha256:" + "1" * 64}
    with listening() as listener, started(setting, listener, **changes) as refused:
        assert refused.ready["code"] == "ChecksumMismatch"
        assert "MODEL_RUNTIME_SHA256" in refused.ready["error"]


def test_the_log_is_also_written_to_a_file_and_follows_log_level(setting: Setting, tmp_path: Path) -> None:
    file = tmp_path / "logs" / "fraud_detection.log"
    with listening() as listener, started(setting, listener, LOG_FILE=str(file)) as service:
        assert _post(service, setting.api_key).status_code == 200
        service.process.terminate()
        assert service.process.wait(timeout=20) == 0
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    assert [entry["path"] for entry in entries if entry["message"] == "request"] == ["/predict"]
    assert setting.api_key not in file.read_text()
    with listening() as listener, started(setting, listener, LOG_LEVEL="WARNING") as service:
        assert _post(service, setting.api_key).status_code == 200
        service.process.terminate()
        service.process.wait(timeout=20)
        assert '"message":"request"' not in service.log.read_text()


def test_the_numbers_of_the_last_minute_are_for_admins(setting: Setting) -> None:
    with listening() as listener, started(setting, listener) as service:
        for _ in range(20):
            _post(service, setting.api_key)
        url = f"{service.url}/status"
        assert httpx.get(url, headers={"X-API-Key": setting.limited_key}, trust_env=False).status_code == 403
        found = httpx.get(url, headers={"X-API-Key": setting.api_key}, trust_env=False).json()
        assert found["requests"] >= 20
        assert found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]
        assert found["error_rate"] == 0
        page = httpx.get(f"{service.url}/", trust_env=False)
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize("name", ["", "a\nb", "\ud800"])
def test_a_key_has_a_name_that_a_log_can_show(tmp_path: Path, name: str) -> None:
    file = tmp_path / "api_keys.json"
    file.write_text(json.dumps({"keys": [{"name": name, "sha256": hash_api_key("x"), "scopes": ["predict"]}]}))
    file.chmod(0o600)
    with pytest.raises(ApiKeysError, match="a key has no name"):
        ApiKeys.from_file(file)
