"""Drives the stacks with Pulumi's Automation API.

    from stacks import DeploymentEnvironment, ModelDeployment

    deployments = ModelDeployment()
    config = deployments.create_deployment_config(
        model_id="fraud_detector_XGBoost_20241009_123456", environment=DeploymentEnvironment.DEVELOPMENT
    )
    deployment_id = deployments.deploy_model(config)
    deployments.check_deployment_health(deployment_id)
    deployments.rollback_deployment("development")

Nothing heavy is imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stacks.deployment import ModelDeployment
    from stacks.environments import DeploymentEnvironment
    from stacks.history import Deployment
    from stacks.model_deployment import ModelDeploymentConfig
    from stacks.rollout.rollouts import Rollouts

_HOMES = {
    "Deployment": "stacks.history",
    "DeploymentEnvironment": "stacks.environments",
    "ModelDeployment": "stacks.deployment",
    "ModelDeploymentConfig": "stacks.model_deployment",
    "Rollouts": "stacks.rollout.rollouts",
}

__all__ = ["Deployment", "DeploymentEnvironment", "ModelDeployment", "ModelDeploymentConfig", "Rollouts"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
