"""Finds the model version of a stack in the registry and measures its artifact, before anything is declared."""

from components.model_artifact import ModelArtifactArgs
from infra.errors import ConfigError
from infra.settings import StackSettings
from model_store import ModelRegistry
from model_store.errors import ModelStoreError


def resolve_artifact(settings: StackSettings) -> ModelArtifactArgs:
    """Returns what the ModelArtifact component needs to know about the stack's model version.

    Raises:
        ConfigError: the registry does not have the model version, or its artifact is not intact.
    """
    try:
        registry = ModelRegistry(settings.registry)
        manifest = registry.get_metadata(settings.model_version)
        measured = registry.verify_artifact(settings.model_version)
    except ModelStoreError as error:
        raise ConfigError(f"Pulumi.{settings.stack}.yaml: fraud-detection:modelVersion: {error}") from None
    return ModelArtifactArgs(
        model_id=manifest.model_id,
        uri=registry.artifact_path(settings.model_version).parent.resolve().as_uri(),
        digest=manifest.digest,
        measured_digest=measured,
    )
