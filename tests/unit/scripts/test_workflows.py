"""The workflows do what can be done by hand: every step is a make target or a script that is there."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import SOURCE

WORKFLOWS = sorted((SOURCE / ".github" / "workflows").glob("*.yml"))


def _steps(path: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_workflow_runs_is_there(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (SOURCE / "Makefile").read_text(), re.MULTILINE))
    commands = "\n".join(step["run"] for step in _steps(path) if "run" in step)
    named = re.findall(r"\bmake (?:--\S+ )*([a-z-]+)", commands)
    assert named
    assert set(named) <= targets
    for script in re.findall(r"scripts/\w+\.py", commands):
        assert (SOURCE / script).exists()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_do_no_more_than_it_says(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert content["permissions"]["contents"] == "read"
    assert set(content["permissions"]) <= {"contents", "id-token", "pull-requests"}
    text = path.read_text()
    # What a stranger writes (a title, a branch) never becomes part of a command.
    assert not re.search(r"run:.*\$\{\{\s*github\.(event|head_ref)", text)


def test_a_release_goes_from_registration_over_staging_to_production() -> None:
    jobs = yaml.safe_load((SOURCE / ".github" / "workflows" / "deploy.yml").read_text())["jobs"]
    assert jobs["staging"]["needs"] == "register"
    assert jobs["production"]["needs"] == ["register", "staging"]
    assert jobs["production"]["environment"] == "production"
    assert jobs["production"]["steps"] == jobs["staging"]["steps"]
    assert any("make test-endpoint" in step.get("run", "") for step in jobs["staging"]["steps"])
