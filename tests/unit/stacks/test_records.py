"""What is done to an environment is a record before anything changes, and another one with the outcome."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_store import Keyring, ModelRegistry
from model_store.errors import AccessDenied
from model_store.registry.access import AccessPolicy, Rights, Role
from stacks.deployment import ModelDeployment
from stacks.deployment_updates import DeploymentUpdates
from stacks.engine.stack_file import StackFile
from stacks.environments import DeploymentEnvironment
from stacks.errors import DeploymentFailed
from stacks.records import DeploymentRecord
from stacks.rollout.rollouts import Rollouts
from tests.stack_file import CHECKOUT
from tests.unit.model_store.making import KEY, register

HERE = DeploymentEnvironment.PRODUCTION


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), actor="tester")


def _told(registry: ModelRegistry) -> list[tuple[str, Any, Any, Any]]:
    """Action, environment, intent and outcome of each record but registrations."""
    return [
        (record.action, *(record.details.get(name) for name in ("environment", "intent", "outcome")))
        for record in registry.audit.records()
        if record.action != "register"
    ]


def test_a_deployment_is_a_record_before_it_and_one_after_it(registry: ModelRegistry) -> None:
    model_id = register(registry)
    record = DeploymentRecord(registry, "rollback", HERE, model_id, f"rollback {model_id}")
    with record.recorded():
        assert _told(registry) == [("rollback", "production", f"rollback {model_id}", None)]
        assert registry.state(model_id)["deployments"] == []
    record.deployed("deploy_1")
    assert _told(registry)[1:] == [("rollback", "production", f"rollback {model_id}", "succeeded")]
    assert registry.state(model_id)["deployments"][0]["deployment_id"] == "deploy_1"


@pytest.mark.parametrize(
    ("error", "outcome"), [(DeploymentFailed("not healthy"), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_what_fails_or_is_interrupted_is_recorded(registry: ModelRegistry, error: BaseException, outcome: str) -> None:
    record = DeploymentRecord(registry, "canary", HERE, "m_T_20260101_000000", "candidate at 5 %")
    with pytest.raises(type(error)), record.recorded():
        raise error
    assert [each[3] for each in _told(registry)] == [None, outcome]
    assert type(error).__name__ in list(registry.audit.records())[-1].reason


def test_a_killed_command_leaves_the_record_that_it_began(tmp_path: Path, registry: ModelRegistry) -> None:
    program = (
        "import os, signal, sys; from model_store import ModelRegistry; from stacks.records import DeploymentRecord;"
        "from stacks.environments import DeploymentEnvironment as E\n"
        "with DeploymentRecord(ModelRegistry(sys.argv[1]), 'deploy', E.PRODUCTION, 'm', 'deploy m').recorded():\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "registry")]
    assert subprocess.run(command, cwd=CHECKOUT).returncode == -signal.SIGKILL
    assert _told(registry) == [("deploy", "production", "deploy m", None)]


def test_a_refusal_before_the_update_is_recorded(registry: ModelRegistry) -> None:
    record = DeploymentRecord(registry, "deploy", HERE, "m", "deploy m")
    with pytest.raises(ValueError, match="no key"), record.refusals():
        raise ValueError("no key")
    (record,) = registry.audit.records()
    assert (record.action, record.reason, record.details["attempted"]) == ("refused", "ValueError: no key", "deploy")
    assert (record.details["environment"], record.details["intent"]) == ("production", "deploy m")


def _reader(tmp_path: Path) -> ModelRegistry:
    policy = AccessPolicy(default=Rights(Role.READER))
    return ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), actor="eve", policy=policy)


_DEEDS: dict[str, Callable[[ModelDeployment, Any], Any]] = {
    "deploy": lambda deployments, config: deployments.deploy(config),
    "rollback": lambda deployments, _: deployments.rollback_deployment("production"),
    "canary": lambda deployments, config: Rollouts(deployments).deploy(config, _rollout("canary")),
    "blue-green": lambda deployments, config: Rollouts(deployments).deploy(config, _rollout("blue_green")),
    "promote": lambda deployments, _: Rollouts(deployments).promote("production"),
    "abort": lambda deployments, _: Rollouts(deployments).abort("production"),
    "resume": lambda deployments, _: Rollouts(deployments).resume("production"),
}


def _rollout(strategy: Any) -> Any:
    from infra.rollout_config import RolloutConfig

    return RolloutConfig(strategy=strategy)


@pytest.mark.parametrize("action", sorted(_DEEDS))
def test_the_right_is_asked_for_before_anything_is_read_or_run(tmp_path: Path, action: str) -> None:
    config = ModelDeployment(CHECKOUT).create_deployment_config("m@champion", "production")
    checkout = tmp_path / "checkout"  # there is none: whoever looks at it first fails otherwise
    with pytest.raises(AccessDenied, match=f"{action} needs the role promoter"):
        _DEEDS[action](ModelDeployment(checkout, _reader(tmp_path)), config)
    (record,) = _reader(tmp_path).audit.records()
    assert (record.action, record.details["attempted"], record.details["environment"]) == (
        "refused",
        action,
        "production",
    )
    assert not checkout.exists()


def test_an_update_asks_for_the_right_before_it_verifies_anything(tmp_path: Path) -> None:
    registry = _reader(tmp_path)
    updates = DeploymentUpdates(tmp_path, lambda: registry, lambda _line: None)
    file = StackFile.read(tmp_path, HERE)
    config = ModelDeployment(CHECKOUT).create_deployment_config("m", "production")
    with pytest.raises(AccessDenied):
        updates.converge(file, "no_such_version", config, "deploy m")
    assert [record.action for record in registry.audit.records()] == ["refused"]
