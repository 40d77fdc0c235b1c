"""An endpoint is paused and goes on, and its decisions are looked up: on a real stack."""

import csv
import io
import json
import sys
import time
from typing import Any

import yaml

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
    output = checkout.run(sys.executable, "scripts/manage_models.py", "audit", "--json").stdout
    records = [record for record in json.loads(output) if record["action"] in ("pause", "unpause")]
    assert [(record["action"], record.get("reason")) for record in records][-4:] == [
        ("pause", "scores look wrong"),
        ("pause", "scores look wrong"),
        ("unpause", "repaired"),
        ("unpause", "repaired"),
    ]


def test_decisions_are_looked_up_and_features_only_with_a_reason(deployed: Deployed) -> None:
    checkout = deployed.checkout
    template = yaml.safe_load(checkout.template.read_text())
    template["service"] = {"decision_log": "logs/decisions", "decision_log_features": True}
    changed = checkout.root / "logged.yaml"
    changed.write_text(yaml.safe_dump(template))
    checkout.deploy_model("deploy", deployed.first, "development", "--config", str(changed))
    answer = _predict(deployed)
    receipt = answer["predictions"][1]["receipt"]
    deadline = time.monotonic() + 30

    def looked_up(*more: str) -> dict[str, Any]:
        command = ("decisions", "development", "--receipt", receipt, *more, "--json")
        found: dict[str, Any] = json.loads(checkout.deploy_model(*command).stdout)
        return found

    while (found := looked_up())["logged"] is None:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert found["signature"] == "genuine"
    assert found["logged"]["fraud_probability"] == answer["predictions"][1]["fraud_probability"]
    assert (found["logged"]["model_id"], found["logged"]["request_id"]) == (deployed.first, answer["request_id"])
    assert "features" not in found["logged"]
    example = json.loads((checkout.root / "models" / "example_transaction.json").read_text())
    features = looked_up("--features", "--reason", "a complaint")["logged"]["features"]
    assert features == example["transactions"][1]
    printed = checkout.deploy_model("decisions", "development", "--since", "2001-01-01", "--csv").stdout
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert receipt in {row["receipt"] for row in rows}
    listed = json.loads(checkout.deploy_model("decisions", "development", "--since", "2001-01-01", "--json").stdout)
    assert len(listed) == len(rows) >= 2
    output = checkout.run(sys.executable, "scripts/manage_models.py", "audit", "--json").stdout
    looked_at = [record for record in json.loads(output) if record["action"] == "decision-features"]
    assert [record["reason"] for record in looked_at] == ["a complaint"]
    erase = ("erase-features", "development", "2001-01-01", "--reason", "asked for", "--json")
    assert json.loads(checkout.deploy_model(*erase).stdout)["erased"] == []
    altered = f"{receipt[:-1]}{'0' if receipt[-1] != '0' else '1'}"
    told = json.loads(checkout.deploy_model("decisions", "development", "--receipt", altered, "--json").stdout)
    assert (told["signature"], told["logged"]) == ("not genuine", None)
