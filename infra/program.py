"""The Pulumi program: settings, artifact, serving, exports, in this order."""

import os
from typing import Any

import pulumi

from components.local_serving import LocalServing, LocalServingArgs, LocalSlots, LocalVersion
from components.model_artifact import ModelArtifact
from conventions import variables
from infra.artifact import Versions, resolve_versions
from infra.deployment_config import ResourceLimits
from infra.environment_policy import require_environment_policy
from infra.errors import ConfigError
from infra.rollout_config import rollout_outputs, slot_name
from infra.settings import CHECKOUT, StackSettings, load_settings


def program(serves_on: str = "") -> None:
    """Declares one stack: the model version of its config, served as its deployment says.

    Args:
        serves_on: the stable version, where this update leaves it as it is, such as when a candidate is withdrawn. It
            serves on although its approval was withdrawn meanwhile; a plain `pulumi up` refuses it.
    """
    declare(serves_on)


def declare(serves_on: str = "") -> dict[str, Any]:
    """Declares one stack, as `program` does, and returns its outputs.

    Args:
        serves_on: as for `program`.

    Raises:
        RunError: the stack's config does not fit; names the file, the key, the value and what is allowed.
    """
    try:
        settings = load_settings()
        require_environment_policy(settings)
        versions = resolve_versions(settings, serves_on)
        outputs = _PLATFORMS[settings.platform](settings, versions)
        outputs["modelVersion"] = versions.stable.model_id  # a text: the next update and the audit log read it
        if settings.break_glass is not None:
            outputs["breakGlass"] = settings.break_glass.to_dict()
    except ConfigError as error:
        raise pulumi.RunError(str(error)) from None
    for name, value in outputs.items():
        pulumi.export(name, value)
    return outputs


def _on_kubernetes(settings: StackSettings, versions: Versions) -> dict[str, Any]:
    # Imported here: the cloud's packages take seconds to load, and the local platform does not need them.
    from infra.cloud import declare_cloud
    from infra.cluster_preflight import inspect_cluster, require_same_account
    from infra.docker_provider import require_docker_provider
    from infra.placeholders import require_own_values
    from infra.preflight import inspect_account

    where = f"Pulumi.{settings.stack}.yaml"
    assert settings.cloud is not None and settings.kubernetes is not None  # noqa: S101, PT018 - read for this platform
    if not os.environ.get("AWS_ENDPOINT_URL"):  # a sandbox has what the committed files name
        require_own_values(settings)
    account = inspect_account(settings.cloud, where)
    require_same_account(settings.kubernetes, settings.cloud, account, where)
    inspect_cluster(settings.kubernetes, settings.deployment.deployment_name, where)
    if settings.image is not None and not settings.image.reference:
        require_docker_provider(where)
    return declare_cloud(settings, account, versions)


def _on_docker(settings: StackSettings, versions: Versions) -> dict[str, Any]:
    from infra.container import declare_container

    return declare_container(settings, versions)


def declare_on_this_machine(settings: StackSettings, versions: Versions) -> dict[str, Any]:
    """Declares a stack whose endpoint is a process of this machine.

    Returns:
        The stack's outputs.
    """
    deployment, rollout = settings.deployment, settings.rollout
    name = deployment.deployment_name
    stable = ModelArtifact(slot_name(name, rollout.slot, "model"), versions.stable)
    other = ModelArtifact(slot_name(name, rollout.other_slot, "model"), versions.other) if versions.other else None
    serving = LocalServing(
        name,
        LocalServingArgs(
            deployment_name=name,
            environment=deployment.environment,
            version=_local(stable),
            host=deployment.host,
            port=deployment.port,
            model_key_file=str(settings.model_key_file),
            api_keys_file=str(settings.api_keys_file),
            checkout=str(CHECKOUT),
            service_variables={**_limits(deployment.resource_limits), **settings.service_variables},
            tls_variables=settings.tls.variables,
            development_host=settings.tls.development_host,
            slots=LocalSlots(rollout.slot, _local(other) if other else None, rollout.weight, rollout.shadow)
            if rollout.has_two_slots
            else None,
        ),
    )
    return {
        "modelVersion": stable.model_id,
        "modelDigest": stable.digest,
        "modelPath": stable.uri,
        "deploymentName": name,
        "servingId": serving.id_,
        "url": serving.url,
        **rollout_outputs(rollout),
    }


def _limits(limits: ResourceLimits) -> dict[str, str]:
    """What a process of this machine is told of its limits, where they allow more than one; nothing enforces them."""
    if limits.cores < 2:
        return {}
    return {
        variables.CPU_LIMIT: f"{limits.cores:g}",
        variables.MEMORY_LIMIT: str(limits.memory_mebibytes << 20),
    }


def _local(artifact: ModelArtifact) -> LocalVersion:
    return LocalVersion(artifact.model_id, artifact.uri, artifact.digest, artifact.runtime_digest)


_PLATFORMS = {"local": declare_on_this_machine, "docker": _on_docker, "kubernetes": _on_kubernetes}
