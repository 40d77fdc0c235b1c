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
    scripts = re.findall(r"scripts/\w+\.(?:py|sh)", commands)
    assert named or scripts
    assert set(named) <= targets
    for script in scripts:
        assert (SOURCE / script).exists()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_somebody_writes_is_never_part_of_a_command(path: Path) -> None:
    for step in _steps(path):
        assert "${{" not in step.get("run", ""), "a value comes through the environment"


def test_a_release_goes_from_registration_over_staging_to_an_approval_and_production() -> None:
    jobs = yaml.safe_load((SOURCE / ".github" / "workflows" / "deploy.yml").read_text())["jobs"]
    assert list(jobs) == ["register", "sign", "staging", "approval", "production"]
    assert jobs["staging"]["needs"] == ["register", "sign"]
    assert jobs["approval"]["needs"] == ["register", "staging"]
    assert jobs["production"]["needs"] == ["register", "approval"]
    assert jobs["production"]["steps"] == jobs["staging"]["steps"]
    assert any("make --silent test-endpoint" in step.get("run", "") for step in jobs["staging"]["steps"])


def test_the_pipeline_of_gitlab_has_the_same_stages() -> None:
    text = (SOURCE / ".gitlab-ci.yml").read_text()
    content = yaml.safe_load(text.replace("!reference ", ""))
    for job in ("register", "sign", "staging", "approval", "production", "preview", "resume", "rollback", "drift"):
        assert job in content
