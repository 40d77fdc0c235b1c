"""Targets of the Makefile that workflows call: standard output is the result alone, and a value is never a command."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import SOURCE

_NO_SETTINGS = ("AWS_", "MAKE", "MFLAGS", "MODEL_", "PULUMI_")


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """Of a runner: an empty registry, an empty backend and a key, nothing of this checkout's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_NO_SETTINGS)}
    manage = [sys.executable, str(SOURCE / "scripts" / "manage_models.py"), "keygen"]
    subprocess.run([*manage, str(tmp_path / "model.key")], check=True, capture_output=True, timeout=60)
    subprocess.run([*manage, str(tmp_path / "signing.key"), "--signing"], check=True, capture_output=True, timeout=60)
    return environment | {
        "MODEL_REGISTRY_URL": str(tmp_path / "registry"),
        "MODEL_KEY_FILE": str(tmp_path / "model.key"),
        "PULUMI_BACKEND_URL": f"file://{tmp_path}",
        "PULUMI_CONFIG_PASSPHRASE": "of the test",
    }


def _make(settings: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--silent", *arguments]
    return subprocess.run(
        command, cwd=SOURCE, env=settings, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL
    )


def test_a_release_prints_json_alone_and_its_description_is_no_command(
    settings: dict[str, str], tmp_path: Path, trained_models: Path
) -> None:
    about = (
        f'$(touch {tmp_path}/owned) `touch {tmp_path}/owned` $(shell touch {tmp_path}/owned) "; touch {tmp_path}/owned'
    )
    # As a workflow's variables come, and as the command line's.
    variables = {"MODEL_FILE": str(trained_models / "xgboost_model.joblib"), "MODEL_NAME": "m", "MODEL_TYPE": "XGBoost"}
    told = {"DESCRIPTION": about, "METRICS": '{"recall": 0.9}', "SIGNING_KEY": str(tmp_path / "signing.key")}
    done = _make({**settings, **variables, **told}, "release")
    assert done.returncode == 0, done.stderr
    registered = json.loads(done.stdout)
    assert registered["description"] == about
    assert registered["performance_metrics"] == {"recall": 0.9}
    assert not (tmp_path / "owned").exists()
    given = {**variables, "DESCRIPTION": f"{about} $5 $(MODEL_NAME)"}
    unsigned = _make(settings, "release", *(f"{name}={value}" for name, value in given.items()))
    assert unsigned.returncode == 0, unsigned.stderr
    assert json.loads(unsigned.stdout)["description"] == given["DESCRIPTION"]
    assert not (tmp_path / "owned").exists()
    preview = _make(settings, "preview", "STACK=dev", f"MODEL_ID={registered['model_id']}")
    assert preview.returncode == 0, preview.stderr
    assert preview.stdout.startswith("### Preview of `dev`")
    assert f"Model version: `none` → `{registered['model_id']}`" in preview.stdout
    assert "the backend has no stack dev yet" in preview.stderr
    assert not list((tmp_path / ".pulumi").glob("stacks/*/*")), "a preview makes no stack"


@pytest.mark.timeout(1800)
def test_a_preview_without_a_version_names_what_is_missing(settings: dict[str, str]) -> None:
    # On a new machine the providers of a cloud are compiled first, which takes minutes.
    subprocess.run(["make", "providers"], cwd=SOURCE, env=settings, capture_output=True, timeout=1500, check=True)
    done = _make(settings, "preview", "STACK=staging")
    assert done.returncode != 0
    assert done.stdout == ""
    assert "fraud-detection:modelVersion is not set, and nothing is deployed in staging yet" in done.stderr
    assert "make preview STACK=staging MODEL_ID=NAME:NUMBER" in done.stderr
    assert "**Refused" in (SOURCE / ".run" / "preview-staging.md").read_text()


@pytest.mark.parametrize("target", ["deploy", "preview", "resume", "rollback", "drift"])
@pytest.mark.parametrize("environment", ["development", "production"])
def test_a_target_makes_what_its_environment_needs(target: str, environment: str) -> None:
    stack = "dev" if environment == "development" else environment
    command = ["make", "--dry-run", target, f"ENVIRONMENT={environment}", f"STACK={stack}"]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=60, check=True)
    made = done.stdout + done.stderr
    assert "control-plane" not in made
    assert ("--with providers" in made) == (environment == "production")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The Makefile in a directory without any program: a command that is run fails."""
    directory = tmp_path / "bare"
    directory.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.txt"):
        shutil.copyfile(SOURCE / name, directory / name)
    return directory


def _dry_run(directory: Path, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        ["make", "--dry-run", *arguments],
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["ENVIRONMENT", "IMAGE", "MODEL_ID", "REASON", "RELEASE", "STACK"])
def test_make_expands_no_value(bare: Path, name: str) -> None:
    value = "$(shell touch owned) `touch owned` ; touch owned"
    for target in ("deploy", "drift", "image", "preview", "release", "resume", "rollback", "up", "validate"):
        shown = _dry_run(bare, target, f"{name}={value}") + _dry_run(bare, target, **{name: value})
        assert "touch owned" not in shown, target
        assert not (bare / "owned").exists(), target


@pytest.mark.parametrize("environment", ["development", "staging"])
def test_a_dry_run_of_a_target_runs_nothing(bare: Path, environment: str) -> None:
    targets = re.findall(r"^([a-z-]+):", (SOURCE / "Makefile").read_text(), re.MULTILINE)
    before = sorted(bare.iterdir())
    for target in targets:
        shown = _dry_run(bare, target, f"ENVIRONMENT={environment}")
        assert ("sandbox up" in shown) == (target == "up" and environment == "staging"), target
    assert sorted(bare.iterdir()) == before
