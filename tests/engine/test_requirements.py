"""An environment that requires a validation and an approval, and the glass that is broken for a version without."""

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from tests.checkout import Checkout, Deployed, wait_until


def _template(checkout: Checkout, path: Path, requires: list[str]) -> tuple[str, ...]:
    template = yaml.safe_load((checkout.root / "config/deployment_templates/development.yaml").read_text())
    template["api_endpoint"] = checkout.url
    template["gates"]["requires"] = requires
    path.write_text(yaml.safe_dump(template))
    return ("development", "--config", str(path))


def _audited(checkout: Checkout, action: str) -> list[dict[str, Any]]:
    rows = json.loads(checkout.manage_models("audit", "--json").stdout)
    return [row for row in rows if row["action"] == action]


def _status(checkout: Checkout, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(checkout.deploy_model("status", "development", "--json", code=code).stdout)
    return found


def test_a_version_with_missing_requirements_is_refused_or_serves_under_break_glass(
    deployed: Deployed, tmp_path: Path
) -> None:
    checkout, served = deployed.checkout, deployed.checkout.served_model()
    version = next(each for each in (deployed.second, deployed.first) if each != served)
    where = _template(checkout, tmp_path / "strict.yaml", ["validated", "approved"])
    refused = checkout.deploy_model("deploy", version, *where, code=19).stderr
    assert f"validated: {version} is trained" in refused
    assert f"update-status {version} validated --evidence FILE" in refused
    assert f"approve {version} --evidence FILE" in refused
    checkout.deploy_model("deploy", version, *where, "--force", "--reason", "hurry", code=19)
    checkout.deploy_model("deploy", version, *where, "--break-glass", "--reason", "hurry", code=2)
    checkout.deploy_model("deploy", version, *where, "--break-glass", "--until", "1h", code=2)
    checkout.deploy_model("deploy", version, *where, "--break-glass", "--reason", "x", "--until", "30d", code=1)
    assert checkout.served_model() == served
    assert not _audited(checkout, "break-glass")

    glass = ("--break-glass", "--reason", "fraud wave", "--until", "1h")
    checkout.deploy_model("deploy", version, *where, *glass)
    assert checkout.served_model() == version
    (record,) = _audited(checkout, "break-glass")
    assert (record["reason"], record["details"]["missing"]) == ("fraud wave", ["validated", "approved"])
    rows = json.loads(checkout.manage_models("audit", "--json").stdout)
    mine = [row["action"] for row in rows if row["model_id"] == version]
    assert mine.index("break-glass") < len(mine) - 1 - mine[::-1].index("deploy"), "recorded before it takes effect"
    assert _status(checkout)["break_glass"]["reason"] == "fraud wave"
    (current,) = [
        row for row in json.loads(checkout.deploy_model("history", "development", "--json").stdout) if row["current"]
    ]
    assert current["break_glass"]["missing"] == ["validated", "approved"]
    assert "breakGlass" in checkout.pulumi("stack", "output", "--stack", "dev", "--json").stdout

    now = datetime.now(UTC)
    began, over = ((now - timedelta(minutes=each)).isoformat(timespec="seconds") for each in (61, 1))
    state = checkout.root / ".state" / ".pulumi" / "stacks" / "fraud-detection" / "dev.json"
    known = re.sub(r'("until": ?")[^"]*', rf"\g<1>{over}", state.read_text())
    state.write_text(re.sub(r'("at": ?")[^"]*', rf"\g<1>{began}", known))
    assert any("approved" in each for each in _status(checkout, code=25)["lacking"])
    health = json.loads(checkout.deploy_model("health", current["deployment_id"], "--json", code=25).stdout)
    assert [check["name"] for check in health["checks"] if not check["healthy"]] == ["requirements"]
    assert "its break-glass ended" in checkout.deploy_model("deploy", version, *where, code=25).stderr
    assert "gates.requires: approved" in checkout.fails("pulumi", "preview", "--stack", "dev", "--non-interactive")

    (tmp_path / "report.txt").write_text("recall 0.93")
    mine = ("--evidence", str(tmp_path / "report.txt"), "--reason", "mine")
    checkout.manage_models("approve", version, *mine, code=19)
    checkout.approve(version)
    checkout.deploy_model("deploy", version, *where)
    checkout.pulumi("preview", "--stack", "dev")
    found = _status(checkout)
    assert (found["lacking"], found["break_glass"]) == ([], {})
    shown = json.loads(checkout.manage_models("info", version, "--json").stdout)
    assert list(shown["serving"]) == ["development"]
    assert shown["approvals"][0]["by"] == "reviewer"


def test_a_withdrawn_approval_blocks_the_rollback(deployed: Deployed, tmp_path: Path) -> None:
    checkout, first, second = deployed.checkout, deployed.first, deployed.second
    checkout.ensure(first)
    checkout.approve(second)
    where = _template(checkout, tmp_path / "strict.yaml", ["validated", "approved"])
    checkout.deploy_model("deploy", second, *where)
    checkout.manage_models("approve", second, "--withdraw", "--reason", "the labels were wrong")
    assert "the labels were wrong" in checkout.fails("pulumi", "preview", "--stack", "dev", "--non-interactive")
    _status(checkout, code=25)
    # The version before served here when nothing was required: the way back is open.
    checkout.rollback()
    assert checkout.served_model() == first
    refused = checkout.deploy_model("rollback", "development", "--to", second, code=19).stderr
    assert "the labels were wrong" in refused


def test_a_withdrawn_approval_of_the_stable_version_keeps_no_candidate_there(
    deployed: Deployed, tmp_path: Path
) -> None:
    checkout, stable, candidate = deployed.checkout, deployed.first, deployed.second
    where = _template(checkout, tmp_path / "strict.yaml", ["validated", "approved"])
    checkout.ensure(candidate)
    for version in (candidate, stable):
        checkout.approve(version)
    checkout.deploy_model("deploy", stable, *where, "--strategy", "blue_green", "--keep-minutes", "0")
    assert checkout.served_model() == stable
    _leave_a_candidate(checkout, candidate, where)
    checkout.manage_models("approve", stable, "--withdraw", "--reason", "the labels were wrong")
    aborted = checkout.deploy_model("abort", "development")
    assert not _status(checkout, code=25)["rollout"].get("candidate")
    assert checkout.served_model() == stable, "what served before serves on"
    told = [line for line in f"{aborted.stdout}{aborted.stderr}".splitlines() if "serves on in development" in line]
    assert len(told) == 1, aborted
    assert "the labels were wrong" in told[0]
    # Nothing new begins with it: a plain update is refused, and so is the way back to it.
    assert "the labels were wrong" in checkout.fails("pulumi", "preview", "--stack", "dev", "--non-interactive")
    assert checkout.rollback()["model_id"] == candidate
    assert checkout.served_model() == candidate
    assert "the labels were wrong" in checkout.deploy_model("rollback", "development", code=19).stderr
    checkout.manage_models("approve", candidate, "--withdraw", "--reason", "these, too")
    checkout.deploy_model("down", "development")


def _leave_a_candidate(checkout: Checkout, version: str, where: tuple[str, ...]) -> None:
    """Begins a rollout whose step lasts an hour, and ends the command that watches it."""
    command = [sys.executable, "scripts/deploy_model.py", "deploy", version, *where]
    command += ["--strategy", "canary", "--steps", "30,100", "--interval", "1h"]

    def stands() -> bool:
        status = _status(checkout)
        return status["rollout"].get("weight") == 30 and not status["held_by"]

    def wait(_running: object) -> None:
        wait_until(stands, 240)

    checkout.kill(command, wait)
