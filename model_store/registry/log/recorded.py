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
from model_store.registry.files.manifest import parse_model_name
from model_store.registry.log.audit import REFUSED, AuditRecord, is_record, number_of, parse_record, read_hint
from model_store.registry.log.last_words import DEPLOYING, LastWords
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
    approved: tuple[tuple[tuple[str, str, str], int], ...] = ()
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
    withdrawn_at: dict[str, int] = field(default_factory=dict)
    """By version the number of the record of its last withdrawal."""
    approved: dict[str, dict[tuple[str, str, str], int]] = field(default_factory=dict)
    """By version the approvals after its last withdrawal, with their records: by whom, evidence and manifest."""
    _decided: dict[tuple[str, str], _Decided] = field(default_factory=dict)
    policy: int = 0
    """The number of the last record that changed the access policy; 0 when none did."""
    unreadable: int = 0
    """How many records cannot be read."""
    joined: bool = False
    """Whether versions came that no record names: by a restore of an earlier program."""
    joining: bool = False
    """Whether the last restore or repair has not told which versions it brought: it was ended."""
    words: LastWords = field(default_factory=LastWords)
    """What the records say of states and aliases."""
    importers: dict[str, set[str]] = field(default_factory=dict)
    """By version who imported it."""
    seen: dict[str, int] = field(default_factory=dict)
    """By version the last record that shows it there."""
    uncertain_to: int = 0
    """The number of the last record that is missing or cannot be read; 0 when each one can."""
    brought: dict[str, int] = field(default_factory=dict)
    """By version, and by the key of an alias file, the last repair or restore that brought its state from a copy."""
    elsewhere: set[str] = field(default_factory=set)
    """As `brought`, those that a repair or restore brought from another registry, whose log tells of them."""
    ran: dict[str, set[str]] = field(default_factory=dict)
    """By version the environments that a deployment of it was recorded in; `*` where a record names none."""
    tried: dict[str, set[str]] = field(default_factory=dict)
    """By version each status that a record named before it was entered, also one that failed: it may be there."""
    nameless: bool = False
    """Whether an alias may have come that no record names: by a restore or an alias record of an earlier program."""

    def add(self, record: AuditRecord) -> None:
        """Takes in the next record of the log."""
        details, model_id = record.details, record.model_id
        self.words.add(record)
        self._there(record)
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

    def _there(self, record: AuditRecord) -> None:
        details, model_id = record.details, record.model_id
        if record.action in DEPLOYING:
            self.ran.setdefault(model_id, set()).add(str(details.get("environment", "*")))
        if record.action == "status" and isinstance(details.get("to"), str):
            self.tried.setdefault(model_id, set()).add(details["to"])
        if record.action not in ("delete", REFUSED) and details.get("outcome") not in _WITHOUT_EFFECT:
            self.seen[model_id] = record.sequence

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
        if record.model_id in self.deleted:
            self._begins_again(record)
        self.deleted.discard(record.model_id)
        if record.action == "import":
            self.importers.setdefault(record.model_id, set()).add(record.actor)
        signers = record.details.get("signed")
        if signers is not None:  # earlier programs leave no trace of a registration that was ended
            self.versions[record.model_id] = record.sequence
            self.signatures[record.model_id] = dict.fromkeys(_texts(signers), record.sequence)
        number = record.details.get("version")
        name = _name_of(record.model_id)
        if name and isinstance(number, int) and not isinstance(number, bool):
            self.numbers.setdefault(name, {})[number] = record.model_id

    def _begins_again(self, record: AuditRecord) -> None:
        """A version that was deleted comes again, without the approvals of before."""
        reason = "it was deleted, and brought again"
        self.words.begin_again(record)
        self.withdrawals[record.model_id] = {"at": record.at, "by": record.actor, "reason": reason}
        self.withdrawn_at[record.model_id] = record.sequence
        self.approved.pop(record.model_id, None)

    def _joined(self, record: AuditRecord) -> None:
        brought = record.details.get("versions")
        if record.details.get("lost_after") is not None:
            self.uncertain_to = record.sequence
        if brought is None and record.details.get("outcome") is None:
            self.joining = True  # the record of what begins; the second one tells what came
            return
        self.joined, self.joining = self.joined or brought is None, False
        states = record.details.get("states")
        self.nameless = self.nameless or states is None
        for key in _texts(states):
            self.brought[key] = record.sequence
            # Records of earlier programs do not say it. Of what this log knows, a copy brings nothing else.
            another_log = record.details.get("another_log")
            if another_log is None or (another_log and not self._knows(key)):
                self.elsewhere.add(key)
        for alias in _texts(record.details.get("aliases")):
            name, _, short = alias.partition("@")
            self.aliases.setdefault(name, {})[short] = record.sequence
        for model_id in _texts(brought):
            self.known.add(model_id)
            self.deleted.discard(model_id)
            self.versions[model_id] = record.sequence

    def _knows(self, key: str) -> bool:
        """Whether this log tells of a version, or of an alias in a file."""
        return key in self.known or self.tells_of_aliases(key.removeprefix("aliases/").removesuffix(".json"))

    def tells_of_aliases(self, name: str) -> bool:
        """Whether a record tells of an alias of a model name."""
        return any(model_name == name for model_name, _ in self.words.aliases)

    def _shown(self, record: AuditRecord) -> None:
        details, model_id = record.details, record.model_id
        if model_id in self.known and model_id not in self.deleted:
            self.versions.setdefault(model_id, record.sequence)
        if record.action == "alias" and (name := details.get("model_name")):
            self.aliases.setdefault(str(name), {})[str(details.get("alias"))] = record.sequence
        elif record.action == "alias":
            self.nameless = True
        if record.action == "sign" and details.get("outcome") == "succeeded" and model_id not in self.deleted:
            self.signatures.setdefault(model_id, {})[str(details.get("key_id"))] = record.sequence
        if record.action == "approve":
            self._decided_on(record)

    def _decided_on(self, record: AuditRecord) -> None:
        """A withdrawal ends the approvals before it, whatever comes later; an approval after it is a new one."""
        model_id, approved = record.model_id, self.approved.setdefault(record.model_id, {})
        if record.details.get("withdrawn"):
            decided = _Decided(None, self.withdrawals.get(model_id), tuple(approved.items()))
            self.withdrawals[model_id] = {"at": record.at, "by": record.actor, "reason": record.reason}
            self.withdrawn_at[model_id] = record.sequence
            approved.clear()
        else:
            evidence, manifest = (str(record.details.get(each)) for each in ("evidence", "manifest"))
            approval = (record.actor, evidence, manifest)
            decided = _Decided(approval)
            approved[approval] = record.sequence
        self._decided[model_id, record.actor] = decided

    def _not_decided(self, record: AuditRecord) -> None:
        model_id, approved = record.model_id, self.approved.setdefault(record.model_id, {})
        decided = self._decided.pop((model_id, record.actor), None)
        if decided is None:
            return
        if decided.approval is not None:
            approved.pop(decided.approval, None)
            return
        approved.update(decided.approved)
        if decided.withdrawal is None:
            self.withdrawals.pop(model_id, None)
        else:
            self.withdrawals[model_id] = decided.withdrawal


def _name_of(model_id: str) -> str:
    try:
        return parse_model_name(model_id)
    except InvalidInput:
        return ""


def read_recorded(storage: Storage) -> Recorded:
    """Reads what the log tells; one record that cannot be read hides none of those after it.

    Args:
        storage: of the registry.

    Raises:
        StorageFailed: the storage cannot be read.
    """
    found, expected = Recorded(), 1
    for number, record in _records(storage):
        if record is None:
            found.unreadable += 1
            found.uncertain_to = number
        else:
            found.uncertain_to = number - 1 if number > expected else found.uncertain_to
            found.add(record)
        expected = max(expected, number + 1)
    hint, is_sure = read_hint(storage)
    if is_sure and hint.sequence >= expected:
        found.uncertain_to = hint.sequence
    return found


def _records(storage: Storage) -> Iterator[tuple[int, AuditRecord | None]]:
    keys = [key for key in storage.keys("audit") if is_record(key)]
    read, numbers = partial(_read, storage), map(number_of, keys)
    if storage.parallel_reads == 1:
        yield from zip(numbers, map(read, keys), strict=True)
        return
    with ThreadPoolExecutor(storage.parallel_reads) as threads:
        yield from zip(numbers, threads.map(read, keys), strict=True)


def _read(storage: Storage, key: str) -> AuditRecord | None:
    try:
        return parse_record(key, storage.read(key))
    except (ModelNotFound, IntegrityError):
        return None


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
