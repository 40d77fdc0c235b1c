"""The audit log: who did what to which model version, when and why; each record holds the digest of the one before.

A record is written before its action takes effect, so that no action is unrecorded; a crash in between leaves the
record of an action that did not happen. A changed, missing or inserted record breaks the chain.
"""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from model_store.artifact.header import canonical_json
from model_store.errors import ChecksumMismatch, InvalidInput, ModelNotFound, StorageFailed, UnreadableModel
from model_store.storage.base import Storage
from model_store.storage.sharing import file_in_the_way

if TYPE_CHECKING:
    from model_store.registry.identity import Identity

NO_DIGEST = "0" * 64
"""What the first record names as the one before it, and a hint that has no digest."""
_ATTEMPTS = 1000
_CHECK_DIGITS = 16
HINT_FILE = "audit/head"
"""A cache: the end of the log for the next process."""
_RECORD = re.compile(r"audit/[0-9]{6}/[0-9]{9}\.json")
_HINTED = re.compile(r"[1-9][0-9]{0,8}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_HEAD = re.compile(r"([0-9]{1,12}):([0-9a-f]{64})")
REFUSED = "refused"
"""The action of a record that tells of something that was not allowed."""
UPDATE = "up"
"""The action of a record that tells of a plain `pulumi up`."""
GATES = "gates"
"""The action of a record that tells which gates a version passed before it was deployed."""


@dataclass(frozen=True)
class AuditRecord:
    """One entry of the log."""

    sequence: int
    """1, 2, 3… without gaps."""
    at: str
    """RFC 3339, UTC."""
    actor: str
    """Who the system says it was."""
    action: str
    """Such as `register`, `load`, `status`, `alias`, `deploy`, `rollback`, `delete`, `refused`."""
    model_id: str
    reason: str
    details: dict[str, Any]
    """Such as `environment`, `intent` and `outcome` of a deployment; `claimed` is what the caller called itself."""
    previous: str
    """SHA-256 of the record before as it is stored; zeros in the first."""

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class AuditHead:
    """A record by its number and digest; a person who keeps it can prove the log up to this record."""

    sequence: int
    digest: str
    """SHA-256 of the record as it is stored; zeros when there is no record."""

    def __str__(self) -> str:
        return f"{self.sequence}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> "AuditHead":
        """Reads `SEQUENCE:DIGEST`.

        Raises:
            InvalidInput: the text is something else.
        """
        found = _HEAD.fullmatch(text.strip())
        if found is None:
            raise InvalidInput(
                f"{text!r} is not a head of the audit log; `manage_models.py audit --head` prints one: "
                "the number of a record, a colon and 64 hexadecimal digits"
            )
        return cls(int(found[1]), found[2])


class AuditLog:
    """The log of one registry.

    Args:
        storage: the registry's.
        identity: whose actions are recorded; asked at the first record.
    """

    def __init__(self, storage: Storage, identity: "Callable[[], Identity]") -> None:
        self._storage = storage
        self._identity = identity
        self._known: AuditHead | None = None
        self._first = ""

    def append(self, action: str, model_id: str = "", reason: str = "", **details: Any) -> AuditHead:
        """Adds a record.

        The end of the log is known to a process that has written; another one reads it from `audit/head`. A record is
        one conditional write; the hint for the next process is written beside it; without it the log is listed.

        Returns:
            The head with this record.

        Raises:
            InvalidInput: a text is not Unicode, or a detail cannot be written as JSON.
            StorageFailed: the record cannot be written; the caller must not carry out the action.
        """
        identity = self._identity()
        details = {**details, **identity.beside()}
        last = self._known or self._find_head()
        for _ in range(_ATTEMPTS):
            moment = _rfc3339(datetime.now(UTC))
            record = AuditRecord(
                last.sequence + 1, moment, identity.actor, action, model_id, reason, details, last.digest
            )
            content = _content_of(record)
            if self._storage.put_if_absent(_key(record.sequence), content):
                self._known = AuditHead(record.sequence, _digest(content))
                self._remember(self._known)
                return self._known
            last = self._later_than(last)
        raise StorageFailed("the audit log is being written by too many at once; try again")

    def head(self) -> AuditHead:
        """The last record of the log by number and digest; number 0 when there is none.

        Raises:
            UnreadableModel: a file lies in the place of the log's directory.
        """
        self._require_directory()
        last = self._find_head()
        while True:
            try:
                last = AuditHead(last.sequence + 1, _digest(self._storage.read(_key(last.sequence + 1))))
            except ModelNotFound:
                return last

    def first_digest(self) -> str:
        """The digest of the first record, by which logs are told apart; empty when there is none."""
        try:
            return _digest(self._storage.read(_key(1)))
        except ModelNotFound:
            return ""

    def record(self, sequence: int) -> AuditRecord:
        """One record by its number, without the chain before it.

        Raises:
            ModelNotFound: the log has no such record.
            ChecksumMismatch, UnreadableModel: it is not the record that was written.
        """
        return parse_record(_key(sequence), self._storage.read(_key(sequence)))

    @property
    def parallel_reads(self) -> int:
        """How many records are read at once where a caller needs many."""
        return self._storage.parallel_reads

    def hint(self) -> tuple[AuditHead, bool]:
        """The hint `audit/head`, and whether its check shows that it is of this log and as it was written.

        Record 0 where there is no hint, or none that can be read. The hint of an older program has no check, and before
        that no digest, which is zero then.
        """
        try:
            number, digest, check, *_ = [*self._storage.read(HINT_FILE).decode().strip().split(":"), "", ""]
        except (ModelNotFound, UnreadableModel, UnicodeDecodeError):
            return AuditHead(0, NO_DIGEST), False
        if not _HINTED.fullmatch(number):
            return AuditHead(0, NO_DIGEST), False
        head = AuditHead(int(number), digest if _DIGEST.fullmatch(digest) else NO_DIGEST)
        return head, check == self._check(head)

    def records(self, after: int = 0) -> Iterator[AuditRecord]:
        """Records, oldest first, each compared with the one before.

        Args:
            after: leaves out the records up to this number.

        Raises:
            ChecksumMismatch: a record was changed, left out or put in; names it.
            UnreadableModel: a record is not one.
        """
        for record, _ in self.links(after):
            yield record

    def links(self, after: int = 0) -> Iterator[tuple[AuditRecord, str]]:
        """Records as `records` yields them, each with its digest.

        Raises:
            ChecksumMismatch, UnreadableModel: as for `records`; also when the log ends before `after`.
        """
        self._require_directory()
        previous, expected = self._start(after), after + 1
        for key in self._keys(after):
            content = self._storage.read(key)
            record = parse_record(key, content)
            if record.sequence != expected or key != _key(expected):
                raise ChecksumMismatch(f"audit record {expected} is missing: after it comes {key}")
            if record.previous != previous:
                raise ChecksumMismatch(f"audit record {expected - 1} is not the one that record {expected} follows on")
            previous, expected = _digest(content), expected + 1
            yield record, previous

    def select(self, since: str = "", actor: str = "", model_id: str = "", after: int = 0) -> list[AuditRecord]:
        """Records since a time (RFC 3339 or a date), of an actor, of a model version, after a number; oldest first.

        Raises:
            ChecksumMismatch, UnreadableModel: the chain is broken.
        """
        return [
            record
            for record in self.records(after)
            if record.at >= since and actor in ("", record.actor) and model_id in ("", record.model_id)
        ]

    def _require_directory(self) -> None:
        if self._storage.location.startswith("s3://"):
            return
        if problem := file_in_the_way(self._storage.path(""), self._storage.path("audit")):
            raise UnreadableModel(problem)

    def _start(self, after: int) -> str:
        if after <= 0:
            return NO_DIGEST
        try:
            return _digest(self._storage.read(_key(after)))
        except ModelNotFound:
            raise ChecksumMismatch(
                f"the audit log has no record {after}, which was there before: records were removed"
            ) from None

    def _find_head(self) -> AuditHead:
        """The last known record; later records are found one by one.

        The hint says where to look. Where its check fits, its digest counts: a record that was damaged since then can
        be brought back, and the log goes on after one that is gone, so that a cut stays visible as a gap.
        """
        hint, is_sure = self.hint()
        if hint.sequence:
            with suppress(ModelNotFound, UnreadableModel):
                found = AuditHead(hint.sequence, _digest(self._storage.read(_key(hint.sequence))))
                return hint if is_sure else found
        keys = self._keys()
        if not keys:
            return hint
        number = int(Path(keys[-1]).stem)
        if is_sure and hint.sequence >= number:
            return hint
        return AuditHead(number, _digest(self._storage.read(keys[-1])))

    def _later_than(self, last: AuditHead) -> AuditHead:
        """A record after one that is no longer the last: the one that the hint names, else the next."""
        hinted = self._find_head()
        if hinted.sequence > last.sequence:
            return hinted
        return AuditHead(last.sequence + 1, _digest(self._storage.read(_key(last.sequence + 1))))

    def _remember(self, head: AuditHead) -> None:
        """Writes the hint; in S3 beside the caller, who does not wait for it."""
        content = f"{head}:{self._check(head)}".encode()
        if self._storage.location.startswith("s3://"):
            threading.Thread(target=self._storage.put_best_effort, args=(HINT_FILE, content)).start()
        else:
            self._storage.put_best_effort(HINT_FILE, content)

    def _check(self, head: AuditHead) -> str:
        """Shows whether a hint is whole, and in a directory, where reading costs nothing, also whose log it is of."""
        if not self._first and not self._storage.location.startswith("s3://"):
            with suppress(UnreadableModel):
                self._first = head.digest if head.sequence == 1 else self.first_digest()
        return hashlib.sha256(f"{head}:{self._first}".encode()).hexdigest()[:_CHECK_DIGITS]

    def _keys(self, after: int = 0) -> list[str]:
        first = _key(after + 1)
        return [key for key in self._storage.keys("audit") if is_record(key) and key >= first]


def _key(sequence: int) -> str:
    """A directory holds a thousand records, so that listing stays fast; a record holds its own time."""
    return f"audit/{sequence // 1000:06}/{sequence:09}.json"


def is_record(key: str) -> bool:
    """Whether a key is one that a record has."""
    return _RECORD.fullmatch(key) is not None


def number_of(key: str) -> int:
    """The number of the record that a key is of."""
    return int(key.rsplit("/", 1)[-1].removesuffix(".json"))


def read_hint(storage: Storage) -> tuple[AuditHead, bool]:
    """The hint of a storage's log, as `AuditLog.hint`."""
    return AuditLog(storage, _refuse_to_write).hint()


def _refuse_to_write() -> "Identity":
    raise AssertionError("this log is only read")


def _content_of(record: AuditRecord) -> bytes:
    try:
        return canonical_json(record.to_dict())
    except UnicodeEncodeError:
        raise InvalidInput("the record of this in the audit log holds a text that is not Unicode; use UTF-8") from None
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"the record of this cannot be written in the audit log: {error}") from None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def parse_record(key: str, content: bytes) -> AuditRecord:
    """Reads a record as it is stored.

    Raises:
        UnreadableModel: it is not a record.
        ChecksumMismatch: its bytes are not those that were written.
    """
    try:
        record = AuditRecord(**json.loads(content))
        msgspec.convert(record.to_dict(), AuditRecord)
        canonical = canonical_json(record.to_dict())
    except (ValueError, TypeError, RecursionError, msgspec.MsgspecError):
        raise UnreadableModel(f"{key}: not an audit record") from None
    if canonical != content:
        raise ChecksumMismatch(f"{key}: the audit record was changed")
    return record


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
