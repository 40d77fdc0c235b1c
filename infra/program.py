"""The program: settings, artifact, serving, exports, in the order in which a model travels."""

import pulumi

from components.local_serving import LocalServing, LocalServingArgs
from components.model_artifact import ModelArtifact
from infra.artifact import resolve_artifact
from infra.errors import ConfigError
from infra.settings import CHECKOUT, StackSettings, load_settings


def program() -> None:
    """Declares one stack: the model version of its config, served as its deployment says."""
    try:
        settings = load_settings()
        artifact = ModelArtifact(f"{settings.deployment.deployment_name}-model", resolve_artifact(settings))
    except ConfigError as error:
        raise pulumi.RunError(str(error)) from None
    serving = _serving(settings, artifact)
    pulumi.export("modelVersion", artifact.model_id)
    pulumi.export("modelDigest", artifact.digest)
    pulumi.export("modelPath", artifact.uri)
    pulumi.export("deploymentName", settings.deployment.deployment_name)
    pulumi.export("servingId", serving.id_)
    pulumi.export("url", serving.url)


def _serving(settings: StackSettings, artifact: ModelArtifact) -> LocalServing:
    if settings.platform != "local":
        raise pulumi.RunError(
            f"Pulumi.{settings.stack}.yaml: fraud-detection:platform: {settings.platform!r} cannot be served yet; "
            "allowed: local"
        )
    deployment = settings.deployment
    return LocalServing(
        deployment.deployment_name,
        LocalServingArgs(
            deployment_name=deployment.deployment_name,
            environment=deployment.environment,
            model_id=artifact.model_id,
            model_uri=artifact.uri,
            model_digest=artifact.digest,
            host=deployment.host,
            port=deployment.port,
            model_key_file=str(settings.model_key_file),
            api_keys_file=str(settings.api_keys_file),
            checkout=str(CHECKOUT),
        ),
    )
