"""Proves the audit log: its chain, and every anchor that keeps a head of it.

proof = prove_audit_log(ModelRegistry(), backups=["/mnt/backup/registry"])
print(proof)  # records 1 to 57 are a chain; proven to 52 by the backup …; 53 to 57 by the chain alone
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conventions.artifact_files import MANIFEST_FILE
from model_store.errors import ChecksumMismatch, ModelNotFound, UnreadableModel
from model_store.registry.anchors import Anchor, backup_anchors, signature_anchors
from model_store.registry.files.layout import digest_of, storage_at, version_prefix
from model_store.registry.log.audit import AuditHead, AuditRecord
from model_store.registry.log.reserve import RESERVE_KEY
from model_store.registry.registry import ModelRegistry
from model_store.storage.base import Storage
from model_store.storage.s3_versions import require_single_versions

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_REGISTERING = ("register", "import")
_JOINING = ("import", "restore")
"""Actions that bring versions with signatures from another registry, whose log they name."""


@dataclass(frozen=True)
class LogProof:
    """What is known of a log whose chain is whole and which no anchor contradicts."""

    records: int
    proven: tuple[Anchor, ...]
    """The latest anchor of each kind of keeper, latest first."""
    elsewhere: int = 0
    """Signatures that prove another registry's log."""
    versions_note: str = ""
    """What the versions of the log's objects in S3 say; empty in a directory."""
    losses: tuple[str, ...] = ()
    """What the log itself says that it has lost: a copy of it was brought back, and it went on; or its end is unknown.
    """

    def __str__(self) -> str:
        if self.records == 0:
            return "the log has no records"
        by = ", ".join(f"to {anchor.head.sequence} by {anchor.keeper}" for anchor in self.proven)
        text = f"records 1 to {self.records} are a chain"
        last = self.proven[0].head.sequence if self.proven else 0
        text += f"; proven {by}" if self.proven else ""
        if last < self.records:
            first = last + 1
            rest = f"{first} to {self.records}" if first < self.records else f"record {first}"
            text += f"; {rest} by the chain alone"
        if self.elsewhere:
            text += f"; {self.elsewhere} signature(s) prove the log of the registry that they come from"
            text += "" if self.proven else ", and nothing proves this one"
        text += "".join(f"; {each}" for each in self.losses)
        return text + self.versions_note

    def to_dict(self) -> dict[str, Any]:
        """The proof as plain JSON values."""
        proven = [{"sequence": each.head.sequence, "by": each.keeper} for each in self.proven]
        return {"records": self.records, "intact": True, "proven": proven, "detail": str(self)}


def prove_audit_log(
    registry: ModelRegistry,
    *,
    public_keys: Sequence["Ed25519PublicKey"] = (),
    heads: Sequence[AuditHead] = (),
    backups: Sequence[str | Path] = (),
) -> LogProof:
    """Verifies the audit log's chain, and compares it with everything that keeps a head of it.

    Args:
        registry: whose log.
        public_keys: only signatures by one of these prove anything; without any, none is compared with a key.
        heads: heads that somebody kept elsewhere.
        backups: directories or `s3://bucket/prefix` that `backup` wrote.

    Raises:
        ChecksumMismatch: the chain is broken, records were cut off, replaced or hidden, or the log was rewritten;
            names the record and the anchor that contradicts.
        UnreadableModel: a record is not one.
        InvalidInput: a backup holds no registry.
        StorageFailed: something cannot be read.
    """
    note = require_single_versions(registry.storage.location, "audit/")
    anchors = [Anchor(head, "the head that you gave") for head in heads]
    for place in backups:
        anchors += backup_anchors(storage_at(place))
    anchors += signature_anchors(registry.storage, public_keys)
    return _proven(registry, anchors, note)


@dataclass
class _Read:
    """What the records of a whole chain say."""

    last: int = 0
    first: str = ""
    """The digest of the first record."""
    digests: dict[int, str] = field(default_factory=dict)
    """Of the records that something else names."""
    joined: dict[str, set[str]] = field(default_factory=dict)
    manifests: dict[str, tuple[int, str]] = field(default_factory=dict)
    losses: list[str] = field(default_factory=list)


def _read_log(registry: ModelRegistry, wanted: Collection[int]) -> _Read:
    found = _Read()
    for record, digest in registry.audit.links():
        found.last, found.first = record.sequence, found.first or digest
        if found.last in wanted:
            found.digests[found.last] = digest
        if record.action in _JOINING:
            subject = record.model_id if record.action == "import" else ""
            found.joined.setdefault(subject, set()).update(record.details.get("logs", []))
        if record.action in _REGISTERING and "manifest" in record.details:
            found.manifests[record.model_id] = found.last, record.details["manifest"]
        if lost := _told_as_lost(record):
            found.losses.append(lost)
    return found


def _proven(registry: ModelRegistry, anchors: Sequence[Anchor], note: str) -> LogProof:
    # Read first: a record that is appended meanwhile is later than the hint.
    hint, is_sure = registry.audit.hint()
    log = _read_log(registry, {hint.sequence, *(anchor.head.sequence for anchor in anchors)})
    last = log.last
    own = [anchor for anchor in anchors if last == 0 or anchor.log in ("", log.first)]
    for anchor in anchors:
        if anchor in own:
            _require_fitting(anchor, last, log.digests)
        elif anchor.log not in log.joined.get(anchor.model_id, set()) | log.joined.get("", set()):
            raise ChecksumMismatch(
                f"the audit log is another one than {anchor.keeper} proves (record {anchor.head.sequence} of a log "
                f"that begins with {anchor.log[:12]}…), and no record tells of an import or restore: the log was "
                "removed or rewritten"
            )
    if hint.sequence > last:
        raise ChecksumMismatch(f"the audit log ends at record {last}; audit/head names record {hint.sequence}: {_CUT}")
    if is_sure and log.digests.get(hint.sequence, hint.digest) != hint.digest:
        raise ChecksumMismatch(f"audit record {hint.sequence} is not the one that audit/head names: it was changed")
    if last == 0 and (what := _what_a_record_told_of(registry.storage)):
        raise ChecksumMismatch(f"the registry holds {what} and its audit log has no records: it was removed")
    _require_manifests(registry, log.manifests)
    if last and not hint.sequence:
        log.losses.append(f"audit/head is missing, which would show whether records after {last} were cut off")
    return LogProof(last, _latest(own), len(anchors) - len(own), note, tuple(log.losses))


def _told_as_lost(record: AuditRecord) -> str:
    """What a repair or restore has recorded as lost; empty for every other record."""
    after = record.details.get("lost_after") if record.action in ("restore", "repair") else None
    return f"record {record.sequence} tells that what came after record {after} was lost" if after is not None else ""


def _what_a_record_told_of(storage: Storage) -> str:
    """What a registry holds that is written after a record; empty when there is nothing."""
    names = storage.names("models")
    if any(storage.names(f"models/{name}") for name in names):
        return "model versions"
    if storage.keys("aliases"):
        return "aliases"
    is_numbered = any(storage.count(f"models/{name}/.versions") for name in names)
    return "numbers of deleted versions" if is_numbered and storage.exists(RESERVE_KEY) else ""


def _require_manifests(registry: ModelRegistry, manifests: Mapping[str, tuple[int, str]]) -> None:
    """Raises ChecksumMismatch unless the manifests are those that the log tells of; what was deleted is left out."""
    for model_id, (number, expected) in manifests.items():
        try:
            found = digest_of(registry.storage.read(f"{version_prefix(model_id)}/{MANIFEST_FILE}"))
        except (ModelNotFound, UnreadableModel):
            continue
        # A manifest that the state contradicts is damage of its version, and `verify` names it there.
        if found != expected and registry.state(model_id).get("manifest") != expected:
            raise ChecksumMismatch(f"the manifest of {model_id} is not the one that audit record {number} registered")


_CUT = "the records after it were removed"


def _require_fitting(anchor: Anchor, last: int, digests: dict[int, str]) -> None:
    sequence = anchor.head.sequence
    if sequence > last:
        raise ChecksumMismatch(f"the audit log ends at record {last}; {anchor.keeper} proves record {sequence}: {_CUT}")
    if sequence and digests[sequence] != anchor.head.digest:
        raise ChecksumMismatch(
            f"audit record {sequence} is not the one that {anchor.keeper} proves: the log was rewritten"
        )


def _latest(anchors: Iterable[Anchor]) -> tuple[Anchor, ...]:
    """The latest anchor of the signatures, and of each other keeper."""
    found: dict[str, Anchor] = {}
    for anchor in anchors:
        kind = "signature" if anchor.model_id else anchor.keeper
        if anchor.head.sequence and (kind not in found or found[kind].head.sequence < anchor.head.sequence):
            found[kind] = anchor
    return tuple(sorted(found.values(), key=lambda each: -each.head.sequence))
