"""Declares a development stack in one container of this machine's Docker."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from components.docker_serving import DockerServing, DockerServingArgs
from components.model_artifact import ModelArtifact
from conventions import config_keys
from infra.artifact import Versions
from infra.errors import ConfigError
from infra.settings import StackSettings

_CORE_SHARES = 1024
_MEBIBYTES = {"Ki": 1 / 1024, "Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}


def declare_container(settings: StackSettings, versions: Versions) -> dict[str, Any]:
    """Declares a stack on this machine's Docker.

    Returns:
        The stack's outputs.

    Raises:
        ConfigError: no image is named.
    """
    deployment, image = settings.deployment, settings.image
    if image is None or not image.reference:
        raise ConfigError(
            f"Pulumi.{settings.stack}.yaml: {config_keys.IMAGE}.reference: this key is required on platform docker"
        )
    artifact = ModelArtifact(f"{deployment.deployment_name}-model", versions.stable)
    serving = DockerServing(
        deployment.deployment_name,
        DockerServingArgs(
            deployment_name=deployment.deployment_name,
            environment=deployment.environment,
            image=image.reference,
            model_id=artifact.model_id,
            model_directory=artifact.uri.apply(lambda uri: str(Path(unquote(urlsplit(uri).path)))),
            model_digest=artifact.digest,
            model_runtime_digest=artifact.runtime_digest,
            host=deployment.host,
            port=deployment.port,
            model_key_file=str(settings.model_key_file),
            api_keys_file=str(settings.api_keys_file),
            memory_mib=_mebibytes(deployment.resource_limits.memory),
            cpu_shares=_shares(deployment.resource_limits.cpu),
            health_check_interval=deployment.monitoring_config.health_check_interval,
            service_variables=settings.service_variables,
        ),
    )
    return {
        "modelVersion": artifact.model_id,
        "modelDigest": artifact.digest,
        "modelPath": artifact.uri,
        "deploymentName": deployment.deployment_name,
        "servingId": serving.id_,
        "url": serving.url,
    }


def _mebibytes(quantity: str) -> int:
    parts = re.fullmatch(r"(\d+)(\w+)", quantity)
    assert parts is not None  # noqa: S101 - the config's schema has looked
    return max(1, round(int(parts[1]) * _MEBIBYTES[parts[2]]))


def _shares(cpu: str) -> int:
    cores = int(cpu[:-1]) / 1000 if cpu.endswith("m") else float(cpu)
    return max(2, round(cores * _CORE_SHARES))
