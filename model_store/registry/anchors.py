"""Anchors: heads of the audit log that are kept where a writer of the log cannot take them back.

The chain of digests shows a change in the middle of the log. It does not show that the last records were cut off, or
that the whole log was rewritten. Each anchor does: it is the number and the digest of a record, kept in a signature
of a model version, in a backup, or on paper by somebody who ran `audit --head`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conventions.artifact_files import SIGNATURE_FILE
from conventions.regular_files import parse_json
from model_store.errors import ChecksumMismatch, InvalidInput, ModelStoreError, UnreadableModel
from model_store.registry.files.layout import json_bytes, now
from model_store.registry.log.audit import AuditHead, AuditLog
from model_store.registry.signing import AuditAnchor, parse_envelope, read_anchor
from model_store.storage.base import Storage

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_PREFIX = "anchors"


@dataclass(frozen=True)
class Anchor:
    """One head of the log, and what keeps it."""

    head: AuditHead
    keeper: str
    """What proves it, in words: `the signature of … by …`, `the backup …`."""
    log: str = ""
    """Digest of the first record of its log; empty where the keeper does not say."""
    model_id: str = ""
    """The version whose signature it is; empty for other keepers."""


def anchor_at(log: AuditLog, head: AuditHead) -> AuditAnchor:
    """A head as a signature holds it."""
    return AuditAnchor(head.sequence, head.digest, head.digest if head.sequence == 1 else log.first_digest())


def signature_anchors(storage: Storage, public_keys: Sequence["Ed25519PublicKey"] = ()) -> Iterator[Anchor]:
    """The heads in the signatures of a registry's versions; a file that is not a signature is left to `verify`."""
    for key in storage.keys("models"):
        if not key.endswith(f"/{SIGNATURE_FILE}"):
            continue
        model_id = key.split("/")[-2]
        try:
            found = read_anchor(parse_envelope(storage.read(key)), public_keys)
        except ModelStoreError:
            continue
        if found is None:
            continue
        anchor, signer = found
        checked = "" if public_keys else ", which was compared with no public key"
        keeper = f"the signature of {model_id} by {signer}{checked}"
        yield Anchor(AuditHead(anchor.sequence, anchor.digest), keeper, anchor.log, model_id)


def keep_in_backup(destination: Storage, head: AuditHead) -> None:
    """Writes a head into a backup beside the heads of earlier ones, which stay.

    Raises:
        ChecksumMismatch: the backup keeps another digest of this record: the log was rewritten.
        StorageFailed: the backup cannot be written.
    """
    key = f"{_PREFIX}/{head.sequence:09}.json"
    content = {"sequence": head.sequence, "digest": head.digest, "at": now()}
    if not destination.put_if_absent(key, json_bytes(content)):
        kept = _read_head(destination, key)
        if kept.digest != head.digest:
            raise ChecksumMismatch(
                f"audit record {head.sequence} is not the one that the backup {destination.location} keeps: "
                "the log was rewritten since that backup"
            )


def backup_anchors(source: Storage) -> list[Anchor]:
    """The heads that a backup keeps, and the head of its copy of the log.

    Raises:
        InvalidInput: there is no backup.
        UnreadableModel: a file of the backup is damaged; names it.
    """
    keeper = f"the backup {source.location}"
    heads = [_read_head(source, key) for key in source.keys(_PREFIX)]
    copied = AuditLog(source, _refuse_to_write).head()
    heads += [copied] if copied.sequence else []
    if not heads:
        raise InvalidInput(f"{source.location}: holds no backup of an audit log")
    return [Anchor(head, keeper) for head in heads]


def _refuse_to_write() -> Any:
    raise AssertionError("a backup's log is only read")


def _read_head(storage: Storage, key: str) -> AuditHead:
    try:
        value = parse_json(storage.read(key))
        return AuditHead.parse(f"{value['sequence']}:{value['digest']}")
    except (ValueError, KeyError, TypeError):
        raise UnreadableModel(f"{storage.location}/{key}: not a head of an audit log") from None
