"""gitlab-ci-local on GitLab's pipeline: it is valid, and each event runs the jobs that it should."""

import csv
import os
import subprocess
from pathlib import Path

import pytest

from tests.checkout import SOURCE
from tests.workflows.gitlab import gitlab_ci_local


@pytest.fixture(scope="session")
def program() -> Path:
    return gitlab_ci_local()


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of a repository on GitLab."""
    path = tmp_path_factory.mktemp("gitlab") / "fraud"
    subprocess.run(["git", "clone", "--quiet", str(SOURCE), str(path)], check=True, timeout=60)
    origin = ["remote", "set-url", "origin", "git@gitlab.com:acme/fraud.git"]
    subprocess.run(["git", *origin], cwd=path, check=True, timeout=60)
    return path


def _jobs(program: Path, repository: Path, **variables: str) -> set[str]:
    flags = [each for name, value in variables.items() for each in ("--variable", f"{name}={value}")]
    done = subprocess.run(
        [str(program), "--list-csv-all", *flags],
        cwd=repository,
        env={"PATH": os.environ["PATH"], "HOME": str(repository.parent), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = list(csv.DictReader(done.stdout[done.stdout.index("name;") :].splitlines(), delimiter=";"))
    return {row["name"] for row in rows if row["when"] != "never"}


@pytest.mark.parametrize(
    ("variables", "jobs"),
    [
        ({"CI_COMMIT_TAG": "model-v1"}, {"register", "sign", "staging", "approval", "production"}),
        ({"CI_PIPELINE_SOURCE": "schedule", "TASK": "resume"}, {"resume: [staging]", "resume: [production]"}),
        ({"CI_PIPELINE_SOURCE": "schedule", "TASK": "drift"}, {"drift: [staging]", "drift: [production]"}),
        ({"CI_PIPELINE_SOURCE": "web", "TASK": "rollback", "REASON": "why"}, {"rollback"}),
        ({"CI_PIPELINE_SOURCE": "pipeline", "TASK": "preview"}, {"preview-stacks"}),
    ],
)
def test_an_event_runs_its_jobs(program: Path, repository: Path, variables: dict[str, str], jobs: set[str]) -> None:
    assert _jobs(program, repository, **variables) == jobs
