"""The program: settings, artifact, serving, exports, in the order in which a model travels."""

from typing import Any

import pulumi

from components.local_serving import LocalServing, LocalServingArgs
from components.model_artifact import ModelArtifact, ModelArtifactArgs
from infra.artifact import resolve_artifact
from infra.errors import ConfigError
from infra.fitness import require_fit
from infra.settings import CHECKOUT, StackSettings, load_settings


def program() -> None:
    """Declares one stack: the model version of its config, served as its deployment says."""
    try:
        settings = load_settings()
        require_fit(settings)
        model = resolve_artifact(settings)
        outputs = _PLATFORMS[settings.platform](settings, model)
    except ConfigError as error:
        raise pulumi.RunError(str(error)) from None
    for name, value in outputs.items():
        pulumi.export(name, value)


def _on_kubernetes(settings: StackSettings, model: ModelArtifactArgs) -> dict[str, Any]:
    # Imported here: the cloud's packages take seconds to load, which the local platform need not wait for.
    from infra.cloud import declare_cloud
    from infra.preflight import look_at_account, look_at_cluster

    where = f"Pulumi.{settings.stack}.yaml"
    assert settings.cloud is not None and settings.kubernetes is not None  # noqa: S101, PT018 - read for this platform
    account = look_at_account(settings.cloud, where)
    look_at_cluster(settings.kubernetes, where)
    return declare_cloud(settings, account, model)


def _on_docker(settings: StackSettings, model: ModelArtifactArgs) -> dict[str, Any]:
    from infra.container import declare_container

    return declare_container(settings, model)


def declare_on_this_machine(settings: StackSettings, model: ModelArtifactArgs) -> dict[str, Any]:
    """Declares a stack whose endpoint is a process of this machine.

    Returns:
        The stack's outputs.
    """
    deployment = settings.deployment
    artifact = ModelArtifact(f"{deployment.deployment_name}-model", model)
    serving = LocalServing(
        deployment.deployment_name,
        LocalServingArgs(
            deployment_name=deployment.deployment_name,
            environment=deployment.environment,
            model_id=artifact.model_id,
            model_uri=artifact.uri,
            model_digest=artifact.digest,
            model_runtime_digest=artifact.runtime_digest,
            host=deployment.host,
            port=deployment.port,
            model_key_file=str(settings.model_key_file),
            api_keys_file=str(settings.api_keys_file),
            checkout=str(CHECKOUT),
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


_PLATFORMS = {"local": declare_on_this_machine, "docker": _on_docker, "kubernetes": _on_kubernetes}
