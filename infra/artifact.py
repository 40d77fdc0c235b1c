"""Finds the model version of a stack in the registry and measures its artifact, before anything is declared."""

from dataclasses import dataclass
from pathlib import Path

import pulumi

from components.model_artifact import ModelArtifactArgs
from conventions import config_keys
from conventions.artifact_files import KEPT_FILES
from infra.environment_policy import require_fit
from infra.errors import ConfigError
from infra.settings import CHECKOUT, StackSettings
from model_store import ModelRegistry
from model_store.errors import ModelStoreError, SignatureInvalid
from model_store.registry.files.layout import version_prefix
from model_store.registry.signing import SignaturePolicy, parse_public_key

_OPEN: list[ModelRegistry] = []
"""Kept for as long as the program runs: what is downloaded from a bucket lasts until the engine has uploaded it."""


@dataclass(frozen=True)
class Versions:
    """The model versions of a stack."""

    stable: ModelArtifactArgs
    other: ModelArtifactArgs | None = None
    """The version in the other slot: a candidate, or the previous version; None when the slot is empty."""


def resolve_versions(settings: StackSettings, serves_on: str = "") -> Versions:
    """Returns what is known of the stack's model versions.

    Args:
        settings: of the stack.
        serves_on: the version that serves already and goes on; see `infra.program.program`.

    Raises:
        ConfigError: as for `resolve_artifact`.
    """
    rollout = settings.rollout
    stable = resolve_artifact(settings, settings.model_version, "modelVersion", serves_on)
    if not rollout.other:
        return Versions(stable)
    key = "rollout.candidate" if rollout.candidate else "rollout.kept"
    return Versions(stable, resolve_artifact(settings, rollout.other, key))


def resolve_artifact(settings: StackSettings, model_id: str, key: str, serves_on: str = "") -> ModelArtifactArgs:
    """Returns what the ModelArtifact component needs to know about a model version of the stack.

    Args:
        settings: of the stack.
        model_id: which.
        key: of the config that names it, for errors.
        serves_on: as for `resolve_versions`.

    Raises:
        ConfigError: the registry does not have the model version, its artifact is not intact, or no trusted key signed
            it where the stack requires one.
    """
    try:
        registry = ModelRegistry(settings.registry)
        _OPEN.append(registry)
        _require_reachable(registry, settings)
        manifest = registry.get_metadata(model_id)
        measured = registry.verify_artifact(model_id)
        require_servable_key(registry, model_id, f"Pulumi.{settings.stack}.yaml: {config_keys.config_key(key)}")
        _verify_signature(registry, settings, model_id)
        if model_id != kept_version(settings):
            require_fit(settings, registry, model_id, serves_on=model_id == serves_on)
        files = _files(registry, settings, model_id)
    except ModelStoreError as error:
        raise ConfigError(f"Pulumi.{settings.stack}.yaml: {config_keys.config_key(key)}: {error}") from None
    return ModelArtifactArgs(
        model_id=manifest.model_id,
        uri=_uri(registry, settings, model_id),
        digest=manifest.digest,
        measured_digest=measured,
        runtime_digest=manifest.runtime_digest,
        files=files,
        source=_source(registry),
        checkout=str(CHECKOUT),
        reason=settings.deployment.deployment_name,
        revision=f"{manifest.digest}/{'+'.join(registry.key_ids(model_id))}",
    )


def require_servable_key(registry: ModelRegistry, model_id: str, where: str) -> None:
    """Raises ConfigError unless the service can open a version's artifact: it has the key of a file, and none of KMS.

    Args:
        registry: holds the version.
        model_id: the version.
        where: file and key that name it, for the error.

    Raises:
        ConfigError: keys of KMS alone open it; names them, and the command that gives it another one.
    """
    keys = registry.key_ids(model_id)
    if keys and all(key.startswith("arn:") for key in keys):
        raise ConfigError(
            f"{where}: {model_id} is encrypted with {', '.join(keys)} alone, and the service opens artifacts with the "
            "key of MODEL_KEY_FILE: give it that key (python scripts/manage_models.py rotate-key --new-key FILE); "
            "nothing was changed"
        )


def kept_version(settings: StackSettings) -> str:
    """The version kept for a rollback, empty for none. It answers no request, so no requirement applies to it."""
    return settings.rollout.kept if settings.rollout.kept != settings.model_version else ""


def _uri(registry: ModelRegistry, settings: StackSettings, model_id: str) -> str:
    prefix = version_prefix(model_id)
    if settings.platform != "kubernetes":
        return registry.artifact_path(model_id).parent.resolve().as_uri()
    return f"{registry.storage.location}/{prefix}" if _in_the_bucket(registry, settings) else prefix


def _files(registry: ModelRegistry, settings: StackSettings, model_id: str) -> tuple[str, ...]:
    """Returns the files of a version to promote: none when the registry is the stack's own bucket."""
    if settings.platform != "kubernetes" or _in_the_bucket(registry, settings):
        return ()
    prefix = version_prefix(model_id)
    keys = [f"{prefix}/{name}" for name in KEPT_FILES]
    return tuple(str(registry.storage.path(key).resolve()) for key in keys if registry.storage.exists(key))


def _source(registry: ModelRegistry) -> str:
    location = registry.storage.location
    return location if location.startswith("s3://") else str(Path(location).resolve())


def _in_the_bucket(registry: ModelRegistry, settings: StackSettings) -> bool:
    return settings.cloud is not None and registry.storage.location == f"s3://{settings.cloud.registry_bucket}"


def _verify_signature(registry: ModelRegistry, settings: StackSettings, model_id: str) -> None:
    signing = settings.signing
    if signing.policy is SignaturePolicy.OFF:
        return
    try:
        registry.verify_signature(model_id, [parse_public_key(text) for text in signing.public_keys])
    except SignatureInvalid as error:
        if signing.policy is SignaturePolicy.REQUIRE:
            raise
        pulumi.log.warn(f"{error}; the stack's signing policy only warns")


def _require_reachable(registry: ModelRegistry, settings: StackSettings) -> None:
    """Raises ConfigError unless a process or a container of this machine can read the registry's files."""
    if settings.platform != "kubernetes" and registry.storage.location.startswith("s3://"):
        raise ConfigError(
            f"Pulumi.{settings.stack}.yaml: {config_keys.PLATFORM}: '{settings.platform}' serves from a registry in a "
            f"directory, MODEL_REGISTRY_URL is {registry.storage.location}; allowed here: a directory or a file:// URL"
        )
