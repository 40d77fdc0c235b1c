"""Finds the model version of a stack in the registry and measures its artifact, before anything is declared."""

import pulumi

from components.model_artifact import ModelArtifactArgs
from infra.errors import ConfigError
from infra.fitness import require_validated
from infra.settings import StackSettings
from model_store import ModelRegistry
from model_store.errors import ModelStoreError, SignatureInvalid
from model_store.layout import place_of
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
        require_validated(settings, manifest)
        files = _files(registry, settings)
    except ModelStoreError as error:
        raise ConfigError(f"Pulumi.{settings.stack}.yaml: fraud-detection:modelVersion: {error}") from None
    return ModelArtifactArgs(
        model_id=manifest.model_id,
        uri=_uri(registry, settings),
        digest=manifest.digest,
        measured_digest=measured,
        runtime_digest=manifest.runtime_digest,
        files=files,
        revision=f"{manifest.digest}/{'+'.join(registry.key_ids(settings.model_version))}",
    )


def _uri(registry: ModelRegistry, settings: StackSettings) -> str:
    place = place_of(settings.model_version)
    if settings.platform != "kubernetes":
        return registry.artifact_path(settings.model_version).parent.resolve().as_uri()
    return f"{registry.storage.location}/{place}" if _in_the_bucket(registry, settings) else place


def _files(registry: ModelRegistry, settings: StackSettings) -> tuple[str, ...]:
    """What has to be uploaded: nothing, when the registry is the stack's own bucket."""
    if settings.platform != "kubernetes" or _in_the_bucket(registry, settings):
        return ()
    place = place_of(settings.model_version)
    keys = [f"{place}/{name}" for name in ("manifest.json", "artifact", "runtime", "signature.json")]
    return tuple(str(registry.storage.path(key).resolve()) for key in keys if registry.storage.exists(key))


def _in_the_bucket(registry: ModelRegistry, settings: StackSettings) -> bool:
    return settings.cloud is not None and registry.storage.location == f"s3://{settings.cloud.registry_bucket}"


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
