"""Signatures of stored versions: adds them to a version's signature file and verifies them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from conventions.artifact_files import SIGNATURE_FILE
from model_store.errors import ModelNotFound, SignatureInvalid, UnreadableModel
from model_store.registry.files.layout import json_bytes, version_prefix
from model_store.registry.files.manifest import ModelMetadata
from model_store.registry.signing import (
    AuditAnchor,
    co_sign,
    parse_envelope,
    require_envelope,
    sign_manifest,
    verify_envelope,
)
from model_store.storage.base import Storage

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def add_signature(
    storage: Storage, metadata: ModelMetadata, key: "Ed25519PrivateKey", anchor: AuditAnchor | None = None
) -> None:
    """Adds a signature to those of a version; a second signer signs what the first one signed.

    Args:
        storage: the registry's.
        metadata: of the version.
        key: signs.
        anchor: the head of the audit log, which a first signature proves.

    Raises:
        SignatureInvalid: the present signatures are of another manifest.
        VersionConflict: somebody else signed at the same time.
        StorageFailed: the registry cannot be written.
    """
    file = _signature_file(metadata)
    manifest = metadata.manifest()
    if not storage.put_if_absent(file, json_bytes(sign_manifest(manifest, key, anchor))):
        before = storage.read(file)
        storage.compare_and_swap(file, json_bytes(co_sign(parse_envelope(before), manifest, key)), before)


def verify_signature(storage: Storage, metadata: ModelMetadata, public_keys: Sequence["Ed25519PublicKey"]) -> str:
    """Raises SignatureInvalid unless one of the keys signed a version; returns the name of that key."""
    model_id = metadata.model_id
    try:
        content = storage.read(_signature_file(metadata))
    except ModelNotFound:
        raise SignatureInvalid(
            f"{model_id} is not signed; sign it: python scripts/manage_models.py sign {model_id} --sign-key FILE"
        ) from None
    try:
        return verify_envelope(parse_envelope(content), metadata.manifest(), public_keys)
    except SignatureInvalid as error:
        raise SignatureInvalid(f"{model_id}: {error}") from None


def signers_of(storage: Storage, model_id: str) -> list[str]:
    """The names of the keys that a version's signature file names; `verify_signature` proves one of them.

    Raises:
        SignatureInvalid: the file is not a signature.
        UnreadableModel: the file cannot be read.
    """
    try:
        envelope = parse_envelope(storage.read(f"{version_prefix(model_id)}/{SIGNATURE_FILE}"))
    except ModelNotFound:
        return []
    return [str(each.get("keyid", "")) for each in envelope["signatures"] if isinstance(each, dict)]


def require_own_signature(storage: Storage, metadata: ModelMetadata) -> None:
    """Raises unless a version's signature file, where it has one, holds signatures of this very manifest, by any key.

    Raises:
        SignatureInvalid: the file is not a signature, or one of another manifest; names the other version.
        UnreadableModel: the file cannot be read.
    """
    try:
        require_envelope(storage.read(_signature_file(metadata)), metadata.manifest())
    except ModelNotFound:
        return
    except UnreadableModel as error:
        raise UnreadableModel(f"{metadata.model_id}: {error}") from None
    except SignatureInvalid as error:
        raise SignatureInvalid(f"{metadata.model_id}: the {SIGNATURE_FILE} is not intact: {error}") from None


def _signature_file(metadata: ModelMetadata) -> str:
    return f"{version_prefix(metadata.model_id)}/{SIGNATURE_FILE}"
