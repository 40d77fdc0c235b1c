"""What the audit log tells of a registry: the versions, numbers, aliases and signatures that it has to have.

A record precedes its action. It counts where its action is known to have taken effect: a registration leaves a trace
until it is done, an alias file is there before its record, a signature has a second record, and what failed is told by
a record with the outcome `failed` or `interrupted`. Records of earlier programs tell less.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from model_store.errors import IntegrityError, InvalidInput, ModelNotFound
from model_store.registry.audit import AuditRecord, is_record, parse_record
from model_store.registry.manifest import parse_model_name
from model_store.storage.base import Storage

_BRINGING = ("register", "import")
_JOINING = ("restore", "repair")
_SHOWING = ("load", "export", "status", "approve", "alias", "prove", "rotate-key", "sign")
"""Actions that are recorded of versions that are there."""
_WITHOUT_EFFECT = ("failed", "interrupted")


@dataclass(frozen=True)
class _Decided:
    """The last record about the approvals of a version by one actor, and what it would undo."""

    approval: tuple[str, str, str] | None
    """None: a withdrawal."""
    withdrawal: dict[str, str] | None = None
    """The withdrawal before this one."""
    approved: frozenset[tuple[str, str, str]] = frozenset()
    """What this withdrawal withdrew."""


@dataclass
class Recorded:
    """What the records of one log tell; damaged records are left out."""

    versions: dict[str, int] = field(default_factory=dict)
    """The versions that have to be there, each with the number of the record that tells so."""
    known: set[str] = field(default_factory=set)
    """Every version that a record brought."""
    deleted: set[str] = field(default_factory=set)
    """The versions that were deleted, and did not come again."""
    aliases: dict[str, dict[str, int]] = field(default_factory=dict)
    """By model name the aliases that were ever set, each with the number of its last record."""
    signatures: dict[str, dict[str, int]] = field(default_factory=dict)
    """By version the keys that have signed it, each with the number of the record that tells so."""
    numbers: dict[str, dict[int, str]] = field(default_factory=dict)
    """By model name the numbers that were given, each with the version that got it."""
    withdrawals: dict[str, dict[str, str]] = field(default_factory=dict)
    """By version the last withdrawal of its approvals."""
    approved: dict[str, set[tuple[str, str, str]]] = field(default_factory=dict)
    """By version the approvals after its last withdrawal: by whom, on which evidence, of which manifest."""
    _decided: dict[tuple[str, str], _Decided] = field(default_factory=dict)
    policy: int = 0
    """The number of the last record that changed the access policy; 0 when none did."""
    unreadable: int = 0
    """How many records cannot be read."""
    joined: bool = False
    """Whether versions came that no record names: by a restore of an earlier program."""
    joining: bool = False
    """Whether the last restore or repair has not told which versions it brought: it was ended."""

    def add(self, record: AuditRecord) -> None:
        """Takes in the next record of the log."""
        details, model_id = record.details, record.model_id
        if details.get("outcome") in _WITHOUT_EFFECT:
            self._did_not_happen(record)
        elif record.action in _BRINGING:
            self._brought(record)
        elif record.action == "delete":
            self.versions.pop(model_id, None)
            self.signatures.pop(model_id, None)
            self.deleted.add(model_id)
        elif record.action in _JOINING:
            self._joined(record)
        elif record.action == "cleanup":
            for ended in _texts(details.get("ended")):
                self.versions.pop(ended, None)
        elif record.action == "access":
            self.policy = record.sequence
        elif record.action in _SHOWING:
            self._shown(record)

    def _did_not_happen(self, record: AuditRecord) -> None:
        if record.action in _BRINGING:
            self.versions.pop(record.model_id, None)
            self.signatures.pop(record.model_id, None)
        elif record.action == "delete":
            self.deleted.discard(record.model_id)
            self.versions[record.model_id] = record.sequence
        elif record.action == "approve":
            self._not_decided(record)

    def _brought(self, record: AuditRecord) -> None:
        self.known.add(record.model_id)
        self.deleted.discard(record.model_id)
        signers = record.details.get("signed")
        if signers is not None:  # earlier programs leave no trace of a registration that was ended
            self.versions[record.model_id] = record.sequence
            self.signatures[record.model_id] = dict.fromkeys(_texts(signers), record.sequence)
        number = record.details.get("version")
        try:
            name = parse_model_name(record.model_id)
        except InvalidInput:
            return
        if isinstance(number, int) and not isinstance(number, bool):
            self.numbers.setdefault(name, {})[number] = record.model_id

    def _joined(self, record: AuditRecord) -> None:
        brought = record.details.get("versions")
        if brought is None and record.details.get("outcome") is None:
            self.joining = True  # the record of what begins; the second one tells what came
            return
        self.joined, self.joining = self.joined or brought is None, False
        for model_id in _texts(brought):
            self.known.add(model_id)
            self.deleted.discard(model_id)
            self.versions[model_id] = record.sequence

    def _shown(self, record: AuditRecord) -> None:
        details, model_id = record.details, record.model_id
        if model_id in self.known and model_id not in self.deleted:
            self.versions.setdefault(model_id, record.sequence)
        if record.action == "alias" and (name := details.get("model_name")):
            self.aliases.setdefault(str(name), {})[str(details.get("alias"))] = record.sequence
        if record.action == "sign" and details.get("outcome") == "succeeded":
            self.signatures.setdefault(model_id, {})[str(details.get("key_id"))] = record.sequence
        if record.action == "approve":
            self._decided_on(record)

    def _decided_on(self, record: AuditRecord) -> None:
        """A withdrawal ends the approvals before it, whatever comes later; an approval after it is a new one."""
        model_id, approved = record.model_id, self.approved.setdefault(record.model_id, set())
        if record.details.get("withdrawn"):
            decided = _Decided(None, self.withdrawals.get(model_id), frozenset(approved))
            self.withdrawals[model_id] = {"at": record.at, "by": record.actor, "reason": record.reason}
            approved.clear()
        else:
            evidence, manifest = (str(record.details.get(each)) for each in ("evidence", "manifest"))
            approval = (record.actor, evidence, manifest)
            decided = _Decided(approval)
            approved.add(approval)
        self._decided[model_id, record.actor] = decided

    def _not_decided(self, record: AuditRecord) -> None:
        model_id, approved = record.model_id, self.approved.setdefault(record.model_id, set())
        decided = self._decided.pop((model_id, record.actor), None)
        if decided is None:
            return
        if decided.approval is not None:
            approved.discard(decided.approval)
            return
        approved |= decided.approved
        if decided.withdrawal is None:
            self.withdrawals.pop(model_id, None)
        else:
            self.withdrawals[model_id] = decided.withdrawal


def read_recorded(storage: Storage) -> Recorded:
    """Reads what the log tells; one record that cannot be read hides none of those after it.

    Args:
        storage: of the registry.

    Raises:
        StorageFailed: the storage cannot be read.
    """
    found = Recorded()
    for record in _records(storage):
        if record is None:
            found.unreadable += 1
        else:
            found.add(record)
    return found


def _records(storage: Storage) -> Iterator[AuditRecord | None]:
    keys = [key for key in storage.keys("audit") if is_record(key)]
    read = partial(_read, storage)
    if storage.parallel_reads == 1:
        yield from map(read, keys)
        return
    with ThreadPoolExecutor(storage.parallel_reads) as threads:
        yield from threads.map(read, keys)


def _read(storage: Storage, key: str) -> AuditRecord | None:
    try:
        return parse_record(key, storage.read(key))
    except (ModelNotFound, IntegrityError):
        return None


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
