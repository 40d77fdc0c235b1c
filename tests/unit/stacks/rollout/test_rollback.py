"""One rollback for the library and the command line: it knows the two slots of a rollout."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.deployment_config import DeploymentConfig
from infra.rollout_config import RolloutConfig
from stacks.deployment import ModelDeployment
from stacks.deployment_updates import DeployOutcome
from stacks.engine.stack_file import StackFile
from stacks.environments import DeploymentEnvironment
from stacks.errors import NoPriorVersion, RolloutInProgress
from stacks.history import Deployment, Intent
from stacks.rollout.rollouts import Rollouts
from tests.stack_file import CHECKOUT

FIRST, SECOND, THIRD = (f"m_T_2026010{day}_000000" for day in (1, 2, 3))
FILE = "Pulumi.dev.yaml"


def _deployment(update: int, model_id: str, *, current: bool = False) -> Deployment:
    moment = datetime(2026, 1, 1, 0, update, tzinfo=UTC).isoformat().replace("+00:00", "Z")
    made = f"deploy_fraud_development_2026_{update}"
    return Deployment(made, "development", model_id, moment, moment, update, Intent.DEPLOY, "", "http://a", current)


class Deployments(ModelDeployment):
    """Without an engine: writes the stack's config, and notes what it was brought to."""

    def __init__(self, checkout: Path, *model_ids: str) -> None:
        super().__init__(checkout)
        last = len(model_ids)
        history = [_deployment(number, each, current=number == last) for number, each in enumerate(model_ids, start=1)]
        self.history = history[::-1]
        self.steps: list[tuple[str, RolloutConfig | None]] = []
        self.actions: list[str] = []

    def list_deployments(self, environment: Any = None) -> list[Deployment]:
        assert environment in (None, DeploymentEnvironment.DEVELOPMENT)
        return self.history

    def unlock(self, environment: Any) -> int:
        assert environment is DeploymentEnvironment.DEVELOPMENT
        return 0

    def converge(
        self,
        file: StackFile,
        model_id: str,
        config: DeploymentConfig,
        message: str,
        *,
        auto_rollback: bool = False,
        rollout: RolloutConfig | None = None,
        action: str = "deploy",
    ) -> DeployOutcome:
        self.actions.append(action)
        assert file.environment is DeploymentEnvironment.DEVELOPMENT
        assert not auto_rollback
        self.steps.append((model_id, rollout))
        file.written(model_id, config, rollout)
        made = replace(_deployment(len(self.history) + 1, model_id, current=True), message=message)
        self.history = [made, *(replace(item, current=False) for item in self.history)]
        return DeployOutcome(made, True, {"update": 1}, {})


Make = Callable[..., Deployments]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def _make(*model_ids: str, **rollout: Any) -> Deployments:
        template = CHECKOUT / "config" / "deployment_templates" / "development.yaml"
        config = ModelDeployment(CHECKOUT).create_deployment_config(model_ids[-1], "development", template=template)
        wanted = RolloutConfig(**rollout) if rollout else None
        StackFile.read(tmp_path, DeploymentEnvironment.DEVELOPMENT).written(model_ids[-1], config, wanted)
        return Deployments(tmp_path, *model_ids)

    return _make


def _command_line(deployments: Deployments) -> str:
    return Rollouts(deployments).rollback("development").deployment.deployment_id


def _library(deployments: Deployments) -> str:
    return deployments.rollback_deployment("development")


WAYS = pytest.mark.parametrize("roll_back", [_library, _command_line])


@WAYS
def test_with_one_slot_a_rollback_replaces_the_version(make: Make, roll_back: Callable[[Deployments], str]) -> None:
    deployments = make(FIRST, SECOND, THIRD)
    assert roll_back(deployments) == deployments.history[0].deployment_id
    assert deployments.steps == [(SECOND, None)]
    assert deployments.history[0].message == f"rollback {SECOND} (from {THIRD})"


@WAYS
def test_a_kept_version_is_switched_to(make: Make, roll_back: Callable[[Deployments], str]) -> None:
    until = "2099-01-01T00:00:00Z"
    deployments = make(FIRST, SECOND, strategy="blue_green", slot="green", kept=FIRST, kept_until=until)
    assert roll_back(deployments) == deployments.history[0].deployment_id
    ((version, rollout),) = deployments.steps
    assert rollout is not None
    assert (version, rollout.slot, rollout.kept) == (FIRST, "blue", SECOND)


@WAYS
def test_a_version_that_is_not_kept_is_in_the_other_slot_first(
    make: Make, roll_back: Callable[[Deployments], str]
) -> None:
    deployments = make(FIRST, SECOND, strategy="canary")
    roll_back(deployments)
    (beside, first), (after, switched) = deployments.steps
    assert first is not None
    assert switched is not None
    assert (beside, first.slot, first.candidate, first.weight) == (SECOND, "blue", FIRST, 0)
    assert (after, switched.slot, switched.candidate, switched.kept) == (FIRST, "green", "", SECOND)


@WAYS
def test_a_candidate_is_withdrawn(make: Make, roll_back: Callable[[Deployments], str]) -> None:
    deployments = make(FIRST, SECOND, strategy="canary", candidate=THIRD, weight=5)
    roll_back(deployments)
    ((version, rollout),) = deployments.steps
    assert rollout is not None
    assert (version, rollout.candidate, rollout.weight) == (SECOND, "", 0)


def test_a_rollback_to_another_version_is_refused_during_a_rollout(make: Make) -> None:
    deployments = make(FIRST, SECOND, strategy="canary", candidate=THIRD, weight=5)
    with pytest.raises(RolloutInProgress, match=THIRD):
        deployments.rollback_deployment("development", to=FIRST)
    assert deployments.steps == []


def test_a_rollback_to_a_version_that_was_never_deployed_is_refused(make: Make) -> None:
    deployments = make(FIRST)
    before = (deployments.checkout / FILE).read_bytes()
    for options, reason in (
        ({}, "no version before"),
        ({"to": SECOND}, "never deployed"),
        ({"at": datetime(2001, 1, 1, tzinfo=UTC)}, "nothing was deployed"),
    ):
        with pytest.raises(NoPriorVersion, match=reason):
            deployments.rollback_deployment("development", **options)  # type: ignore[arg-type]
    assert (deployments.checkout / FILE).read_bytes() == before


def test_a_config_for_a_deploy_names_its_version_and_takes_changes(make: Make) -> None:
    deployments = make(FIRST)
    config = ModelDeployment(CHECKOUT).create_deployment_config(
        SECOND, "production", "fraud-other", scaling_config={"min_replicas": 2, "max_replicas": 4}
    )
    assert (config.model_id, config.deployment_name, config.scaling_config.max_replicas) == (SECOND, "fraud-other", 4)
    assert "model_id" not in json.dumps(config.to_dict())
    assert replace(config, model_id=THIRD).model_id == THIRD
    assert deployments.stack_file("development").deployment().deployment_name == "fraud-detection-dev"
