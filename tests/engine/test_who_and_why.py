"""Who deployed what, why, from which commit and in which run: commands and a plain `pulumi up`, on a real stack."""

import getpass
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.checkout import Checkout, Deployed

RUN = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_RUN_ID": "77",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "acme/fraud",
}
RUN_ADDRESS = "https://github.com/acme/fraud/actions/runs/77"
ACTOR = getpass.getuser()


@pytest.fixture(scope="module")
def commit(deployed: Deployed) -> str:
    """The commit of the checkout, which is a Git repository from here on."""
    root = deployed.checkout.root
    git = ("git", "-c", "user.name=dev", "-c", "user.email=dev@example.com")
    for command in (("init", "-q"), ("add", "Pulumi.yaml"), ("commit", "-qm", "A title of the commit")):
        subprocess.run([*git, *command], cwd=root, check=True, capture_output=True)
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, check=True, capture_output=True, text=True)
    return found.stdout.strip()


@pytest.fixture
def in_a_run(deployed: Deployed) -> Iterator[None]:
    """Commands run in a pipeline."""
    deployed.checkout.environment.update(RUN)
    yield
    for name in RUN:
        del deployed.checkout.environment[name]


def _rows(checkout: Checkout, *command: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(checkout.deploy_model(*command, "--json").stdout)
    return found


def _audited(checkout: Checkout, model_id: str, action: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(checkout.manage_models("audit", "--model", model_id, "--json").stdout)
    return [row for row in rows if row["action"] == action]


def _plain_up(checkout: Checkout, model_id: str, message: str) -> None:
    checkout.pulumi("config", "set", "modelVersion", model_id, "--stack", "dev")
    checkout.pulumi("up", "--yes", "--stack", "dev", "--message", message)


def test_a_reason_is_recorded_without_force(deployed: Deployed, commit: str, in_a_run: None) -> None:
    checkout = deployed.checkout
    other = deployed.second if checkout.served_model() != deployed.second else deployed.third
    checkout.deploy_model("deploy", other, "development", "--config", str(checkout.template), "--reason", "better\nf1")
    told = {"actor": ACTOR, "reason": "better f1", "commit": commit, "run": RUN_ADDRESS}
    for command in (("history", "development"), ("list-deployments", "--environment", "development")):
        newest, before = _rows(checkout, *command)[:2]
        assert {name: newest[name] for name in told} == told
        assert (newest["message"], newest["until"], before["until"]) == (f"deploy {other}", "", newest["finished_at"])
    table = checkout.deploy_model("history", "development").stdout
    assert all(each in table for each in ("better f1", RUN_ADDRESS, commit[:12], ACTOR))
    update = json.loads(checkout.pulumi("stack", "history", "--stack", "dev", "--json").stdout)[0]
    assert update["message"] == f"deploy {other}\n\nReason: better f1\nActor: {ACTOR}"
    begun, done = _audited(checkout, other, "deploy")[-2:]
    assert (begun["reason"], done["reason"], done["details"]["outcome"]) == ("better\nf1", "better\nf1", "succeeded")
    assert (done["details"]["commit"], done["details"]["run"]) == (commit, RUN_ADDRESS)


def test_a_plain_up_has_its_actor_reason_commit_and_run(deployed: Deployed, commit: str, in_a_run: None) -> None:
    checkout = deployed.checkout
    other = deployed.first if checkout.served_model() != deployed.first else deployed.second
    _plain_up(checkout, other, "callers complain")
    told = {"intent": "up", "actor": ACTOR, "reason": "callers complain", "commit": commit, "run": RUN_ADDRESS}
    for command in (("history", "development"), ("list-deployments", "--environment", "development")):
        newest = _rows(checkout, *command)[0]
        assert {name: newest[name] for name in told} == told
    (record,) = _audited(checkout, other, "up")
    assert (record["actor"], record["details"]["environment"]) == (ACTOR, "development")
    seen = len(json.loads(checkout.manage_models("audit", "--json").stdout))
    checkout.pulumi("preview", "--stack", "dev", "--expect-no-changes")
    assert len(json.loads(checkout.manage_models("audit", "--json").stdout)) == seen, "a preview changes nothing"


def test_list_shows_where_each_version_serves_after_a_plain_up(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.second)
    _plain_up(checkout, deployed.first, "by hand")
    for program in (checkout.manage_models("list", "--json"), checkout.deploy_model("list-models", "--json")):
        rows = {row["model_id"]: row for row in json.loads(program.stdout)}
        assert [each for each in rows if rows[each]["serving"]] == [deployed.first]
        assert rows[deployed.first]["status"] == "deployed"
        assert rows[deployed.second]["status"] != "deployed"
        assert rows[deployed.second]["ran"] == ["development"]
    assert json.loads(checkout.manage_models("stats", "--json").stdout)["serving"] == {"development": deployed.first}


def test_a_version_with_the_status_deployed_is_not_told_as_serving(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    version = checkout.register("xgboost_model.joblib")
    checkout.manage_models("update-status", version, "deployed")
    rows = {row["model_id"]: row for row in json.loads(checkout.manage_models("list", "--json").stdout)}
    assert (rows[version]["status"], rows[version]["serving"]) == ("deployed", {})
    assert json.loads(checkout.manage_models("info", version, "--json").stdout)["serving"] == {}
    shown = json.loads(checkout.manage_models("info", deployed.first, "--json").stdout)
    assert list(shown["serving"]) == ["development"]
    listed = checkout.deploy_model("list-models").stdout.splitlines()
    assert [line.split()[0] for line in listed if "development 20" in line] == [deployed.first]
    checkout.manage_models("update-status", version, "validated", "--evidence", "models/example_transaction.json")


def test_an_update_goes_on_where_the_audit_log_cannot_be_written(deployed: Deployed) -> None:
    checkout = deployed.checkout
    _plain_up(checkout, deployed.first, "first")
    log = checkout.root / "registry" / "audit"
    hidden = log.with_name("audit.away")
    log.rename(hidden)
    log.write_text("no directory")
    try:
        checkout.pulumi("config", "set", "modelVersion", deployed.second, "--stack", "dev")
        output = checkout.pulumi("up", "--yes", "--stack", "dev", "--message", "without a log").stdout
        assert "the audit log has no record of this update" in output
        listed = checkout.deploy_model("history", "development", "--json")
        newest = json.loads(listed.stdout)[0]
        assert (newest["model_id"], newest["actor"], newest["reason"]) == (deployed.second, "", "without a log")
        assert "some actors are not known: the audit log cannot be read" in listed.stderr
    finally:
        log.unlink()
        hidden.rename(log)


def test_a_date_means_the_day(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    checkout.ensure(deployed.second)
    history = _rows(checkout, "history", "development")
    today = datetime.now(UTC).date()
    found = checkout.deploy_model("history", "development", "--at", today.isoformat(), "--json")
    assert json.loads(found.stdout) == [row for row in history if row["from"][:10] == today.isoformat()]
    assert f"deployments served in development on {today}; choose one by its time, such as --at 20" in found.stderr
    yesterday = (today - timedelta(days=1)).isoformat()
    told = checkout.deploy_model("history", "development", "--at", yesterday).stdout
    assert f"nothing served then; the first deployment in development is of {history[-1]['from']}" in told
    refused = checkout.deploy_model("rollback", "development", "--at", today.isoformat(), code=2).stderr
    assert f"--at {history[1]['from']}   {history[1]['from']} to {history[1]['until']} {deployed.first}" in refused
    assert checkout.served_model() == deployed.second
    refused = checkout.deploy_model("why", "development", "--at", today.isoformat(), code=2).stderr
    assert f"--at {history[0]['from']}   {history[0]['from']} to now {deployed.second} by {ACTOR}" in refused
    checkout.rollback("--at", history[1]["from"], "--reason", "as it was")
    assert checkout.served_model() == deployed.first
    assert _rows(checkout, "history", "development")[0]["reason"] == "as it was"
    missing = checkout.deploy_model("rollback", "development", "--at", yesterday, code=18).stderr
    assert f"nothing was deployed in development on {yesterday} (UTC)" in missing


def test_deploy_and_rollback_take_every_name_of_a_version(deployed: Deployed) -> None:
    checkout, first, second = deployed.checkout, deployed.first, deployed.second
    numbers = {
        row["model_id"]: row["version"]
        for row in json.loads(checkout.manage_models("list", "--name", "fraud_detector", "--json").stdout)
    }
    checkout.manage_models("alias", "set", "fraud_detector", "champion", first)
    checkout.ensure(second)
    checkout.ensure(first)
    for name, means in (
        (f"fraud_detector:{numbers[second]}", second),
        ("fraud_detector@champion", first),
        (f"models:/fraud_detector/{numbers[second]}", second),
        (f"exports/{first}.bundle", first),
        (second, second),
    ):
        assert checkout.rollback("--to", name)["model_id"] == means
    (latest,) = [model_id for model_id, number in numbers.items() if number == max(numbers.values())]
    assert checkout.deploy("fraud_detector:latest")["model_id"] == latest
    assert checkout.rollback("--to", "fraud_detector@champion")["model_id"] == first
    assert checkout.deploy(f"fraud_detector:{numbers[second]}")["model_id"] == second
    never = checkout.fails(sys.executable, "scripts/deploy_model.py", "rollback", "development", "--to", "other:5")
    assert "other has no version 5" in never


def test_the_whole_story_is_on_one_page(deployed: Deployed, commit: str, in_a_run: None) -> None:
    checkout, version = deployed.checkout, deployed.third
    checkout.ensure(deployed.first)
    checkout.approve(version)
    checkout.deploy_model(
        "deploy", version, "development", "--config", str(checkout.template), "--reason", "of the quarter"
    )
    story = json.loads(checkout.deploy_model("why", "development", "--json").stdout)
    assert (story["model_id"], story["until"], story["model"]["status"]) == (version, "", "deployed")
    assert story["trained"]["source"]["name"] == "xgboost_model.joblib"
    assert story["trained"]["lineage"]["parameters"]["n_estimators"]
    (registered,) = _audited(checkout, version, "register")
    assert (story["registered"]["by"], story["registered"]["audit"]) == (ACTOR, registered["sequence"])
    (report,) = story["validated"]["evidence"]
    assert (story["validated"]["reason"], report["name"]) == ("tests", "report.txt")
    (approval,) = story["approved"]
    assert (approval["by"], approval["reason"], story["not_approved"]) == ("reviewer", "read the report", "")
    (gates,) = story["gated"]
    assert gates["outcome"] == "passed"
    assert {each["name"]: each["passed"] for each in gates["gates"]} == {
        "feature schema": True,
        "signature": True,
        "dependency versions": True,
    }
    made = story["deployed"]
    assert (made["actor"], made["reason"]) == (ACTOR, "of the quarter")
    assert (made["commit"], made["run"]) == (commit, RUN_ADDRESS)
    assert made["audit"]["agrees"] is True
    assert story["before"]["model_id"] == deployed.first
    assert "rolled_back_from" not in story
    page = checkout.deploy_model("why", "development").stdout
    for each in (version, report["sha256"], "by reviewer (read the report)", "of the quarter", RUN_ADDRESS, commit):
        assert each in page
    assert max(len(line) for line in page.splitlines()) < 1500
    assert len(page.splitlines()) < 60


def test_a_rollbacks_story_names_what_was_rolled_back_from_and_the_past_is_told(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    checkout.ensure(deployed.second)
    time.sleep(1.1)
    then = datetime.now(UTC).isoformat(timespec="seconds")
    time.sleep(1.1)
    checkout.rollback("--reason", "worse on Mondays")
    story = json.loads(checkout.deploy_model("why", "development", "--json").stdout)
    assert story["rolled_back_from"]["model_id"] == deployed.second
    assert story["deployed"]["reason"] == "worse on Mondays"
    assert f"Rolled back from\n  {deployed.second}" in checkout.deploy_model("why", "development").stdout
    past = json.loads(checkout.deploy_model("why", "development", "--at", then, "--json").stdout)
    assert (past["model_id"], past["until"]) == (deployed.second, story["deployed"]["from"])
    none = checkout.deploy_model("why", "development", "--at", "2001-01-01T00:00Z", code=18).stderr
    assert "nothing was deployed in development at 2001-01-01T00:00:00Z" in none


def test_another_actor_in_the_message_than_in_the_audit_log_is_told(deployed: Deployed) -> None:
    """Whoever may update the stack writes its messages; the audit log asks the system."""
    checkout = deployed.checkout
    other = deployed.second if checkout.served_model() != deployed.second else deployed.first
    _plain_up(checkout, other, f"deploy {other}\n\nReason: none\nActor: somebody-else")
    assert _rows(checkout, "history", "development")[0]["actor"] == "somebody-else"
    page = checkout.deploy_model("why", "development").stdout
    assert f"names another actor: {ACTOR}" in page


def test_a_forced_deploy_tells_its_failed_gates(deployed: Deployed) -> None:
    import yaml

    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    template = yaml.safe_load(checkout.template.read_text())
    template["gates"]["metric_floors"] = {"accuracy": 0.1, "recall": 0.9999}
    strict = checkout.root / "strict.yaml"
    strict.write_text(yaml.safe_dump(template))
    command = ("deploy", deployed.second, "development", "--config", str(strict))
    checkout.deploy_model(*command, code=19)
    checkout.deploy_model(*command, "--force", "--reason", "fraud wave")
    story = json.loads(checkout.deploy_model("why", "development", "--json").stdout)
    forced = story["gated"][-1]
    assert (forced["check"], forced["reason"]) == ("force", "fraud wave")
    results = {(each["name"], each["detail"].split()[0]): each["passed"] for each in forced["results"]}
    assert (results["metric floor", "accuracy"], results["metric floor", "recall"]) == (True, False)
    page = checkout.deploy_model("why", "development").stdout
    assert "FAILED  metric floor: recall is" in page
    checkout.deploy(deployed.second)
