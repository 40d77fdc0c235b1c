"""A model version goes up, another one takes its place, and the way back works: real engine, real endpoint."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from tests.checkout import Checkout, Deployed, wait_until
from tests.engine.load import constant_load


def _example_body(deployed: Deployed) -> object:
    return json.loads((deployed.checkout.root / "models" / "example_transaction.json").read_text())


def test_the_endpoint_answers_predictions_of_the_model_that_was_deployed(deployed: Deployed) -> None:
    deployed.checkout.ensure(deployed.first)
    answer = deployed.checkout.predict()
    assert answer.status_code == 200
    assert answer.json()["model_id"] == deployed.first
    assert all(0 <= item["fraud_probability"] <= 1 for item in answer.json()["predictions"])


def test_a_second_up_changes_nothing_and_says_so(deployed: Deployed) -> None:
    deployed.checkout.ensure(deployed.first)
    process = deployed.checkout.status()["serving"]["pid"]
    output = deployed.checkout.deploy_model("up", "development").stdout
    assert "nothing to change" in output
    assert deployed.first in output
    assert deployed.checkout.status()["serving"]["pid"] == process


def test_plain_pulumi_and_the_tool_leave_the_same_state(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    checkout.pulumi("preview", "--stack", "dev", "--expect-no-changes")
    checkout.pulumi("config", "set", "--stack", "dev", "modelVersion", deployed.second)
    checkout.pulumi("up", "--stack", "dev", "--yes", "--skip-preview")
    assert checkout.served_model() == deployed.second
    assert checkout.deploy(deployed.second)["changed"] is False


def test_pulumi_history_shows_the_updates_of_pulumi_and_of_the_tool(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.deploy(deployed.first)
    history = json.loads(checkout.pulumi("stack", "history", "--stack", "dev", "--json").stdout)
    assert history[0]["message"].startswith(f"deploy {deployed.first}") or history[0]["resourceChanges"].keys() == {
        "same"
    }
    assert history[0]["config"]["fraud-detection:modelVersion"]["value"] == deployed.first


def test_no_request_fails_while_versions_change_under_constant_load(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    with constant_load(checkout.url, checkout.api_key(), _example_body(deployed)) as answers:
        checkout.deploy(deployed.second)
        wait_until(lambda: deployed.second in answers.models)
        checkout.rollback()
        wait_until(lambda: checkout.served_model() == deployed.first)
    print(f"{answers.total} requests during a deploy and a rollback, {answers.failed} failed: {dict(answers.statuses)}")
    assert answers.total > 200, "the load was too thin to tell"
    assert answers.failed == 0
    assert answers.models == [deployed.first, deployed.second]
    assert checkout.served_model() == deployed.first


def test_a_second_rollback_deploys_the_version_before_the_first_one(deployed: Deployed) -> None:
    checkout = deployed.checkout
    for model_id in (deployed.first, deployed.second, deployed.third):
        checkout.deploy(model_id)
    assert checkout.rollback()["model_id"] == deployed.second
    assert checkout.rollback()["model_id"] == deployed.first
    assert checkout.served_model() == deployed.first
    checkout.pulumi("preview", "--stack", "dev", "--expect-no-changes")


def test_rolling_back_to_a_chosen_version(deployed: Deployed) -> None:
    checkout = deployed.checkout
    for model_id in (deployed.first, deployed.second, deployed.third):
        checkout.deploy(model_id)
    assert checkout.rollback("--to", deployed.first)["model_id"] == deployed.first
    assert checkout.served_model() == deployed.first


def test_list_deployments_and_health_tell_what_runs(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    checkout.deploy(deployed.second)
    newest, before = checkout.list_deployments()[:2]
    assert (newest["model_id"], newest["current"]) == (deployed.second, True)
    assert (before["model_id"], before["current"]) == (deployed.first, False)
    report = json.loads(checkout.deploy_model("health", newest["deployment_id"], "--json").stdout)
    (golden,) = [check for check in report["checks"] if check["name"] == "golden rows"]
    assert golden["healthy"]
    assert "are answered as they were when the version was registered" in golden["detail"]
    assert report["healthy"] is True
    assert {check["name"] for check in report["checks"]} == {"api", "golden rows", "model", "requirements", "resources"}
    superseded = checkout.deploy_model("health", before["deployment_id"], code=13)
    assert "no longer deployed" in superseded.stdout


def _kill_all(checkout: Checkout) -> None:
    """Kills what serves and its supervisor, each of which would start the other one again."""
    for process in (checkout.status()["serving"]["pid"], checkout.status()["supervisor_pid"]):
        os.kill(process, signal.SIGSTOP)
    for process in (checkout.status()["serving"]["pid"], checkout.status()["supervisor_pid"]):
        os.kill(process, signal.SIGKILL)
    wait_until(lambda: not checkout.processes())


def test_a_killed_supervisor_is_replaced_and_nothing_has_changed(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    killed = checkout.status()["supervisor_pid"]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: checkout.status()["supervisor_pid"] != killed)
    assert checkout.served_model() == deployed.first
    assert checkout.deploy(deployed.first)["changed"] is False


def test_a_dead_process_is_found_by_refresh_and_started_again_by_up(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    _kill_all(checkout)
    assert "1 to delete" in checkout.pulumi("refresh", "--stack", "dev", "--preview-only").stdout
    checkout.fails("pulumi", "preview", "--stack", "dev", "--expect-no-changes", "--non-interactive")
    checkout.pulumi("up", "--stack", "dev", "--yes", "--skip-preview")
    assert checkout.served_model() == deployed.first


def test_a_dead_process_is_found_by_a_second_up_too(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    _kill_all(checkout)
    assert checkout.deploy(deployed.first)["changed"] is True
    assert checkout.served_model() == deployed.first


def test_a_serving_process_that_crashes_is_started_again(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    crashed = checkout.status()["serving"]["pid"]
    os.kill(crashed, signal.SIGKILL)
    wait_until(lambda: checkout.status()["restarts"] >= 1 and checkout.status()["serving"]["pid"] != crashed)
    assert checkout.served_model() == deployed.first


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]


def test_no_key_is_in_state_logs_or_config(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    checkout.predict()
    secrets = {path: path.read_text().strip() for path in _files(checkout.root / ".secrets")}
    clear = {path.name: text for path, text in secrets.items() if path.name != "api_keys.json"}
    assert set(clear) >= {"passphrase", "model.key", "api_key"}
    paths = [checkout.root / name for name in (".state", "logs", ".run", "registry", "Pulumi.dev.yaml")]
    files = [file for path in paths for file in _files(path)]
    assert len(files) > 10
    for file in files:
        content = file.read_bytes()
        for name, text in clear.items():
            assert text.encode() not in content, f"{name} is in {file}"
    assert all(path.stat().st_mode & 0o077 == 0 for path in secrets)


def test_down_stops_everything_and_keeps_registry_and_history(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    before = len(checkout.list_deployments())
    checkout.deploy_model("down", "development")
    assert checkout.processes() == []
    assert len(checkout.list_deployments()) == before
    assert len(json.loads(checkout.deploy_model("list-models", "--json").stdout)) == 3
    assert "nothing is deployed" in checkout.deploy_model("down", "development").stdout
    checkout.deploy_model("rollback", "development", code=3)
    checkout.deploy_model("up", "development")
    assert checkout.served_model() == deployed.first


def test_the_state_names_the_provider_and_holds_no_code(deployed: Deployed) -> None:
    deployed.checkout.ensure(deployed.first)
    state = Path(deployed.checkout.root / ".state/.pulumi/stacks/fraud-detection/dev.json").read_text()
    resources = json.loads(state)["checkpoint"]["latest"]["resources"]
    (process,) = [item for item in resources if item["type"].endswith(":LocalProcess")]
    assert len(process["inputs"]["__provider"]) < 200


def test_a_deploy_that_fails_keeps_the_old_endpoint_under_load(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    before = _counts(checkout)
    config, serving = checkout.stack_file.read_bytes(), checkout.status()["serving"]
    api_keys = checkout.root / ".secrets" / "api_keys.json"
    right = api_keys.read_bytes()
    with constant_load(checkout.url, checkout.api_key(), _example_body(deployed)) as answers:
        try:
            # The service reads this file when it starts: the new process cannot get ready, the old one has it.
            api_keys.write_text("{}")
            failed = checkout.deploy_model("deploy", deployed.second, "development", code=12)
        finally:
            api_keys.write_bytes(right)
    assert f"{deployed.first} goes on serving" in failed.stderr
    assert (answers.failed, answers.models) == (0, [deployed.first])
    assert checkout.status()["serving"] == serving
    assert checkout.stack_file.read_bytes() == config
    checkout.pulumi("preview", "--stack", "dev", "--expect-no-changes")
    after = _counts(checkout)
    assert (after["started"], after["failed"]) == (before["started"] + 1, before["failed"] + 1)
    assert after["success_rate"] == after["succeeded"] / after["started"] < 1
    assert f"  {after['success_rate']:.0%}" in checkout.deploy_model("stats").stdout


def _counts(checkout: Checkout) -> dict[str, Any]:
    """How the deployments of this test's stack ended."""
    command = ("stats", "--environment", "development", "--since", "2026-01-01", "--json")
    rows: list[dict[str, Any]] = json.loads(checkout.deploy_model(*command).stdout)
    return rows[0]
