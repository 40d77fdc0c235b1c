"""Declares a stack whose endpoint is a container, or two, of this machine's Docker."""

from pathlib import Path
from typing import Any

import pulumi

from components.address_conflicts import find_address_conflict
from components.docker_serving import DockerServing, DockerServingArgs
from components.local_serving import LocalSlots, LocalVersion, directory_of
from components.model_artifact import ModelArtifact
from conventions import config_keys
from infra.artifact import Versions
from infra.docker_preflight import DockerHost, inspect_docker, keys_digest, require_readable
from infra.errors import ConfigError
from infra.rollout_config import rollout_outputs, slot_name
from infra.settings import CHECKOUT, StackSettings

_LEAST_MEMORY_MIB = 6
"""Docker takes no less."""


def declare_container(settings: StackSettings, versions: Versions) -> dict[str, Any]:
    """Declares a stack on this machine's Docker.

    Returns:
        The stack's outputs.

    Raises:
        ConfigError: no image is named, Docker or the image is missing, the keys cannot be read, or another program
            listens on the address; nothing was declared.
    """
    deployment, rollout, where = settings.deployment, settings.rollout, f"Pulumi.{settings.stack}.yaml"
    host = _inspect(settings, versions, where)
    name = deployment.deployment_name
    stable = ModelArtifact(slot_name(name, rollout.slot, "model"), versions.stable)
    other = ModelArtifact(slot_name(name, rollout.other_slot, "model"), versions.other) if versions.other else None
    limits = deployment.resource_limits
    serving = DockerServing(
        name,
        DockerServingArgs(
            deployment_name=name,
            environment=deployment.environment,
            image=host.image,
            version=_version(stable),
            slots=LocalSlots(rollout.slot, _version(other) if other else None, rollout.weight, rollout.shadow),
            host=deployment.host,
            port=deployment.port,
            model_key_file=str(settings.model_key_file),
            api_keys_file=str(settings.api_keys_file),
            keys_digest=keys_digest(settings.model_key_file, settings.api_keys_file),
            user=host.user,
            user_namespace=host.user_namespace,
            checkout=str(CHECKOUT),
            memory_mib=limits.memory_mebibytes,
            cpus=limits.cores,
            gpus=limits.gpu,
            health_check_interval=deployment.monitoring_config.health_check_interval,
            service_variables=settings.service_variables,
            tls_variables=settings.tls.variables,
            development_host=settings.tls.development_host,
        ),
    )
    return {
        "modelVersion": stable.model_id,
        "modelDigest": stable.digest,
        "modelPath": stable.uri,
        "deploymentName": name,
        "servingId": serving.id_,
        "url": serving.url,
        "image": host.image,
        **rollout_outputs(rollout),
    }


def _inspect(settings: StackSettings, versions: Versions, where: str) -> DockerHost:
    deployment, image = settings.deployment, settings.image
    if image is None or not image.reference:
        raise ConfigError(
            f"{where}: {config_keys.IMAGE}.reference: this key is required on platform docker, such as "
            "fraud-detection:latest (docker build -t fraud-detection:latest .)"
        )
    host = inspect_docker(image.reference, settings.model_key_file, settings.api_keys_file, where)
    cores = deployment.resource_limits.cores
    if cores > host.cpus:
        raise ConfigError(
            f"{where}: {config_keys.DEPLOYMENT}.resource_limits.cpu: {deployment.resource_limits.cpu!r} is not "
            f"allowed; allowed: at most {host.cpus:g}, the cores that Docker has"
        )
    memory, at_least = deployment.resource_limits.memory_mebibytes, _LEAST_MEMORY_MIB
    if not at_least <= memory <= host.memory_mib:
        raise ConfigError(
            f"{where}: {config_keys.DEPLOYMENT}.resource_limits.memory: {deployment.resource_limits.memory!r} is not "
            f"allowed; allowed: {at_least}Mi to {host.memory_mib}Mi, the memory that the machine has"
        )
    if host.unenforced:
        pulumi.log.warn(f"{where}: resource_limits: {host.unenforced}")
    for version in filter(None, (versions.stable, versions.other)):
        require_readable(host.user, Path(directory_of(version.uri)), where)
    listening = {"checkout": str(CHECKOUT), "deployment_name": deployment.deployment_name}
    if taken := find_address_conflict({**listening, "host": deployment.host, "port": deployment.port}):
        raise ConfigError(f"{where}: {config_keys.DEPLOYMENT}.api_endpoint: {taken}; nothing was changed")
    return host


def _version(artifact: ModelArtifact) -> LocalVersion:
    return LocalVersion(artifact.model_id, artifact.uri, artifact.digest, artifact.runtime_digest)
