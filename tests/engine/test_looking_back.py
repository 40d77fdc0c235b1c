"""What ran when, what differs, what is measured, and what a deploy is stopped by: on a real stack."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tests.checkout import SOURCE, Deployed


def _rows(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)
    return found


def test_history_lists_deployments_and_a_rollback_deploys_one_of_them(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    time.sleep(1.1)
    then = datetime.now(UTC).isoformat(timespec="seconds")
    time.sleep(1.1)
    checkout.ensure(deployed.second)
    (served,) = _rows(checkout.deploy_model("history", "development", "--at", then, "--json").stdout)
    assert served["model_id"] == deployed.first
    assert _rows(checkout.deploy_model("history", "development", "--at", "2001-01-01", "--json").stdout) == []
    checkout.deploy_model("rollback", "development", "--at", then)
    assert checkout.served_model() == deployed.first
    output = checkout.fails(
        sys.executable, "scripts/deploy_model.py", "rollback", "development", "--at", "2001-01-01T00:00Z"
    )
    assert "nothing was deployed in development at 2001-01-01T00:00:00Z" in output


def test_two_deployments_are_compared(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    checkout.ensure(deployed.second)
    new, old = _rows(checkout.deploy_model("history", "development", "--json").stdout)[:2]
    output = checkout.deploy_model("diff", str(old["deployment_id"]), str(new["deployment_id"]), "--json").stdout
    differences = {row["what"]: (row["a"], row["b"]) for row in _rows(output)}
    assert differences["model version"] == (old["model_id"], new["model_id"])
    assert "model digest" in differences
    assert "fraud-detection:deployment.environment" not in differences


def test_the_endpoint_tells_what_it_measures_and_a_breach_is_an_exit_code(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    checkout.predict()
    alerts = {row["name"]: row for row in _rows(checkout.deploy_model("alerts", "development", "--json").stdout)}
    assert alerts["error rate"]["breached"] is False
    assert alerts["latency p95"]["value"] is not None
    watched = json.loads(checkout.deploy_model("watch", "development", "--json").stdout)
    assert watched["total"]["requests"] >= 1
    template = yaml.safe_load((checkout.root / "config/deployment_templates/development.yaml").read_text())
    template["api_endpoint"] = checkout.url
    template["monitoring_config"]["alert_thresholds"]["memory_utilization"] = 0.000001
    strict = checkout.root / "strict.yaml"
    strict.write_text(yaml.safe_dump(template))
    checkout.deploy_model("deploy", deployed.first, "development", "--config", str(strict))
    output = checkout.deploy_model("alerts", "development", code=20).stdout
    assert "BREACHED" in output
    checkout.deploy_model("alerts", "development", "--api-key-file", "/nowhere", code=13)


def test_a_gate_stops_a_deploy_before_anything_changes_and_force_is_audited(deployed: Deployed, tmp_path: Path) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    template = yaml.safe_load((checkout.root / "config/deployment_templates/development.yaml").read_text())
    template["api_endpoint"] = checkout.url
    template["gates"] = {"metric_floors": {"nobodys_metric": 1.0}}
    strict = tmp_path / "gates.yaml"
    strict.write_text(yaml.safe_dump(template))
    command = ("deploy", deployed.second, "development", "--config", str(strict))
    output = checkout.deploy_model(*command, code=19).stderr
    assert "metric floor: nobodys_metric is not in the manifest" in output
    assert checkout.served_model() == deployed.first
    checkout.deploy_model(*command, "--force", code=2)
    checkout.deploy_model(*command, "--force", "--reason", "of the tests")
    assert checkout.served_model() == deployed.second
    records = _rows(checkout.manage_models("audit", "--model", deployed.second, "--json").stdout)
    assert [record for record in records if record["action"] == "force" and record["reason"] == "of the tests"]
    (refused,) = [record for record in records if record["action"] == "refused"]
    assert "nobodys_metric" in str(refused["reason"])


def test_a_deploy_and_a_rollback_are_records_before_the_update_and_after_it(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    seen = len(_rows(checkout.manage_models("audit", "--json").stdout))
    checkout.deploy(deployed.second)
    checkout.rollback()
    records = _rows(checkout.manage_models("audit", "--since-sequence", str(seen), "--json").stdout)
    first, second = deployed.second, deployed.first
    gates = records.pop(0)
    assert (gates["action"], gates["model_id"], gates["details"]["outcome"]) == ("gates", first, "passed")
    told = [(record["action"], record["model_id"], record["details"]) for record in records]
    assert [(action, model, about["environment"], about.get("outcome")) for action, model, about in told] == [
        ("deploy", first, "development", None),
        ("deploy", first, "development", "succeeded"),
        ("rollback", second, "development", None),
        ("rollback", second, "development", "succeeded"),
    ]
    assert [about["intent"] for _, _, about in told[::2]] == [f"deploy {first}", f"rollback {second} (from {first})"]
    new, old = _rows(checkout.deploy_model("history", "development", "--json").stdout)[:2]
    # The engine's history has whole seconds.
    assert str(records[0]["at"])[:19] <= str(old["started_at"])[:19]
    assert str(records[2]["at"])[:19] <= str(new["started_at"])[:19]


def test_a_denied_deploy_runs_no_update_and_writes_one_record(deployed: Deployed, tmp_path: Path) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    (tmp_path / "policy.json").write_text('{"default": {"role": "reader"}}')
    seen = len(_rows(checkout.manage_models("audit", "--json").stdout))
    updates = len(json.loads(checkout.pulumi("stack", "history", "--stack", "dev", "--json").stdout))
    checkout.environment["MODEL_ACCESS_POLICY"] = str(tmp_path / "policy.json")
    try:
        for command in (
            ("deploy", deployed.second, "development"),
            ("rollback", "development"),
            ("down", "development"),
        ):
            assert "needs the role promoter" in checkout.deploy_model(*command, code=19).stderr
    finally:
        del checkout.environment["MODEL_ACCESS_POLICY"]
    records = _rows(checkout.manage_models("audit", "--since-sequence", str(seen), "--json").stdout)
    attempted = [(record["action"], record["details"]["attempted"]) for record in records]
    assert attempted == [("refused", "deploy"), ("refused", "rollback"), ("refused", "destroy")]
    assert len(json.loads(checkout.pulumi("stack", "history", "--stack", "dev", "--json").stdout)) == updates
    assert checkout.served_model() == deployed.first


def test_the_integration_tests_of_releases_pass_on_it(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    variables = {
        "ENDPOINT_URL": checkout.url,
        "MODEL_ID": deployed.first,
        "API_KEY_FILE": str(checkout.root / ".secrets" / "api_key"),
        "MODEL_REGISTRY_URL": str(checkout.root / "registry"),
        "MODEL_KEY_FILE": str(checkout.root / ".secrets" / "model.key"),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/integration"]
    done = subprocess.run(
        command, cwd=SOURCE, env={**os.environ, **variables}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "5 passed" in done.stdout
