"""checkov and kube-score on what the program renders for staging and production."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.settings import CHECKOUT
from tests.rendered.conftest import CLOUD_STACKS
from tests.scanners.environments import environment_of
from tests.scanners.waivers import WAIVERS, waived
from toolchain.go_build import GoBuild
from toolchain.tools import Tool, ensure

_REQUIREMENTS = Path(__file__).with_name("checkov-requirements.txt")
_KUBE_SCORE = Tool(
    "kube-score",
    "1.20.0",
    GoBuild(
        title="half a minute",
        module="kube-score",
        programs=(("kube-score", "github.com/zegl/kube-score/cmd/kube-score"),),
    ),
)
_OPTIONAL = (
    "container-resource-requests-equal-limits",
    "container-cpu-requests-equal-limits",
    "container-memory-requests-equal-limits",
    "container-ephemeral-storage-request-equals-limit",
    "container-ports-check",
    "container-seccomp-profile",
)


@pytest.fixture(scope="session")
def checkov() -> Path:
    return environment_of("checkov", _REQUIREMENTS) / "checkov"


@pytest.fixture(scope="session")
def kube_score() -> Path:
    return ensure([_KUBE_SCORE], print)["kube-score"] / "kube-score"


def _rendered(stack: str, form: str, path: Path) -> Path:
    command = [sys.executable, "-m", "tests.rendered.render", stack, "--as", form]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, timeout=120).stdout)
    return path


def _checked(checkov: Path, file: Path, framework: str) -> dict[str, Any]:
    command = [str(checkov), "-f", str(file), "--framework", framework, "--skip-download", "-o", "json"]
    done = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, timeout=300)
    found: dict[str, Any] = json.loads(done.stdout)
    assert "results" in found, f"checkov looked at nothing: {done.stdout[:300]}{done.stderr[-300:]}"
    return found


@pytest.mark.parametrize("stack", CLOUD_STACKS)
def test_checkov_finds_nothing_on_aws_but_what_is_waived(checkov: Path, tmp_path: Path, stack: str) -> None:
    found = _checked(checkov, _rendered(stack, "terraform", tmp_path / "main.tf.json"), "terraform_json")
    failed = [(item["check_id"], item["resource"]) for item in found["results"]["failed_checks"]]
    assert len(found["results"]["passed_checks"]) > 60
    assert not [item for item in failed if not waived(*item)]
    stale = [waiver.check for waiver in WAIVERS if not [item for item in failed if item[0] == waiver.check]]
    assert not stale, "these waivers have nothing to waive"


@pytest.mark.parametrize("stack", CLOUD_STACKS)
def test_checkov_finds_nothing_in_the_manifests(checkov: Path, tmp_path: Path, stack: str) -> None:
    found = _checked(checkov, _rendered(stack, "manifests", tmp_path / "manifests.yaml"), "kubernetes")
    assert len(found["results"]["passed_checks"]) > 80
    assert not [(item["check_id"], item["resource"]) for item in found["results"]["failed_checks"]]


@pytest.mark.parametrize("stack", CLOUD_STACKS)
def test_kube_score_finds_nothing(kube_score: Path, tmp_path: Path, stack: str) -> None:
    manifests = _rendered(stack, "manifests", tmp_path / "manifests.yaml")
    optional = [part for name in _OPTIONAL for part in ("--enable-optional-test", name)]
    command = [str(kube_score), "score", "--kubernetes-version", "v1.34", "--output-format", "json", *optional]
    done = subprocess.run([*command, str(manifests)], capture_output=True, text=True, timeout=60)
    objects = json.loads(done.stdout)
    checks = [(item["object_name"], check) for item in objects for check in item["checks"]]
    assert len(checks) > 20
    bad = [
        (name, check["check"]["id"], check["comments"])
        for name, check in checks
        if not check["skipped"] and check["grade"] < 7
    ]
    assert not bad
