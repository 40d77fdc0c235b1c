"""Each mistake has its own message and exit code, and changes nothing."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.checkout import Checkout, Deployed, wait_until


def _configuration(checkout: Checkout) -> list[str]:
    """The lines of the stack's file without the salt of the state's key, which a plain command of the engine adds."""
    return [line for line in checkout.stack_file.read_text().splitlines() if not line.startswith("encryptionsalt:")]


@contextmanager
def nothing_changes(deployed: Deployed) -> Iterator[Checkout]:
    """The stack's config, what is served and what is registered are the same after the block."""
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    before = (
        _configuration(checkout),
        checkout.status()["serving"],
        _listing(checkout.root / "registry/models"),
    )
    yield checkout
    after = (
        _configuration(checkout),
        checkout.status()["serving"],
        _listing(checkout.root / "registry/models"),
    )
    assert after == before
    assert checkout.served_model() == deployed.first


def _listing(directory: Path) -> list[str]:
    # A number that was claimed once stays claimed.
    return sorted(str(path) for path in directory.rglob("*") if ".versions" not in path.parts)


def _refused(completed: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in completed.stderr
    (line,) = [line for line in completed.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_an_unknown_model_id(deployed: Deployed) -> None:
    with nothing_changes(deployed) as checkout:
        line = _refused(
            checkout.deploy_model("deploy", "fraud_detector_XGBoost_20200101_000000", "development", code=3)
        )
        assert "fraud_detector_XGBoost_20200101_000000" in line
        _refused(checkout.manage_models("info", "fraud_detector_XGBoost_20200101_000000", code=3))


@pytest.mark.parametrize("text", ["config:\n  a: [\n", "- a list\n"])
def test_a_stack_file_that_is_not_valid(deployed: Deployed, text: str) -> None:
    with nothing_changes(deployed) as checkout:
        whole = checkout.stack_file.read_text()
        commands = (
            ("deploy", deployed.second, "development"),
            ("rollback", "development"),
            ("status", "development"),
            ("history", "development"),
            ("why", "development"),
            ("list-deployments",),
        )
        checkout.stack_file.write_text(text)
        try:
            for command in commands:
                line = _refused(checkout.deploy_model(*command, code=9))
                assert f"{checkout.stack_file}: not " in line
        finally:
            checkout.stack_file.write_text(whole)


def test_a_model_file_that_is_missing(deployed: Deployed) -> None:
    with nothing_changes(deployed) as checkout:
        line = _refused(
            checkout.manage_models("register", "models/nowhere.joblib", "fraud_detector", "XGBoost", code=16)
        )
        assert "models/nowhere.joblib" in line


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_an_artifact_that_is_not_intact(deployed: Deployed, damage: str) -> None:
    checkout = deployed.checkout
    (artifact,) = (checkout.root / "registry" / "models").glob(f"*/{deployed.second}/artifact")
    intact = artifact.read_bytes()
    damaged = intact[:-100] if damage == "truncated" else intact[:2000] + bytes([intact[2000] ^ 1]) + intact[2001:]
    try:
        with nothing_changes(deployed):
            artifact.chmod(0o600)
            artifact.write_bytes(damaged)
            line = _refused(checkout.deploy_model("deploy", deployed.second, "development", code=4))
            assert deployed.second in line
            checkout.pulumi("config", "set", "--stack", "dev", "modelVersion", deployed.second)
            assert "nothing" in line or "artifact" in line
            assert deployed.second in checkout.fails("pulumi", "preview", "--stack", "dev", "--non-interactive")
            checkout.pulumi("config", "rm", "--stack", "dev", "modelVersion")
    finally:
        artifact.write_bytes(intact)


def test_a_rollback_to_an_artifact_that_is_not_intact(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.deploy(deployed.second)
    (artifact,) = (checkout.root / "registry" / "models").glob(f"*/{deployed.second}/artifact")
    intact = artifact.read_bytes()
    try:
        with nothing_changes(deployed):
            artifact.chmod(0o600)
            artifact.write_bytes(intact[:-1])
            _refused(checkout.deploy_model("rollback", "development", code=4))
    finally:
        artifact.write_bytes(intact)


def test_a_pickle_that_calls_os_system_is_refused_and_not_run(deployed: Deployed, tmp_path: Path) -> None:
    sign = tmp_path / "it_ran"
    bad = deployed.checkout.root / "models" / "bad.pkl"
    bad.write_bytes(b"cos\nsystem\n(S'touch " + str(sign).encode() + b"'\ntR.")
    with nothing_changes(deployed) as checkout:
        line = _refused(checkout.manage_models("register", "models/bad.pkl", "fraud_detector", "XGBoost", code=5))
        assert "os.system" in line or "posix.system" in line
    assert not sign.exists()


def test_the_wrong_key(deployed: Deployed) -> None:
    checkout = deployed.checkout
    key = checkout.root / ".secrets" / "model.key"
    right = key.read_bytes()
    other = checkout.root / ".secrets" / "other.key"
    checkout.manage_models("keygen", str(other))
    try:
        with nothing_changes(deployed):
            key.write_bytes(other.read_bytes())
            line = _refused(checkout.deploy_model("deploy", deployed.second, "development", code=6))
            assert "encrypted for key" in line
    finally:
        key.write_bytes(right)
        other.unlink()


def test_a_port_that_is_taken(deployed: Deployed) -> None:
    with nothing_changes(deployed) as checkout, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        template = checkout.root / "taken.yaml"
        template.write_text(checkout.template.read_text().replace(str(checkout.port), str(port)))
        command = ("deploy", deployed.first, "development", "--config", "taken.yaml")
        assert f"127.0.0.1:{port}" in _refused(checkout.deploy_model(*command, code=15))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("scaling_config:", "scaling:", "scaling: unknown key; allowed: environment"),
        ("1Gi", "1GB", "resource_limits.memory: '1GB' is not allowed"),
        ("environment: development", "environment: staging", "environment: 'staging' is not allowed"),
    ],
)
def test_a_template_that_does_not_fit(deployed: Deployed, old: str, new: str, words: str) -> None:
    with nothing_changes(deployed) as checkout:
        template = checkout.root / "wrong.yaml"
        template.write_text(checkout.template.read_text().replace(old, new))
        command = ("deploy", deployed.first, "development", "--config", "wrong.yaml")
        line = _refused(checkout.deploy_model(*command, code=9))
        assert "wrong.yaml" in line
        assert words in line


def test_an_unknown_environment(deployed: Deployed) -> None:
    with nothing_changes(deployed) as checkout:
        line = _refused(checkout.deploy_model("deploy", deployed.first, "moon", code=17))
        assert "'moon'; there are: development, staging, production" in line


def test_a_rollback_with_no_prior_version(fresh_checkout: Checkout) -> None:
    fresh_checkout.deploy_model("up", "development")
    before = fresh_checkout.stack_file.read_bytes()
    assert "no version before" in _refused(fresh_checkout.deploy_model("rollback", "development", code=18))
    assert fresh_checkout.stack_file.read_bytes() == before


@pytest.mark.parametrize("name", ["latest", "fraud_detector/1", "2", "", "../x", "fraud\n:1"])
def test_a_rollback_to_what_is_no_name_of_a_version(deployed: Deployed, name: str) -> None:
    with nothing_changes(deployed) as checkout:
        line = _refused(checkout.deploy_model("rollback", "development", f"--to={name}", code=3))
        assert "never deployed" not in line
        assert repr(name).strip("'") in line or "fraud\\n" in line


def test_a_rollback_into_the_future(deployed: Deployed) -> None:
    with nothing_changes(deployed) as checkout:
        for command in ("rollback", "history", "why"):
            assert (
                "is in the future" in checkout.deploy_model(command, "development", "--at", "9999-12-31", code=2).stderr
            )


def test_a_rollback_to_a_version_that_never_was_deployed(deployed: Deployed) -> None:
    with nothing_changes(deployed) as checkout:
        never = checkout.register("xgboost_model.joblib")
        assert "was never deployed" in _refused(
            checkout.deploy_model("rollback", "development", "--to", never, code=18)
        )
        shutil.rmtree(next((checkout.root / "registry" / "models").glob(f"*/{never}")))


def test_a_rollback_where_nothing_is_deployed(fresh_checkout: Checkout) -> None:
    assert "nothing is deployed" in _refused(fresh_checkout.deploy_model("rollback", "development", code=3))


def test_an_unknown_deployment(deployed: Deployed) -> None:
    with nothing_changes(deployed) as checkout:
        assert "there is no deployment" in _refused(checkout.deploy_model("health", "deploy_x_y_z", code=3))


def test_a_registry_that_cannot_be_written(deployed: Deployed) -> None:
    with nothing_changes(deployed) as checkout:
        blocked = checkout.root / "blocked"
        blocked.write_text("a file where a directory should be")
        checkout.environment["MODEL_REGISTRY_URL"] = f"file://{blocked}"
        try:
            command = ("register", "models/xgboost_model.joblib", "fraud_detector", "XGBoost")
            assert "blocked" in _refused(checkout.manage_models(*command, code=8))
        finally:
            del checkout.environment["MODEL_REGISTRY_URL"]


def test_two_deploys_at_once_leave_one_and_tell_the_other_who_holds_the_environment(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    command = [sys.executable, "scripts/deploy_model.py", "deploy", deployed.second, "development"]
    with subprocess.Popen(
        command, cwd=checkout.root, env=checkout.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as first:
        wait_until(lambda: (checkout.root / ".run" / "dev.holder").exists())
        line = _refused(checkout.deploy_model("deploy", deployed.third, "development", code=10))
        first.communicate(timeout=120)
    assert f"process {first.pid}" in line
    assert first.returncode == 0
    assert checkout.served_model() == deployed.second


def test_a_stale_lock_error_names_the_unlock_command(deployed: Deployed) -> None:
    with nothing_changes(deployed) as checkout:
        locks = checkout.root / ".state" / ".pulumi" / "locks" / "organization" / "fraud-detection" / "dev"
        locks.mkdir(parents=True, exist_ok=True)
        dead = subprocess.run(["true"], check=True)
        assert dead.returncode == 0
        content = {
            "pid": 2**22 - 1,
            "username": "u",
            "hostname": os.uname().nodename,
            "timestamp": "2026-01-01T00:00:00Z",
        }
        (locks / "left.json").write_text(json.dumps(content))
        line = _refused(checkout.deploy_model("deploy", deployed.second, "development", code=11))
        assert "deploy_model.py unlock development" in line
        assert "1 stale lock" in checkout.deploy_model("unlock", "development").stdout


def test_a_plain_preview_before_any_deploy_says_what_to_do(fresh_checkout: Checkout) -> None:
    fresh_checkout.run(sys.executable, "-m", "stacks.engine.development_secrets", str(fresh_checkout.root))
    (fresh_checkout.root / ".state").mkdir()
    fresh_checkout.pulumi("stack", "init", "dev")
    output = fresh_checkout.fails("pulumi", "preview", "--stack", "dev", "--non-interactive")
    assert "no model version has been chosen" in output
    assert "Traceback" not in output
