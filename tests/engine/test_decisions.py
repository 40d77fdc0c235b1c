"""An endpoint is paused and goes on, and receipts outlive a new model key: on a real stack."""

import json
import sys
import time
from typing import Any

import httpx
import pytest

from model_store.decisions.receipt_keys import ReceiptKey
from model_store.decisions.receipts import ReceiptSigner
from model_store.keys.keyring import read_key_file
from tests.checkout import Deployed

_PAUSE = ("pause", "development", "--answer", "review")


def _predict(deployed: Deployed) -> dict[str, Any]:
    answer: dict[str, Any] = deployed.checkout.predict().json()
    return answer


def test_a_pause_reaches_every_answer_is_recorded_and_ends_when_told(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    began = time.monotonic()
    paused = json.loads(
        checkout.deploy_model(*_PAUSE, "--until", "1h", "--reason", "scores look wrong", "--json").stdout
    )
    assert time.monotonic() - began < 30
    assert paused["override"]["answer"] == "review"
    answer = _predict(deployed)
    assert answer["override"] == {"answer": "review", "until": paused["override"]["until"]}
    assert all(each["is_fraud"] for each in answer["predictions"])
    status = json.loads(checkout.deploy_model("status", "development", "--json").stdout)
    assert status["override"]["reason"] == "scores look wrong"
    assert "PAUSED until" in checkout.deploy_model("status", "development").stdout
    checkout.deploy(deployed.second)
    assert _predict(deployed)["override"]["answer"] == "review", "a new process knows it too"
    ended = json.loads(checkout.deploy_model("unpause", "development", "--reason", "repaired", "--json").stdout)
    assert ended["ended"]["answer"] == "review"
    assert "override" not in _predict(deployed)
    assert "nothing was paused" in checkout.deploy_model("unpause", "development").stdout
    output = checkout.run(sys.executable, "scripts/manage_models.py", "audit", "--json").stdout
    records = [record for record in json.loads(output) if record["action"] in ("pause", "unpause")]
    assert [(record["action"], record.get("reason")) for record in records][-4:] == [
        ("pause", "scores look wrong"),
        ("pause", "scores look wrong"),
        ("unpause", "repaired"),
        ("unpause", "repaired"),
    ]


@pytest.mark.parametrize(
    ("until", "reason", "message"),
    [("2001-01-01", "a", "a time to come"), ("8d", "a", "at most 7 days"), ("1h", " ", "needs a reason")],
)
def test_a_pause_without_end_or_reason_is_refused(deployed: Deployed, until: str, reason: str, message: str) -> None:
    deployed.checkout.ensure(deployed.first)
    command = (sys.executable, "scripts/deploy_model.py", *_PAUSE, "--until", until, "--reason", reason)
    assert message in deployed.checkout.fails(*command)
    assert "override" not in _predict(deployed)


def test_nothing_is_paused_where_nothing_is_deployed(deployed: Deployed) -> None:
    command = ("pause", "staging", "--answer", "legit", "--until", "1h", "--reason", "a")
    assert "nothing is deployed" in deployed.checkout.fails(sys.executable, "scripts/deploy_model.py", *command)


def test_feedback_on_receipts_of_before_is_taken_after_the_models_key_has_changed(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    former = checkout.root / ".secrets" / "former.key"
    checkout.run(sys.executable, "scripts/manage_models.py", "keygen", str(former))
    told = json.loads(checkout.deploy_model("receipt-key", "development", "--former", str(former), "--json").stdout)
    key = ReceiptKey.derive(read_key_file(former), "development", "fraud-detection-dev")
    assert told["key"] == key.key_id
    receipt = ReceiptSigner(key, deployed.second).sign(time.time(), [0.1], [0])[1][0]
    body = {"items": [{"receipt": receipt, "was_fraud": False}]}
    headers = {"X-API-Key": checkout.api_key()}
    deadline = time.monotonic() + 10
    while (answer := httpx.post(f"{checkout.url}/feedback", json=body, headers=headers, trust_env=False)).is_error:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.2)
    assert answer.json()["taken"] == 1
