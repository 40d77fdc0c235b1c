"""Paths and formats of a registry's files, shared by its modules."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from model_store.artifact.header import canonical_json
from model_store.errors import InvalidInput, ModelNotFound, StorageFailed
from model_store.keys.defaults import default_checkout, registry_location
from model_store.registry.files.manifest import ModelMetadata, parse_model_name
from model_store.storage.base import Storage
from model_store.storage.directory import DirectoryStorage


def encryption_context(metadata: ModelMetadata) -> dict[str, str]:
    """The encryption context of a registered artifact: its version, contract and golden rows."""
    return {
        "model_id": metadata.model_id,
        "model_name": metadata.model_name,
        **bound_contract(metadata.contract, metadata.feature_schema),
    }


def bound_contract(contract: Mapping[str, Any] | None, features: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Binds an artifact to its contract: the artifact's digest covers the digests of contract and golden rows."""
    if contract is None:
        return {}
    content = canonical_json({"contract": contract, "features": list(features)})
    return {"contract": f"sha256:{hashlib.sha256(content).hexdigest()}"}


def version_prefix(model_id: str) -> str:
    """The prefix of the keys of a model version's files.

    Raises:
        ModelNotFound: it is not a model id.
    """
    try:
        return f"models/{parse_model_name(model_id)}/{model_id}"
    except InvalidInput as error:
        raise ModelNotFound(str(error)) from None


def json_bytes(value: object) -> bytes:
    """JSON as the registry's files hold it."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: object) -> None:
    """Writes a new JSON file, synced.

    Raises:
        StorageFailed: it cannot be written.
    """
    try:
        with path.open("xb") as file:
            file.write(json_bytes(value))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageFailed(f"{path}: cannot be written ({error.strerror})") from None


def now() -> str:
    """The present time, RFC 3339, UTC."""
    return rfc3339(datetime.now(UTC))


def storage_at(location: str | Path | None) -> Storage:
    """The storage of a registry: what is given, what `MODEL_REGISTRY_URL` names, or the checkout's `registry/`.

    Raises:
        InvalidInput: a location of another kind.
    """
    text = str(location) if location is not None else registry_location(default_checkout())
    if not text:
        raise InvalidInput(
            "an empty registry location is not allowed; allowed: a directory, file://… or s3://bucket/prefix"
        )
    if "://" not in text:
        return DirectoryStorage(Path(text))
    parts = urlsplit(text)
    if parts.query or parts.fragment or parts.username or parts.password:
        raise InvalidInput(
            "a registry location with ?, # or a name before @ is not allowed; where they belong to a directory's name, "
            "write them as %3F, %23 and %40"
        )
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return DirectoryStorage(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        from model_store.storage.s3 import S3Storage

        return S3Storage(parts.netloc, unquote(parts.path).strip("/"))
    raise InvalidInput(
        f"registry location {text!r} is not allowed; allowed: a directory, file://… or s3://bucket/prefix"
    )


def resolved_location(location: str) -> str:
    """A registry's location by one name alone: a directory has many, over links and from here."""
    return location.rstrip("/") if "://" in location else str(Path(location).resolve())


def rfc3339(moment: datetime) -> str:
    """A time as text: RFC 3339, UTC, whole seconds."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def digest_of(content: bytes) -> str:
    """The digest of a file's content, `sha256:<hex>`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
