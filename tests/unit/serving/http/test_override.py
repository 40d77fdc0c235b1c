"""An override gives every decision until its time; answers, status and metrics show it, and receipts remember it."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from model_store.decisions.override import Override
from model_store.decisions.receipts import parse_receipt
from serving.http.override import watched_override
from tests.s3_servers import moto_server, s3_client, s3_settings
from tests.service import GOOD, Setting, listening, started
from tests.unit.serving.http.test_receipts import client_of, give, receipts


def _write(path: Path, override: Override) -> None:
    staging = path.with_suffix(".new")
    staging.write_bytes(override.to_json())
    staging.replace(path)


def _wait(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_override_decides_is_shown_everywhere_and_ends_by_itself(setting: Setting) -> None:
    file = setting.directory / "override.json"
    with listening() as listener, started(setting, listener, OVERRIDE_URI=str(file)) as service:
        client = client_of(service, setting)
        by_model = receipts(client)[0]
        answer, fraud = ("legit", False) if by_model["is_fraud"] else ("review", True)
        assert client.get("/health").json()["override"] is None
        until = float(int(time.time()) + 5)
        _write(file, Override(answer, until, "the feed changed", "alice", "2026-01-01T00:00:00Z"))
        _wait(lambda: client.get("/health").json()["override"] is not None, 4)
        body = client.post("/predict", json={"transactions": [GOOD] * 3}).json()
        assert body["override"] == {"answer": answer, "until": Override(answer, until).ends}
        assert [each["is_fraud"] for each in body["predictions"]] == [fraud] * 3
        assert body["predictions"][0]["fraud_probability"] == by_model["fraud_probability"], "the model's own"
        assert all(parse_receipt(each["receipt"]).overridden for each in body["predictions"])
        explained = client.post("/predict", params={"reasons": 2}, json={"transaction": GOOD}).json()
        assert explained["override"] == body["override"]
        assert explained["predictions"][0]["receipt"]
        told, metrics = client.get("/status").json(), client.get("/metrics").text
        assert (told["override"]["reason"], told["override"]["by"]) == ("the feed changed", "alice")
        assert told["gauges"]["Paused"] == 1
        assert (
            f'fraud_detection_overridden_total{{deployment="test",environment="development",reason="{answer}"}} 4.0'
            in metrics
        )
        _wait(lambda: "override" not in client.post("/predict", json={"transaction": GOOD}).json(), 8)
        assert time.time() >= until
        assert receipts(client)[0]["is_fraud"] == by_model["is_fraud"]
        item = {"receipt": body["predictions"][0]["receipt"], "was_fraud": fraud}
        assert give(client, item).json()["taken"] == 1
        told = client.get("/status").json()
        assert told["feedback_items"] == {"overridden": 1}
        assert told["override"] is None
        assert (told["feedback"], told["gauges"]["Paused"]) == (0, 0), "nothing of it is the version's"


def test_a_process_that_starts_while_paused_is_paused_from_its_first_answer(setting: Setting) -> None:
    file = setting.directory / "paused.json"
    _write(file, Override("review", time.time() + 600))
    with listening() as listener, started(setting, listener, OVERRIDE_URI=str(file)) as service:
        client = client_of(service, setting)
        assert client.post("/predict", json={"transaction": GOOD}).json()["override"]["answer"] == "review"
        file.write_text("{")
        _wait(lambda: "the override cannot be read" in service.log.read_text())
        assert client.get("/health").json()["override"]["answer"] == "review", "a broken file changes nothing"
        file.write_text("{}\n")
        _wait(lambda: client.get("/health").json()["override"] is None)


def test_pods_read_it_from_the_registrys_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.http.override._LOOK_SECONDS_REMOTE", 0.2)
    seen: list[Override | None] = []
    with moto_server(tmp_path) as url:
        for name, value in s3_settings(url).items():
            monkeypatch.setenv(name, value)
        s3 = s3_client(url)
        s3.create_bucket(Bucket="registry")
        override = Override("legit", float(int(time.time()) + 60))
        with watched_override("s3://registry/overrides/prod.json", seen.append):
            assert seen == []
            s3.put_object(Bucket="registry", Key="overrides/prod.json", Body=override.to_json())
            _wait(lambda: seen == [override])
            s3.put_object(Bucket="registry", Key="overrides/prod.json", Body=b"{}")
            _wait(lambda: seen == [override, None])


def test_health_shows_no_reason_to_those_without_a_key(setting: Setting) -> None:
    file = setting.directory / "told.json"
    _write(file, Override("legit", time.time() + 600, "a secret reason", "alice"))
    with listening() as listener, started(setting, listener, OVERRIDE_URI=str(file)) as service:
        assert "secret" not in httpx.get(f"{service.url}/health", trust_env=False).text


def test_no_content_of_the_file_costs_an_answer_or_ends_the_look_at_it(setting: Setting, tmp_path: Path) -> None:
    file = tmp_path / "override.json"
    beyond = '{"answer": "review", "until": "9999-12-31T23:59:59-23:59"}'
    broken = [
        lambda: file.write_text(beyond),
        lambda: file.write_text("[" * 100_000),
        lambda: file.write_bytes(b"\xff\xfe"),
        lambda: file.write_text('{"answer": [], "until": "2099-01-01T00:00:00Z"}'),
        lambda: file.write_text('{"answer": "review", "until": "2099-01-01T00:00:00"}'),
        lambda: (file.unlink(), file.mkdir()),
        lambda: (file.rmdir(), file.symlink_to("/dev/zero")),
        lambda: (file.unlink(), os.mkfifo(file)),
    ]
    # Of the last kind from the beginning: a service does not wait for a writer.
    os.mkfifo(file)
    with listening() as listener, started(setting, listener, OVERRIDE_URI=str(file)) as service:
        client = client_of(service, setting)
        file.unlink()
        for number, write in enumerate(broken):
            write()
            time.sleep(1.2)
            answer = client.post("/predict", json={"transaction": GOOD})
            assert (answer.status_code, "override" in answer.json()) == (200, False), number
        file.unlink()
        _write(file, Override("review", time.time() + 600))
        _wait(lambda: client.get("/health").json()["override"] is not None, 4)
        assert len(service.log.read_text()) < 20_000
