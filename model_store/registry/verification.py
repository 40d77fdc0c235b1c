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
            measured, context = measure_file(storage.path(f"{prefix}/{name}"), payload_bytes)
        except ModelStoreError as error:
            raise type(error)(f"{model_id}: the {name} is not intact: {error}") from None
        if measured != expected:
            raise ChecksumMismatch(
                f"{model_id}: the {name} is not the registered one: its digest is {measured}, "
                f"its manifest says {expected}"
            )
        if name == ARTIFACT_FILE and metadata.contract is not None and context != context_of(metadata):
            raise ContextMismatch(
                f"{model_id}: the manifest's contract is not the one that the artifact was registered with"
            )
    return metadata.digest


def measure_file(path: Path, payload_bytes: int | None) -> tuple[str, dict[str, str]]:
    """The digest of an artifact file, and what it is bound to.

    Args:
        path: of the file.
        payload_bytes: what its payload has to have; None when that is not known.

    Raises:
        IntegrityError: the file is missing, cut, longer than it should be or not an artifact.
    """
    if not path.is_file():
        raise Truncated("the file is missing")
    with open_artifact(path) as artifact:
        if payload_bytes is not None and artifact.payload_bytes < payload_bytes:
            raise Truncated(f"its payload has {artifact.payload_bytes} bytes, not {payload_bytes}")
        if payload_bytes is not None and artifact.payload_bytes > payload_bytes:
            raise TrailingData(f"its payload has {artifact.payload_bytes} bytes, not {payload_bytes}")
        return artifact.measure(), dict(artifact.header.context)
