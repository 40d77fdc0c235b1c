"""What `ModelDeployment.create_deployment_config` returns: a deployment config that knows its model version."""

from dataclasses import fields
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from infra.deployment_config import DeploymentConfig


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
class ModelDeploymentConfig(DeploymentConfig):
    """A model version, and how an environment serves it."""

    model_id: str
    """The model version: its id, `name@alias`, `name:number` or `name:latest`."""

    @classmethod
    def of(cls, model_id: str, deployment: DeploymentConfig) -> "ModelDeploymentConfig":
        """The deployment config of an environment, for a model version."""
        known = {item.name: getattr(deployment, item.name) for item in fields(DeploymentConfig)}
        return cls(model_id=model_id, **known)

    def to_dict(self) -> dict[str, Any]:
        """The deployment object of a stack's config, which names the model version beside it."""
        return {name: value for name, value in super().to_dict().items() if name != "model_id"}
