"""Verifies a stored version against its manifest; needs no key."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conventions.artifact_files import ARTIFACT_FILE, GOLDEN_FILE
from model_store.artifact.reader import open_artifact
from model_store.errors import ChecksumMismatch, ContextMismatch, ModelStoreError, TrailingData, Truncated
from model_store.registry.layout import context_of, version_prefix
from model_store.registry.manifest import ModelMetadata
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
    model_id = metadata.model_id
    prefix = version_prefix(model_id)
    files: dict[str, tuple[str, int | None]] = {
        ARTIFACT_FILE: (metadata.digest, metadata.payload_bytes),
        **metadata.attachments,
    }
    if kept := state.get("golden"):
        files[GOLDEN_FILE] = (kept["digest"], None)
    for name, (expected, payload_bytes) in files.items():
        try:
            measured = _measure(storage.path(f"{prefix}/{name}"), payload_bytes)
        except ModelStoreError as error:
            raise type(error)(f"{model_id}: the {name} is not intact: {error}") from None
        if measured != expected:
            raise ChecksumMismatch(
                f"{model_id}: the {name} is not the registered one: its digest is {measured}, "
                f"its manifest says {expected}"
            )
    with open_artifact(storage.path(f"{prefix}/{ARTIFACT_FILE}")) as artifact:
        if metadata.contract is not None and artifact.header.context != context_of(metadata):
            raise ContextMismatch(
                f"{model_id}: the manifest's contract is not the one that the artifact was registered with"
            )
    return metadata.digest


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
