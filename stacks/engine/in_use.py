"""Finds the model versions that the stacks of a checkout need; they must stay in the registry."""

from pathlib import Path

from conventions.config_keys import ROLLOUT
from stacks.engine.stack_file import StackFile
from stacks.environments import DeploymentEnvironment


def versions_in_use(checkout: Path) -> dict[str, str]:
    """The model versions that stacks serve, try or keep, each with the reason why it must stay."""
    found: dict[str, str] = {}
    for environment in DeploymentEnvironment:
        file = StackFile.read(checkout, environment)
        rollout = file.config.get(ROLLOUT) or {}
        for model_id, role in (
            (file.model_version, "is what stack {} serves"),
            (rollout.get("candidate"), "is the candidate of stack {}"),
            (rollout.get("kept"), "is kept by stack {} for a rollback"),
        ):
            if model_id:
                found.setdefault(str(model_id), role.format(environment.stack))
    return found
