"""Finds the model version of a stack in the registry and measures its artifact, before anything is declared."""

import pulumi

from components.model_artifact import ModelArtifactArgs
from infra.errors import ConfigError
from infra.settings import StackSettings
from model_store import ModelRegistry
from model_store.errors import ModelStoreError, SignatureInvalid
from model_store.signing import SignaturePolicy, parse_public_key


def resolve_artifact(settings: StackSettings) -> ModelArtifactArgs:
    """Returns what the ModelArtifact component needs to know about the stack's model version.

    Raises:
        ConfigError: the registry does not have the model version, its artifact is not intact, or no trusted key signed
            it where the stack requires one.
    """
    try:
        registry = ModelRegistry(settings.registry)
        _require_reachable(registry, settings)
        manifest = registry.get_metadata(settings.model_version)
        measured = registry.verify_artifact(settings.model_version)
        _verify_signature(registry, settings)
    except ModelStoreError as error:
        raise ConfigError(f"Pulumi.{settings.stack}.yaml: fraud-detection:modelVersion: {error}") from None
    return ModelArtifactArgs(
        model_id=manifest.model_id,
        uri=registry.artifact_path(settings.model_version).parent.resolve().as_uri(),
        digest=manifest.digest,
        measured_digest=measured,
    )


def _verify_signature(registry: ModelRegistry, settings: StackSettings) -> None:
    signing = settings.signing
    if signing.policy is SignaturePolicy.OFF:
        return
    try:
        registry.verify_signature(settings.model_version, [parse_public_key(text) for text in signing.public_keys])
    except SignatureInvalid as error:
        if signing.policy is SignaturePolicy.REQUIRE:
            raise
        pulumi.log.warn(f"{error}; the stack's signing policy only warns")


def _require_reachable(registry: ModelRegistry, settings: StackSettings) -> None:
    """A process of this machine reads the artifact from the registry's own files, for as long as it runs."""
    if settings.platform == "local" and registry.storage.location.startswith("s3://"):
        raise ConfigError(
            f"Pulumi.{settings.stack}.yaml: fraud-detection:platform: 'local' serves from a registry in a directory, "
            f"MODEL_REGISTRY_URL is {registry.storage.location}; allowed here: a directory or a file:// URL"
        )
