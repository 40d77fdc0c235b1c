"""The decision log: every decision is found by its receipt; a target that takes nothing costs no request."""

import asyncio
import json
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from model_store.decisions.log_parts import FeatureKeys, LoggedAnswer, day_of
from model_store.decisions.log_reader import DecisionLogReader
from model_store.decisions.log_store import open_log
from model_store.decisions.override import Override
from model_store.decisions.receipt_keys import ReceiptKey, derive_for_deployment
from model_store.decisions.receipts import ReceiptSigner, parse_receipt
from model_store.errors import KeyUnwrap
from model_store.keys.keyring import read_key_file
from serving.observability import decision_log
from serving.observability.decision_log import DecisionLog
from serving.settings import ServingSettings
from tests.s3_servers import moto_server, s3_client, s3_settings
from tests.service import GOOD, Setting
from tests.unit.serving.http.test_receipts import give, opened, receipts

KEY = bytes(range(32))
ID = "fraud_XGBoost_20260101_000000"
_NOW = 1_767_323_045.25
SETTINGS = ServingSettings(
    "development", "test", ID, "/nowhere", "", "", None, Path("/nowhere"), decision_log_seconds=0.1
)


def _log(location: object, **changes: Any) -> tuple[DecisionLog, ReceiptSigner, dict[str, int]]:
    settings = replace(SETTINGS, decision_log=str(location), **changes)
    signer = ReceiptSigner(ReceiptKey.derive(KEY, "development", "test"), ID)
    counts: dict[str, int] = {}

    def count(what: str, number: int) -> None:
        counts[what] = counts.get(what, 0) + number

    return DecisionLog(settings, KEY, signer.process, 0.5, ["amount", "note"], count), signer, counts


def _add(
    log: DecisionLog, signer: ReceiptSigner, scores: list[float], at: float = _NOW, note: str = "hidden"
) -> list[str]:
    decided = [score >= 0.5 for score in scores]
    number, made = signer.sign(at, scores, decided)
    rows = [(score, note) for score in scores] if log.keeps_features else ()
    log.add(LoggedAnswer(at, number, f"request-{number}", "checkout", scores, decided, False, made, rows))
    return made


def _keys(location: object) -> FeatureKeys:
    return FeatureKeys(open_log(str(location)), derive_for_deployment(KEY, "decision-log", "development", "test"))


def _between(location: object, begin: float = 0, end: float = 4e9) -> list[dict[str, Any]]:
    since, until = (datetime.fromtimestamp(each, UTC) for each in (begin, end))
    return list(DecisionLogReader(open_log(str(location))).between(since, until))


@pytest.fixture(params=["directory", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with ExitStack() as stack:
        if request.param == "directory":
            yield tmp_path / "log"
            return
        url = stack.enter_context(moto_server(tmp_path))
        for name, value in s3_settings(url).items():
            monkeypatch.setenv(name, value)
        s3_client(url).create_bucket(Bucket="decisions")
        s3_client(url).put_bucket_versioning(Bucket="decisions", VersioningConfiguration={"Status": "Enabled"})
        yield f"s3://decisions/{tmp_path.name}"


def test_each_decision_is_found_by_its_receipt_and_by_time(location: object) -> None:
    first, first_signer, counts = _log(location)
    second, second_signer, _ = _log(location)
    with first.written_often(), second.written_often():
        made = [_add(first, first_signer, [0.1, 0.9, 0.5]) for _ in range(20)]
        others = _add(second, second_signer, [0.2] * 30, _NOW + 86400)
    assert counts == {"written": 60}
    reader = DecisionLogReader(open_log(str(location)))
    for number, three in enumerate(made):
        for row, text in enumerate(three):
            found = reader.find(parse_receipt(text))
            assert found is not None
            assert (found["fraud_probability"], found["is_fraud"]) == ((0.1, 0.9, 0.5)[row], row > 0)
            assert (found["model_id"], found["threshold"], found["was_fraud"]) == (ID, 0.5, None)
            assert (found["request_id"], found["api_key"]) == (f"request-{number}", "checkout")
            assert found["time"] == datetime.fromtimestamp(_NOW, UTC)
    assert {row["receipt"] for row in _between(location, _NOW + 1)} == set(others)
    assert len(_between(location, 0, _NOW)) == 0
    assert len(_between(location)) == 90
    assert reader.find(parse_receipt(made[0][0].replace(first_signer.process, "0" * 12))) is None


def test_features_are_encrypted_and_erased_with_the_key_of_their_day(location: object, tmp_path: Path) -> None:
    log, signer, _ = _log(location, decision_log_features=True)
    with log.written_often():
        today, day_before = _add(log, signer, [0.9]), _add(log, signer, [0.7], _NOW - 86400)
    store, keys = open_log(str(location)), _keys(location)
    parts = [store.get(key) for day in store.days() for key in store.names(f"day={day}/")]
    assert len(parts) == 2
    assert not any(b"hidden" in part or b"amount" in part for part in parts)
    reader = DecisionLogReader(store, keys)
    found = reader.find(parse_receipt(today[0]))
    assert found is not None
    assert found["features"] == {"amount": 0.9, "note": "hidden"}
    with pytest.raises(KeyUnwrap, match="another key of the model"):
        DecisionLogReader(store, FeatureKeys(store, bytes(32))).find(parse_receipt(today[0]))
    assert keys.destroy(day_of(_NOW))
    assert not keys.destroy(day_of(_NOW))
    for text, features in ((today[0], None), (day_before[0], {"amount": 0.7, "note": "hidden"})):
        again = DecisionLogReader(store, _keys(location)).find(parse_receipt(text))
        assert again is not None
        assert again["features"] == features
        assert again["is_fraud"] is True, "the decision stays"
    late, late_signer, _ = _log(location, decision_log_features=True)
    with late.written_often():
        text = _add(late, late_signer, [0.6])[0]
    again = DecisionLogReader(store, _keys(location)).find(parse_receipt(text))
    assert again is not None
    assert again["features"] is None, "a destroyed key does not come back"


def test_what_a_bucket_keeps_of_a_destroyed_key_is_gone_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with moto_server(tmp_path) as url:
        for name, value in s3_settings(url).items():
            monkeypatch.setenv(name, value)
        s3 = s3_client(url)
        s3.create_bucket(Bucket="decisions")
        s3.put_bucket_versioning(Bucket="decisions", VersioningConfiguration={"Status": "Enabled"})
        _keys("s3://decisions/a").for_writing("2026-01-02")
        _keys("s3://decisions/a").destroy("2026-01-02")
        versions = s3.list_object_versions(Bucket="decisions", Prefix="a/")["Versions"]
        kept = [s3.get_object(Bucket="decisions", Key=each["Key"], VersionId=each["VersionId"]) for each in versions]
        assert [list(json.loads(each["Body"].read())) for each in kept] == [["erased"]]


def test_a_log_that_takes_nothing_bounds_its_memory_counts_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_log, "MAX_WAITING_ROWS", 500)
    place = tmp_path / "log"
    place.write_text("a file in the way")
    log, signer, counts = _log(place)
    with log.written_often():
        for _ in range(100):
            _add(log, signer, [0.3] * 10)
        time.sleep(0.3)
        assert (log.lost, counts) == (500, {"lost": 500})
        place.unlink()
        deadline = time.monotonic() + 10
        while counts.get("written") != 500:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        _add(log, signer, [0.3] * 10)
    assert counts == {"lost": 500, "written": 510}
    assert len(_between(place)) == 510
    assert not list(place.rglob("*.partial"))


def test_several_threads_claim_feedback_once(location: object) -> None:
    log, signer, _ = _log(location)
    text = signer.sign(_NOW, [0.4], [0])[1][0]
    receipt, answers = parse_receipt(text), list[bool]()

    def claim() -> None:
        answers.extend(asyncio.run(log.claim([(receipt, True)])) or [])

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 5 + [True]


def test_old_days_are_removed_from_a_directory(tmp_path: Path) -> None:
    now = time.time()
    log, signer, _ = _log(tmp_path, decision_log_days=30.0, decision_log_features=True)
    with log.written_often():
        _add(log, signer, [0.5], now - 40 * 86400)
        _add(log, signer, [0.5], now - 20 * 86400)
        time.sleep(0.4)
    again, _, _ = _log(tmp_path, decision_log_days=30.0)
    with again.written_often():
        time.sleep(0.3)
    kept = day_of(now - 20 * 86400)
    assert open_log(str(tmp_path)).days() == [kept]
    assert [path.name for path in (tmp_path / "keys").iterdir()] == [f"{kept}.json"]


def test_a_service_logs_what_it_answers_and_replicas_find_repeats_in_the_log(setting: Setting) -> None:
    place = setting.directory / "decisions"
    changes = {"DECISION_LOG": str(place), "DECISION_LOG_FEATURES": "1", "DECISION_LOG_SECONDS": "0.2"}
    with ExitStack() as stack:
        clients = [stack.enter_context(opened(setting, **changes)) for _ in range(2)]
        decided = [each for client in clients for rows in (1, 7) for each in receipts(client, rows)]
        item = {"receipt": decided[0]["receipt"], "was_fraud": True}
        assert [give(client, item).json()["taken"] for client in (*clients, *clients)] == [1, 0, 0, 0]
        assert clients[0].get("/status").json()["decisions_lost"] == 0
        deadline = time.monotonic() + 10
        while len(_between(place)) < len(decided):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert 'reason="written"} 8.0' in clients[0].get("/metrics").text
    rows = {row["receipt"]: row for row in _between(place)}
    assert set(rows) == {each["receipt"] for each in decided}
    assert [rows[each["receipt"]]["fraud_probability"] for each in decided] == [
        each["fraud_probability"] for each in decided
    ]
    assert rows[decided[0]["receipt"]]["was_fraud"] is True
    model_key = read_key_file(setting.directory / "model.key")
    seal = derive_for_deployment(model_key, "decision-log", "development", "test")
    reader = DecisionLogReader(open_log(str(place)), FeatureKeys(open_log(str(place)), seal))
    found = reader.find(parse_receipt(decided[-1]["receipt"]))
    assert found is not None
    assert found["features"] == GOOD


def test_a_log_that_cannot_be_written_costs_no_request(setting: Setting) -> None:
    changes = {"DECISION_LOG": "/dev/full/decisions", "DECISION_LOG_SECONDS": "0.1"}
    with opened(setting, **changes) as client:
        decided = [each for _ in range(5) for each in receipts(client, 3)]
        time.sleep(0.4)
        assert client.post("/predict", json={"transaction": GOOD}).status_code == 200
        began = time.monotonic()
        assert give(client, {"receipt": decided[0]["receipt"], "was_fraud": True}).json()["taken"] == 1
        assert give(client, {"receipt": decided[0]["receipt"], "was_fraud": True}).json()["repeated"] == 1
        assert time.monotonic() - began < 5


def test_days_go_on_over_midnight(tmp_path: Path) -> None:
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    log, signer, _ = _log(tmp_path)
    with log.written_often():
        for seconds in (-1.0, -0.001, 0.0, 0.5):
            _add(log, signer, [0.5], (midnight + timedelta(seconds=seconds)).timestamp())
    assert open_log(str(tmp_path)).days() == ["2026-02-28", "2026-03-01"]
    assert len(_between(tmp_path, midnight.timestamp())) == 2


def test_the_processes_of_a_replica_sign_log_and_pause_together(setting: Setting) -> None:
    place, paused = setting.directory / "of-two", setting.directory / "of-two.json"
    changes = {"PROCESSES": "2", "DECISION_LOG": str(place), "DECISION_LOG_SECONDS": "0.2", "OVERRIDE_URI": str(paused)}
    with opened(setting, **changes) as client:

        def ask() -> dict[str, Any]:
            # A connection of its own: each process takes some.
            closing = {"Connection": "close"}
            answer: dict[str, Any] = client.post("/predict", json={"transaction": GOOD}, headers=closing).json()
            return answer

        texts: list[str] = []
        deadline = time.monotonic() + 60
        while len({parse_receipt(text).process for text in texts}) < 2 or len(texts) < 20:
            assert time.monotonic() < deadline
            texts.append(ask()["predictions"][0]["receipt"])
        assert len({parse_receipt(text).decision_id for text in texts}) == len(texts)
        items = [{"receipt": text, "was_fraud": True} for text in texts[:10]]
        assert [give(client, *items).json()["taken"], give(client, *items).json()["repeated"]] == [10, 10]
        told = client.get("/status").json()
        assert sum(told["feedback_by_version"][setting.model_id].values()) == 10
        while len(_between(place)) < len(texts):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert {row["receipt"] for row in _between(place)} == set(texts)
        paused.write_bytes(Override("legit", time.time() + 600).to_json())
        time.sleep(2.5)
        assert all("override" in ask() for _ in range(20))
        assert client.get("/status").json()["gauges"]["Paused"] == 1
