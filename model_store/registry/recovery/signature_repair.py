"""Brings back a damaged signature; only a public key tells which of two signatures is right."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from conventions.artifact_files import SIGNATURE_FILE
from model_store.errors import ModelStoreError, SignatureInvalid
from model_store.registry.files.layout import version_prefix
from model_store.registry.files.placing import replace
from model_store.registry.recovery.damage import read_manifest
from model_store.registry.signing import parse_envelope, verify_envelope
from model_store.storage.base import Storage

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def lost_signatures(ours: Storage, theirs: Storage, key: str, *, same_payload: bool = False) -> str:
    """Which signatures of a version in one storage another one lacks, or has otherwise, in words; empty when none.

    Args:
        ours: the storage that may lack some.
        theirs: the one that has them.
        key: of the signature file.
        same_payload: whether only signatures of the same bytes are compared.
    """
    mine, other = (parse_envelope(each.read(key)) for each in (ours, theirs))
    if same_payload and mine["payload"] != other["payload"]:
        return ""
    have = {entry.get("keyid", ""): entry.get("sig") for entry in mine["signatures"]}
    wanted = {entry.get("keyid", ""): entry.get("sig") for entry in other["signatures"]}
    lost = sorted(
        name for name, signature in wanted.items() if have.get(name) != signature and (name in have or not same_payload)
    )
    return f"it has not the signature by {', '.join(lost)}" if lost else ""


def repair_signature(
    source: Storage, target: Storage, model_id: str, public_keys: Sequence["Ed25519PublicKey"]
) -> tuple[bool, str]:
    """Replaces a signature that none of the keys proves by the source's, which one proves.

    Returns:
        Whether it was replaced; and why it stays where it is not the source's, empty otherwise.

    Raises:
        StorageFailed: the registry cannot be written.
    """
    key = f"{version_prefix(model_id)}/{SIGNATURE_FILE}"
    try:
        lost = lost_signatures(target, source, key, same_payload=True)
        manifest = read_manifest(target, model_id).manifest() if lost else {}
    except ModelStoreError:
        return False, ""  # damage of another kind, or nothing to compare
    if not lost or _is_proven(target, key, manifest, public_keys):
        return False, ""
    if _is_proven(source, key, manifest, public_keys):
        replace(target, key, source.path(key))
        return True, ""
    way_out = "no key that you named proves either" if public_keys else "--public-key KEY tells which is right"
    return False, f"{lost} of the copy in {source.location}; {way_out}"


def _is_proven(storage: Storage, key: str, manifest: Any, public_keys: Sequence["Ed25519PublicKey"]) -> bool:
    try:
        verify_envelope(parse_envelope(storage.read(key)), manifest, public_keys)
    except SignatureInvalid:
        return False
    return True
