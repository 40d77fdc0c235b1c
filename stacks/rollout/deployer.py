"""The interface through which rollouts change the stacks; `ModelDeployment` implements it."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from infra.deployment_config import DeploymentConfig
from infra.rollout_config import RolloutConfig
from stacks.engine.run import Log
from stacks.environments import DeploymentEnvironment
from stacks.history import Deployment
from stacks.model_deployment import ModelDeploymentConfig

if TYPE_CHECKING:
    from model_store import ModelRegistry


@dataclass(frozen=True)
class DeployOutcome:
    """What a deploy or a rollback came to."""

    deployment: Deployment
    """What runs now."""
    changed: bool
    """False when the environment ran this already and nothing was done."""
    changes: dict[str, int]
    """How many resources were created, updated, deleted or left the same."""
    outputs: dict[str, Any]
    """The stack's outputs: `url`, `modelVersion`, `modelDigest` and so on."""


class Deployer(Protocol):
    """Changes the stacks of a checkout."""

    checkout: Path
    log: Log

    @property
    def registry(self) -> "ModelRegistry":
        """The registry that deployments take their model versions from."""

    def deploy(
        self, config: ModelDeploymentConfig, *, override_reason: str = "", rollout: RolloutConfig | None = None
    ) -> DeployOutcome:
        """Deploys a model version in place of the present one."""

    def converge(
        self,
        environment: DeploymentEnvironment,
        model_id: str,
        config: DeploymentConfig,
        message: str,
        *,
        rollout: RolloutConfig | None = None,
    ) -> DeployOutcome:
        """Makes an environment what a config says."""

    def require_gates(
        self, model_id: str, environment: DeploymentEnvironment, config: DeploymentConfig, override_reason: str
    ) -> None:
        """Refuses a model version that does not pass the environment's gates."""

    def rollback_target(
        self, environment: DeploymentEnvironment, to: str | None = None, at: datetime | None = None
    ) -> tuple[Deployment, str]:
        """What runs, and the model version to go back to."""

    def list_deployments(self, environment: DeploymentEnvironment | str | None = None) -> list[Deployment]:
        """Deployments, the latest first."""

    def deployed_config(self, environment: DeploymentEnvironment) -> DeploymentConfig:
        """The deployment of an environment's stack file."""

    def last_config(self, environment: DeploymentEnvironment) -> dict[str, Any]:
        """The config of the last update that succeeded; empty when there is none."""

    def unlock(self, environment: DeploymentEnvironment | str) -> int:
        """Removes the locks of runs that have died."""
