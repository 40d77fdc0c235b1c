"""The workflows do what can be done by hand: every step is a make target or a script that is there."""

import json
import os
import re
import shutil
import subprocess
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


_MAY_BE_EMPTY = {"COMMENT_TOKEN", "ENDPOINT_URL", "GITHUB_TOKEN", "PYTHON_IMAGE"}
"""What is asked without it fails, and has no default that is the runner's own."""
_REQUIRE = "scripts/require_settings.sh "


def _required(commands: str) -> set[str]:
    lines = (line.strip() for line in commands.splitlines())
    return {name for line in lines if line.startswith(_REQUIRE) for name in line.removeprefix(_REQUIRE).split()}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_job_fails_where_a_setting_that_it_uses_is_empty(path: Path) -> None:
    for name, job in yaml.safe_load(path.read_text())["jobs"].items():
        used = set(re.findall(r"\b(?:vars|secrets)\.(\w+)", json.dumps(job))) - _MAY_BE_EMPTY
        required = {word for step in job["steps"] for word in (step.get("with") or {}).get("settings", "").split()}
        required |= _required("\n".join(step.get("run", "") for step in job["steps"]))
        assert used == required, name


def test_a_job_of_gitlab_fails_where_a_setting_is_empty() -> None:
    text = (SOURCE / ".gitlab-ci.yml").read_text()
    header = text.partition("\nstages:")[0].partition("# Variables:")[2].partition("# Scheduled")[0]
    listed = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", header))
    assert _required(text.replace("    - scripts/", "    scripts/")) == listed - _MAY_BE_EMPTY


def test_a_setting_that_nobody_has_defined_is_named() -> None:
    script = SOURCE / "scripts" / "require_settings.sh"
    environment = {"PATH": os.environ["PATH"], "GIVEN": "of $(touch owned)", "EMPTY": ""}
    run = {"env": environment, "capture_output": True, "text": True, "timeout": 60}
    done = subprocess.run([script, "GIVEN", "EMPTY", "MISSING"], check=False, **run)
    assert done.returncode == 2
    assert [line.partition(" is empty; ")[0] for line in done.stderr.splitlines()] == ["error: EMPTY", "error: MISSING"]
    assert subprocess.run([script, "GIVEN"], check=False, **run).returncode == 0


@pytest.mark.parametrize("head", ["--upload-pack=touch owned", "main", "", "0" * 39, "0" * 40 + "\n--all"])
def test_a_merge_requests_head_is_the_name_of_a_commit(head: str, tmp_path: Path) -> None:
    text = (SOURCE / ".gitlab-ci.yml").read_text().replace("!reference ", "")
    check = yaml.safe_load(text)["preview-stacks"]["script"][0]
    ended = [
        subprocess.run(
            ["bash", "-eo", "pipefail", "-c", check], env={"HEAD": each}, cwd=tmp_path, timeout=60
        ).returncode
        for each in (head, "0123456789" * 4)
    ]
    assert ended == [2, 0]


@pytest.mark.parametrize(("status", "code"), [("behind", 0), ("identical", 0), ("ahead", 2), ("diverged", 2), ("", 2)])
def test_a_tag_of_an_unmerged_commit_is_not_released(status: str, code: int, tmp_path: Path) -> None:
    jobs = yaml.safe_load((SOURCE / ".github" / "workflows" / "deploy.yml").read_text())["jobs"]
    steps = jobs["register"]["steps"]
    check = next(number for number, step in enumerate(steps) if "compare/" in step.get("run", ""))
    assert check < next(number for number, step in enumerate(steps) if "prepare" in step.get("uses", ""))
    forge = tmp_path / "gh"
    forge.write_text(f"#!/bin/sh\necho {status}\n")
    forge.chmod(0o755)
    variables = {
        "GITHUB_REPOSITORY": "acme/fraud",
        "BRANCH": "main",
        "GITHUB_SHA": "0" * 40,
        "GITHUB_REF_NAME": "model-v1",
    }
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **variables}
    command = ["bash", "-e", "-c", steps[check]["run"]]
    assert subprocess.run(command, env=environment, check=False, timeout=60).returncode == code


def test_a_tag_of_an_unmerged_commit_is_not_released_on_gitlab(tmp_path: Path) -> None:
    text = (SOURCE / ".gitlab-ci.yml").read_text().replace("!reference ", "")
    check = "\n".join(yaml.safe_load(text)["register"]["script"][:3])
    git = ("git", "-c", "user.name=somebody", "-c", "user.email=somebody@example.com", "-C")

    def ran(place: Path, *arguments: str) -> None:
        subprocess.run([*git, str(place), *arguments], check=True, capture_output=True, timeout=60)

    origin, clone = tmp_path / "origin", tmp_path / "clone"
    origin.mkdir()
    ran(origin, "init", "--quiet", "--initial-branch", "main")
    for name, branch in (("model-v1", "main"), ("later", "main"), ("model-v2", "topic")):
        ran(origin, "checkout", "--quiet", "-B", branch)
        ran(origin, "commit", "--quiet", "--allow-empty", "--message", name)
        ran(origin, "tag", name)
    environment = {"PATH": os.environ["PATH"], "CI_DEFAULT_BRANCH": "main", "CI_COMMIT_TAG": "model-v2"}
    for tag, depth, code in (("model-v1", "1", 0), ("model-v1", "9", 0), ("model-v2", "1", 2), ("model-v2", "9", 2)):
        shutil.rmtree(clone, ignore_errors=True)
        ran(tmp_path, "clone", "--quiet", "--depth", depth, "--branch", tag, origin.as_uri(), str(clone))
        done = subprocess.run(["bash", "-eo", "pipefail", "-c", check], cwd=clone, env=environment, timeout=60)
        assert done.returncode == code, (tag, depth)
