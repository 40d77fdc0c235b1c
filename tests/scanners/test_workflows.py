"""actionlint and zizmor on the workflows, and the rules of this project that they do not know."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import SOURCE
from tests.scanners.environments import environment_of
from tests.workflows.act import listed
from toolchain.go_build import GoBuild
from toolchain.tools import Tool, ensure

_REQUIREMENTS = Path(__file__).with_name("zizmor-requirements.txt")
_ACTIONLINT = Tool(
    "actionlint",
    "1.7.12",
    GoBuild(
        title="half a minute",
        module="actionlint",
        programs=(("actionlint", "github.com/rhysd/actionlint/cmd/actionlint"),),
    ),
)
_WORKFLOWS = sorted((SOURCE / ".github" / "workflows").glob("*.yml"))
_ALL = [*_WORKFLOWS, *sorted((SOURCE / ".github" / "actions").rglob("action.yml"))]


def test_actionlint_finds_nothing() -> None:
    program = ensure([_ACTIONLINT], print)["actionlint"] / "actionlint"
    command = [str(program), "-shellcheck=", "-pyflakes=", *map(str, _WORKFLOWS)]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_zizmor_finds_nothing() -> None:
    program = environment_of("zizmor", _REQUIREMENTS) / "zizmor"
    command = [str(program), "--offline", "--format", "json", str(SOURCE / ".github")]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=60)
    found = json.loads(done.stdout)
    assert not [(item["ident"], item["locations"][0]["symbolic"]["key"]) for item in found], done.stdout[:2000]
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", _ALL, ids=lambda path: path.stem if path.stem != "action" else path.parent.name)
def test_an_action_of_others_is_named_by_its_digest(path: Path) -> None:
    used = re.findall(r"uses: (\S+)(.*)", path.read_text())
    for name, comment in used:
        assert name.startswith("./") or re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name), name
        assert name.startswith("./") or re.fullmatch(r" # v\d+\.\d+\.\d+", comment), "its version stands beside it"


@pytest.mark.parametrize("path", _WORKFLOWS, ids=lambda path: path.stem)
def test_the_header_lists_the_variables_and_secrets_that_are_used(path: Path) -> None:
    text = path.read_text()
    header = listed(path)
    assert set(header) == {"Variables", "Secrets"}
    assert set(re.findall(r"\bvars\.(\w+)", text)) == header["Variables"]
    assert set(re.findall(r"\bsecrets\.(\w+)", text)) - {"GITHUB_TOKEN"} == header["Secrets"]


@pytest.mark.parametrize("path", _WORKFLOWS, ids=lambda path: path.stem)
def test_a_job_has_the_rights_that_it_needs_and_no_secret_beside_a_pull_requests_code(path: Path) -> None:
    content: dict[Any, Any] = yaml.safe_load(path.read_text())
    assert content["permissions"] == {}
    events = content[True]  # YAML 1.1 reads `on` as a truth value
    for name, job in content["jobs"].items():
        writes = {right for right, level in job["permissions"].items() if level == "write"}
        assert writes <= {"id-token", "pull-requests"}, name
        assert len(writes) < 2, f"{name}: who may write a comment has no credentials of a cloud"
        if "pull_request" in events:
            assert not writes
            assert "secrets." not in json.dumps(job)
        if "pull_request_target" in events:
            assert "secrets." not in json.dumps(job)
            assert not [step for step in job["steps"] if "ref" in (step.get("with") or {})], "the base is checked out"


def test_the_signing_key_is_beside_nothing_from_the_inbox() -> None:
    jobs = yaml.safe_load((SOURCE / ".github" / "workflows" / "deploy.yml").read_text())["jobs"]
    signing = {name for name, job in jobs.items() if "SIGNING_KEY" in json.dumps(job)}
    reading = {name for name, job in jobs.items() if "MODEL_INBOX" in json.dumps(job)}
    assert (signing, reading) == ({"sign"}, {"register"})
