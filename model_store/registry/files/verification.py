"""Verifies a stored version against its manifest; needs no key."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conventions.artifact_files import ARTIFACT_FILE, GOLDEN_FILE, MANIFEST_FILE, STATE_FILE
from model_store.artifact.reader import open_artifact
from model_store.errors import (
    ChecksumMismatch,
    ContextMismatch,
    FileMissing,
    InvalidInput,
    ModelStoreError,
    TrailingData,
    Truncated,
    UnreadableModel,
)
from model_store.registry.files.evidence import verify_evidence
from model_store.registry.files.layout import digest_of, encryption_context, version_prefix
from model_store.registry.files.manifest import ModelMetadata
from model_store.storage.base import Storage


def verify_artifact(storage: Storage, metadata: ModelMetadata, state: Mapping[str, Any]) -> str:
    """Measures every file of a model version and compares it with its manifest.

    Args:
        storage: holds the files.
        metadata: of the model version.
        state: of the model version; names golden rows that were added later.

    Returns:
        The digest of the artifact.

    Raises:
        IntegrityError: a file is not the registered one; names the model version and the file.
    """
    for name, (expected, payload_bytes) in expected_files(metadata, state).items():
        require_file(storage, metadata.model_id, name, expected, payload_bytes)
    require_bound(storage, metadata)
    require_manifest_of(storage, metadata.model_id, state)
    verify_evidence(storage, metadata.model_id, state)
    return metadata.digest


def expected_files(metadata: ModelMetadata, state: Mapping[str, Any]) -> dict[str, tuple[str, int | None]]:
    """The artifact files of a version: by name, the digest and, where it is known, the bytes of the payload."""
    files: dict[str, tuple[str, int | None]] = {
        ARTIFACT_FILE: (metadata.digest, metadata.payload_bytes),
        **metadata.attachments,
    }
    if kept := state.get("golden"):
        files.setdefault(GOLDEN_FILE, (kept["digest"], None))
    return files


def require_file(storage: Storage, model_id: str, name: str, expected: str, payload_bytes: int | None) -> None:
    """Raises unless one file of a version is the registered one.

    Raises:
        IntegrityError: it is not; names the model version and the file.
    """
    try:
        measured = _measure(storage.path(f"{version_prefix(model_id)}/{name}"), payload_bytes)
    except OSError as error:
        raise UnreadableModel(f"{model_id}: the {name} cannot be read ({error.strerror})") from None
    except (FileMissing, InvalidInput) as error:
        raise UnreadableModel(f"{model_id}: the {name} cannot be read: {error}") from None
    except ModelStoreError as error:
        raise type(error)(f"{model_id}: the {name} is not intact: {error}") from None
    if measured != expected:
        raise ChecksumMismatch(
            f"{model_id}: the {name} is not the registered one: its digest is {measured}, its manifest says {expected}"
        )


def require_manifest_of(storage: Storage, model_id: str, state: Mapping[str, Any]) -> None:
    """Raises ChecksumMismatch unless a manifest has the digest that the state keeps of it; states of before keep none.

    Raises:
        ModelNotFound: there is no manifest.
    """
    if state.get("manifest") is not None:
        content = storage.read(f"{version_prefix(model_id)}/{MANIFEST_FILE}")
        require_manifest_digest(model_id, digest_of(content), state)


def require_manifest_digest(model_id: str, found: str, state: Mapping[str, Any]) -> None:
    """Raises ChecksumMismatch unless the digest of a manifest is the one that the state keeps, if it keeps one.

    Args:
        model_id: of the version.
        found: the digest of its manifest, `sha256:<hex>`.
        state: of the version.
    """
    if (expected := state.get("manifest")) not in (None, found):
        raise ChecksumMismatch(
            f"{model_id}: the {MANIFEST_FILE} is not the registered one: its digest is {found}, the "
            f"{STATE_FILE} says {expected}"
        )


def require_bound(storage: Storage, metadata: ModelMetadata) -> None:
    """Raises ContextMismatch unless the artifact was registered with the manifest's contract."""
    with open_artifact(storage.path(f"{version_prefix(metadata.model_id)}/{ARTIFACT_FILE}")) as artifact:
        if metadata.contract is not None and artifact.header.context != encryption_context(metadata):
            raise ContextMismatch(
                f"{metadata.model_id}: the manifest's contract is not the one that the artifact was registered with"
            )


def _measure(path: Path, payload_bytes: int | None) -> str:
    if not path.exists():
        raise Truncated("the file is missing")
    with open_artifact(path) as artifact:
        if payload_bytes is None:
            return artifact.measure()
        if artifact.payload_bytes < payload_bytes:
            raise Truncated(f"its payload has {artifact.payload_bytes} bytes, not {payload_bytes}")
        if artifact.payload_bytes > payload_bytes:
            raise TrailingData(f"its payload has {artifact.payload_bytes} bytes, not {payload_bytes}")
        return artifact.measure()
