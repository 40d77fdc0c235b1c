"""Receipts and feedback: an item counts once, for the version that decided; what is not genuine moves no number."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store import ModelRegistry
from model_store.decisions.receipt_keys import ReceiptKeys, seal_former_key
from model_store.decisions.receipts import FRAUD, ReceiptSigner, parse_receipt, read_receipt
from model_store.errors import ReceiptRefused
from model_store.keys.keyring import decode_key, ensure_key_file, read_key_file
from tests.checkout import free_port
from tests.redis_server import redis_server
from tests.service import FEATURES, GOOD, Service, Setting, listening, started

ID = "fraud_XGBoost_20260101_000000"
KEY = bytes(range(32))
RECORDED = (
    "r1.c0fa92fa.fraud_XGBoost_20260101_000000.695735a5625113ebe3"
    "d000000000000000313fe8000000000000e9a139a1ae6424d4159ce9a580ebfe2b"
)


@contextmanager
def opened(setting: Setting, **changes: str) -> Iterator[httpx.Client]:
    """A client of a service of its own."""
    with listening() as listener, started(setting, listener, **changes) as service:
        assert service.ready["status"] == "ready", service.ready
        with client_of(service, setting) as client:
            yield client


def client_of(service: Service, setting: Setting) -> httpx.Client:
    headers = {"X-API-Key": setting.api_key}
    return httpx.Client(base_url=service.url, headers=headers, timeout=10, trust_env=False)


def receipts(client: httpx.Client, rows: int = 1) -> list[dict[str, Any]]:
    answer = client.post("/predict", json={"transactions": [GOOD] * rows}).json()
    return list(answer["predictions"])


def give(client: httpx.Client, *items: dict[str, Any]) -> httpx.Response:
    return client.post("/feedback", json={"items": list(items)})


def other_version(setting: Setting) -> str:
    schema = [{"name": name, "type": "number", "gaps": False} for name in FEATURES]
    return setting.registry.register_model(model=setting.model, model_name="fraud", feature_schema=schema, runtime=True)


def altered(receipt: str) -> Iterator[str]:
    """The receipt with each of its digits, in turn, another one."""
    for place, digit in enumerate(receipt):
        if place > receipt.rindex("."):
            yield f"{receipt[:place]}{(int(digit, 16) + 1) % 16:x}{receipt[place + 1 :]}"


@pytest.mark.parametrize("rows", [1, 2, 20, 21, 50])
def test_each_row_of_an_answer_has_a_receipt_that_says_what_was_decided(
    service: Service, setting: Setting, rows: int
) -> None:
    keys = ReceiptKeys.of_deployment(read_key_file(setting.directory / "model.key"), "development", "test")
    with client_of(service, setting) as client:
        before = time.time()
        predictions = receipts(client, rows)
    found = [read_receipt(each["receipt"], keys) for each in predictions]
    assert [each.row for each in found] == list(range(rows))
    assert [(each.probability, each.is_fraud) for each in found] == [
        (each["fraud_probability"], each["is_fraud"]) for each in predictions
    ]
    assert {each.model_id for each in found} == {setting.model_id}
    assert all(int(before) <= each.seconds <= time.time() for each in found)
    assert len({each.decision_id for each in found}) == rows


def test_feedback_counts_for_the_version_that_decided_on_a_replica_that_serves_another(setting: Setting) -> None:
    second = other_version(setting)
    with opened(setting) as client:
        decided = receipts(client, 3)
    with opened(setting, MODEL_ID=second) as client:
        own = receipts(client)[0]
        items = [{"receipt": each["receipt"], "was_fraud": not each["is_fraud"]} for each in decided]
        answer = give(client, *items, {"receipt": own["receipt"], "was_fraud": own["is_fraud"]})
        assert answer.status_code == 200
        assert answer.json()["taken"] == 4
        status = client.get("/status").json()
        metrics = client.get("/metrics").text
    assert status["feedback_by_version"] == {
        setting.model_id: {"right": 0, "wrong": 3},
        second: {"right": 1, "wrong": 0},
    }
    assert status["gauges"]["Accuracy"] == 1, "of the version that is served"
    assert status["feedback"] == 1
    of_first = [line for line in metrics.splitlines() if "outcomes_total{" in line and setting.model_id in line]
    assert [line.split()[-1] for line in of_first] == ["3.0"]


def test_invented_feedback_moves_no_accuracy(setting: Setting) -> None:
    with opened(setting) as client:
        decided = receipts(client, 2)
        give(client, *({"receipt": each["receipt"], "was_fraud": not each["is_fraud"]} for each in decided))
        assert client.get("/status").json()["gauges"]["Accuracy"] == 0
        for _ in range(120):
            answer = give(client, *[{"predicted_fraud": True, "was_fraud": True}] * 50)
            assert answer.json() | {"request_id": ""} == {"request_id": "", "taken": 50, "unverified": 50}
        status = client.get("/status").json()
    assert status["gauges"]["Accuracy"] == 0
    assert status["feedback_items"] == {"verified": 2, "unverified": 6000}


@pytest.mark.parametrize(("policy", "status"), [("refuse", 422), ("count", 200)])
def test_a_setting_decides_about_feedback_without_receipts(setting: Setting, policy: str, status: int) -> None:
    with opened(setting, UNVERIFIED_FEEDBACK=policy) as client:
        answer = give(client, {"predicted_fraud": True, "was_fraud": True})
        assert answer.status_code == status
        told = client.get("/status").json()
    if policy == "refuse":
        assert answer.json()["error"]["code"] == "receipt_missing"
        assert told["feedback_items"] == {"receipt_missing": 1}
    else:
        assert told["gauges"]["Accuracy"] == 1


def test_what_is_not_genuine_is_refused_by_name_and_counts_nothing(setting: Setting) -> None:
    with opened(setting, DEPLOYMENT_NAME="another") as client:
        foreign = receipts(client)[0]["receipt"]
    with opened(setting, ENVIRONMENT="staging") as client:
        of_another_environment = receipts(client)[0]["receipt"]
    with opened(setting) as client:
        genuine = receipts(client)[0]
        text = genuine["receipt"]
        bad = {
            "receipt_foreign": [foreign, of_another_environment],
            "receipt_altered": [*altered(text), text.replace(setting.model_id, ID)],
            "receipt_malformed": [
                "",
                "r1",
                text[:-1],
                f"{text}0",
                text.upper(),
                text.replace("r1.", "r2."),
                7,
                None,
                "x" * 9000,
            ],
        }
        good = {"receipt": text, "was_fraud": genuine["is_fraud"]}
        for code, texts in bad.items():
            for each in texts:
                answer = give(client, good, {"receipt": each, "was_fraud": True})
                assert answer.status_code == 422, each
                assert answer.json()["error"]["code"] == code, each
                assert answer.json()["error"]["field"] == "items[1].receipt"
        contradicted = give(client, {**good, "predicted_fraud": not genuine["is_fraud"]})
        assert contradicted.json()["error"]["code"] == "receipt_contradicted"
        told = client.get("/status").json()
        assert told["feedback_items"] == {code: len(texts) for code, texts in bad.items()} | {"receipt_contradicted": 1}
        assert told["feedback"] == 0
        assert give(client, good).json()["taken"] == 1, "a refused request has not used it up"
        assert (
            'fraud_detection_feedback_total{deployment="test",environment="development",reason="receipt_altered"}'
            in (client.get("/metrics").text)
        )


def test_a_repeat_counts_once(setting: Setting) -> None:
    with opened(setting) as client:
        decided = receipts(client, 3)
        items = [{"receipt": each["receipt"], "was_fraud": True} for each in decided]
        assert give(client, *items, items[0]).json() | {"request_id": ""} == {
            "request_id": "",
            "taken": 3,
            "repeated": 1,
        }
        assert give(client, *items).json() | {"request_id": ""} == {"request_id": "", "taken": 0, "repeated": 3}
        told = client.get("/status").json()
    assert told["feedback"] == 3
    assert told["feedback_items"] == {"verified": 3, "repeated": 4}


def test_replicas_find_repeats_in_redis_and_each_for_itself_without_it(setting: Setting, tmp_path: Path) -> None:
    with redis_server(tmp_path) as url, ExitStack() as stack:
        clients = [stack.enter_context(opened(setting, RATE_LIMIT_URL=url)) for _ in range(2)]
        item = {"receipt": receipts(clients[0])[0]["receipt"], "was_fraud": True}
        assert [give(client, item).json()["taken"] for client in (*clients, *clients)] == [1, 0, 0, 0]
    unreachable = f"redis://127.0.0.1:{free_port()}/0"
    with ExitStack() as stack:
        clients = [stack.enter_context(opened(setting, RATE_LIMIT_URL=unreachable)) for _ in range(2)]
        assert [give(client, item).json()["taken"] for client in (*clients, *clients)] == [1, 1, 0, 0]


def test_a_redis_that_swallows_everything_delays_one_feedback_and_no_more(setting: Setting) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with opened(setting, RATE_LIMIT_URL=url, RATE_LIMIT_PER_SECOND="0") as client:
            items = [{"receipt": each["receipt"], "was_fraud": True} for _ in range(6) for each in receipts(client)]
            took = []
            for item in items:
                begun = time.perf_counter()
                assert give(client, item).json()["taken"] == 1
                took.append(time.perf_counter() - begun)
    assert len(took) >= 6
    assert sum(seconds > 0.5 for seconds in took) <= 1, took


def test_feedback_is_taken_for_so_many_days(setting: Setting) -> None:
    keys = ReceiptKeys.of_deployment(read_key_file(setting.directory / "model.key"), "development", "test")
    assert keys.signing is not None
    signer, day = ReceiptSigner(keys.signing, setting.model_id), 86400
    weeks, months = (signer.sign(time.time() - days * day, [0.9], [FRAUD])[1][0] for days in (59, 61))
    with opened(setting, FEEDBACK_DAYS="60") as client:
        assert give(client, {"receipt": weeks, "was_fraud": True}).json()["taken"] == 1
        assert give(client, {"receipt": months, "was_fraud": True}).json()["error"]["code"] == "receipt_expired"


def test_receipts_outlive_a_change_of_the_models_key(setting: Setting) -> None:
    model_key = read_key_file(setting.directory / "model.key")
    before = decode_key(ensure_key_file(setting.directory / "former.key").read_text())
    former = ReceiptKeys.of_deployment(before, "development", "test")
    assert former.signing is not None
    receipt = ReceiptSigner(former.signing, ID).sign(time.time(), [0.2], [0])[1][0]
    file = setting.directory / "more_keys.json"
    content = json.loads((setting.directory / "api_keys.json").read_text())
    file.write_text(json.dumps(content))
    file.chmod(0o600)
    with opened(setting, API_KEYS_FILE=str(file)) as client:
        assert give(client, {"receipt": receipt, "was_fraud": False}).json()["error"]["code"] == "receipt_foreign"
        sealed = seal_former_key(model_key, before, "development", "test")
        assert former.signing.secret.hex() not in json.dumps(sealed)
        file.write_text(json.dumps({**content, "receipt_keys": [sealed]}))
        deadline = time.monotonic() + 10
        while (answer := give(client, {"receipt": receipt, "was_fraud": False})).status_code != 200:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.2)
        assert client.get("/status").json()["feedback_by_version"] == {ID: {"right": 1, "wrong": 0}}


def test_a_service_without_a_key_gives_no_receipts_and_says_so(setting: Setting) -> None:
    schema = [{"name": name, "type": "number", "gaps": False} for name in FEATURES]
    plain = replace(setting, registry=ModelRegistry(setting.directory / "plain", encrypt=False))
    options: Any = {"model_name": "plain", "feature_schema": schema, "runtime": True}
    plain.model_id = plain.registry.register_model(model=setting.model, **options)
    with listening() as listener, started(plain, listener, MODEL_KEY_FILE="") as service:
        with client_of(service, setting) as client:
            assert set(receipts(client)[0]) == {"fraud_probability", "is_fraud"}
        assert "no key, so its answers have no receipts" in service.log.read_text()


def test_the_key_is_the_same_on_each_replica_and_another_for_each_deployment() -> None:
    derive = ReceiptKeys.of_deployment
    assert derive(KEY, "staging", "a") == derive(KEY, "staging", "a")
    names = [("staging", "a"), ("staging", "b"), ("production", "a"), ("stagin", "ga")]
    keys = [derive(each, *name).signing for name in names for each in (KEY, KEY[::-1])]
    assert len({key.key_id for key in keys if key}) == len({key.secret for key in keys if key}) == len(keys)


def test_a_format_that_others_can_read_stays_what_it_is() -> None:
    """A receipt of the first release: it is verified by each release after it."""
    keys = ReceiptKeys.of_deployment(KEY, "production", "fraud-detection-prod")
    found = read_receipt(RECORDED, keys)
    assert found.to_dict() | {"receipt": ""} == {
        "receipt": "",
        "decision": found.decision_id,
        "model_id": ID,
        "time": "2026-01-02T03:04:05+00:00",
        "row": 3,
        "fraud_probability": 0.75,
        "is_fraud": True,
        "overridden": False,
    }


@pytest.mark.parametrize("text", ["r1.0.a.b", "r1." + "0" * 8 + "." + "a" * 301 + "." + "0" * 84])
def test_what_is_no_receipt_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ReceiptRefused) as caught:
        parse_receipt(text)
    assert caught.value.code == "receipt_malformed"
