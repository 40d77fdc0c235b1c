"""The interface through which rollouts change the stacks; `ModelDeployment` implements it."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from infra.deployment_config import DeploymentConfig
from infra.rollout_config import RolloutConfig
from stacks.deployment_checks import DeploymentChecks
from stacks.deployment_updates import DeployOutcome
from stacks.engine.run import Log
from stacks.engine.stack_file import StackFile
from stacks.environments import DeploymentEnvironment
from stacks.history import Deployment
from stacks.model_deployment import ModelDeploymentConfig
from stacks.requirements import BreakGlassRequest

if TYPE_CHECKING:
    from model_store import ModelRegistry


class Deployer(Protocol):
    """Changes the stacks of a checkout."""

    checkout: Path
    checks: DeploymentChecks
    log: Log

    @property
    def registry(self) -> "ModelRegistry":
        """The registry that deployments take their model versions from."""

    def deploy(
        self,
        config: ModelDeploymentConfig,
        *,
        reason: str = "",
        override_reason: str = "",
        break_glass: BreakGlassRequest | None = None,
        rollout: RolloutConfig | None = None,
        action: str = "deploy",
    ) -> DeployOutcome:
        """Deploys a model version in place of the present one."""

    def converge(
        self,
        file: StackFile,
        model_id: str,
        config: DeploymentConfig,
        message: str,
        *,
        rollout: RolloutConfig | None = None,
        action: str = "deploy",
        reason: str = "",
    ) -> DeployOutcome:
        """Writes a stack's config and brings the stack to it."""

    def require_gates(self, file: StackFile, model_id: str, config: DeploymentConfig, override_reason: str) -> None:
        """Refuses a model version that does not pass the environment's gates."""

    def rollback_target(
        self, environment: DeploymentEnvironment, to: str | None = None, at: date | None = None
    ) -> tuple[Deployment, str]:
        """Returns the present deployment, and the model version to go back to."""

    def list_deployments(self, environment: DeploymentEnvironment | str | None = None) -> list[Deployment]:
        """Deployments, the latest first."""

    def stack_file(self, environment: DeploymentEnvironment | str) -> StackFile:
        """The config of an environment's stack, read now."""

    def unlock(self, environment: DeploymentEnvironment | str) -> int:
        """Removes the locks of runs that have died."""
