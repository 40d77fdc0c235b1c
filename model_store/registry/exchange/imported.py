"""What comes from another registry is what its manifest says, before it is stored here."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from conventions.artifact_files import ARTIFACT_FILE, GOLDEN_FILE, MANIFEST_FILE, RUNTIME_FILE, SIGNATURE_FILE
from model_store.artifact.header import Header
from model_store.artifact.reader import measure_digest, open_artifact
from model_store.confinement.jobs import FORM, GOLDEN, MODEL
from model_store.errors import (
    ChecksumMismatch,
    ContextMismatch,
    EncryptionExpected,
    InvalidInput,
    UnreadableModel,
    VersionConflict,
)
from model_store.registry.files.layout import digest_of, encryption_context, version_prefix
from model_store.registry.files.manifest import ModelMetadata, parse_model_name, require_names, type_of
from model_store.registry.files.schema import require_lineage
from model_store.registry.log.outcomes import recorded_failure
from model_store.registry.registry import ModelRegistry
from model_store.registry.signing import parse_envelope, read_anchor

OPENED_FILES = {ARTIFACT_FILE: MODEL, GOLDEN_FILE: GOLDEN, RUNTIME_FILE: FORM}
"""The files that a service opens, by the names that the child knows them by; the artifact is first."""
_CLOCK_DIFFERENCE = timedelta(days=1)


def require_own_files(directory: Path, metadata: ModelMetadata) -> None:
    """Raises unless the files are those of the manifest, and the artifact is bound to its version and contract.

    Args:
        directory: holds the files.
        metadata: what the manifest says.

    Raises:
        ChecksumMismatch: a file is another one, or the manifest says something of it that is not so.
        ContextMismatch: the artifact was made for another version.
    """
    if measure_digest(directory / ARTIFACT_FILE) != metadata.digest:
        raise ChecksumMismatch("the artifact is not the one that its manifest describes")
    with open_artifact(directory / ARTIFACT_FILE) as artifact:
        if dict(artifact.header.context) != encryption_context(metadata):
            raise ContextMismatch("the artifact was made for another version, contract or feature schema")
        _require_header(artifact.header, metadata)
    files = {ARTIFACT_FILE: (metadata.digest, metadata.payload_bytes), **metadata.attachments}
    for name in OPENED_FILES:
        file, (expected, payload_bytes) = directory / name, files.get(name, ("", 0))
        if (measure_digest(file) if file.exists() else "") != expected:
            raise ChecksumMismatch(f"the {name} is not the one that its manifest describes")
        if expected:
            with open_artifact(file) as artifact:
                _require_equal(f"payload_bytes of the {name}", payload_bytes, artifact.payload_bytes)


def _require_header(header: Header, metadata: ModelMetadata) -> None:
    """Raises ChecksumMismatch unless the manifest says of the artifact what its header says."""
    for name in ("serializer", "compression", "encrypted", "model_class"):
        said, found = getattr(metadata, name), getattr(header, name)
        _require_equal(name, said, str(found) if isinstance(found, str) else found)
    # What the file names beside its writer's libraries, or in their place, stands in the manifest alone.
    if not set(header.library_versions) <= set(metadata.library_versions):
        _require_equal("library_versions", dict(metadata.library_versions), header.library_versions)


def _require_equal(name: str, said: object, found: object) -> None:
    if said != found:
        raise ChecksumMismatch(f"the bundle's manifest says {said!r} of {name}, the file has {found!r}")


def require_plausible(metadata: ModelMetadata) -> None:
    """Raises UnreadableModel unless a manifest is one that a registration could have written until now.

    Its name and id lead to the version's own place in the registry, and nowhere else; it was created at a time that has
    come, with a day for clocks that differ.

    Args:
        metadata: what the manifest says.
    """
    try:
        name = parse_model_name(metadata.model_id)
        require_names(metadata.model_name, metadata.model_type, metadata.tags)
        _require_past(metadata.created_at)
        require_lineage(metadata.lineage)
    except (InvalidInput, UnreadableModel) as error:
        raise UnreadableModel(f"the bundle's manifest: {error}") from None
    if metadata.model_name != name:
        raise UnreadableModel(f"the bundle's manifest names the model {metadata.model_name!r}, its id {name!r}")
    if metadata.model_type != type_of(metadata.model_id):
        raise UnreadableModel(
            f"the bundle's manifest names the type {metadata.model_type!r}, its id {type_of(metadata.model_id)!r}"
        )


def _require_past(created_at: str) -> None:
    try:
        moment = datetime.fromisoformat(created_at)
    except ValueError:
        raise UnreadableModel(f"created_at is {created_at!r}, which is not a time") from None
    if moment > datetime.now(UTC) + _CLOCK_DIFFERENCE:
        raise UnreadableModel(f"created_at is {created_at}, a time that has not come")


def require_encryption(registry: ModelRegistry, metadata: ModelMetadata, directory: Path) -> None:
    """Raises unless a version's files are encrypted where its manifest says so, and where the registry encrypts.

    Raises:
        EncryptionExpected: one is not.
    """
    if all(_is_encrypted(directory / name) for name in OPENED_FILES if (directory / name).exists()):
        return
    if metadata.encrypted:
        raise EncryptionExpected(f"{metadata.model_id}: not encrypted, and its manifest says that it is")
    if registry.encrypts:
        raise EncryptionExpected(
            f"{metadata.model_id}: not encrypted, and this registry keeps encrypted artifacts; export it from a "
            "registry that encrypts, or import it into one that does not"
        )


def _is_encrypted(path: Path) -> bool:
    with open_artifact(path) as artifact:
        return bool(artifact.header.slots)


def publish_imported(registry: ModelRegistry, metadata: ModelMetadata, staging: Path, reason: str) -> None:
    """Records an import, then publishes the version in a staging directory.

    Args:
        registry: that the version comes into.
        metadata: of the version.
        staging: holds its files.
        reason: recorded.

    Raises:
        VersionConflict: somebody else registers or imports a version of this id.
        StorageFailed: the registry cannot be written.
    """
    model_id, prefix = metadata.model_id, version_prefix(metadata.model_id)
    conflict = VersionConflict(f"{model_id} was registered by somebody else at the same time")
    if not registry.storage.announce(staging, prefix):
        raise conflict
    with recorded_failure(registry.audit, "import", model_id):
        record_import(registry, metadata, staging / MANIFEST_FILE, staging / SIGNATURE_FILE, reason)
        if not registry.storage.publish(staging, prefix):
            raise conflict


def record_import(
    registry: ModelRegistry, metadata: ModelMetadata, manifest: Path, signature: Path, reason: str, **told: str
) -> None:
    """Records an import, with the digests of its files and who signed it."""
    registry.audit.append(
        "import",
        metadata.model_id,
        reason,
        digest=metadata.digest,
        version=metadata.version,
        manifest=digest_of(manifest.read_bytes()),
        logs=read_logs(signature),
        signed=_signers(signature),
        **told,
    )


def _signers(signature: Path) -> list[str]:
    if not signature.exists():
        return []
    return sorted(str(entry["keyid"]) for entry in parse_envelope(signature.read_bytes())["signatures"])


def read_logs(signature: Path) -> list[str]:
    """The audit log that a signature proves the head of, by the digest of its first record; empty without one."""
    found = read_anchor(parse_envelope(signature.read_bytes()), ()) if signature.exists() else None
    return [found[0].log] if found is not None else []
