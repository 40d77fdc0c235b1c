"""The audit log: who did what to which model version, when and why; each record holds the digest of the one before.

A record is written before its action takes effect, so that no action is unrecorded; a crash in between leaves the
record of an action that did not happen. A changed, missing or inserted record breaks the chain.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from model_store.artifact.header import canonical_json
from model_store.errors import ChecksumMismatch, ModelNotFound, StorageFailed, UnreadableModel
from model_store.storage.base import Storage

_FIRST = "0" * 64
_ATTEMPTS = 1000


@dataclass(frozen=True)
class AuditRecord:
    """One entry of the log."""

    sequence: int
    """1, 2, 3… without gaps."""
    at: str
    """RFC 3339, UTC."""
    actor: str
    action: str
    """Such as `register`, `load`, `status`, `alias`, `delete`, `rotate-key`, `export`, `import`, `refused`."""
    model_id: str
    reason: str
    details: dict[str, Any]
    previous: str
    """SHA-256 of the record before as it is stored; zeros in the first."""

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return asdict(self)


class AuditLog:
    """The log of one registry.

    Args:
        storage: the registry's.
        actor: whose actions are recorded.
    """

    def __init__(self, storage: Storage, actor: str) -> None:
        self._storage = storage
        self._actor = actor

    def append(self, action: str, model_id: str = "", reason: str = "", **details: Any) -> None:
        """Adds a record.

        Raises:
            StorageFailed: the record cannot be written; the caller must not carry out the action.
        """
        sequence, previous = self._head()
        for _ in range(_ATTEMPTS):
            moment = datetime.now(UTC)
            record = AuditRecord(
                sequence + 1, _rfc3339(moment), self._actor, action, model_id, reason, details, previous
            )
            content = canonical_json(record.to_dict())
            if self._storage.put_if_absent(_key(record.sequence), content):
                self._storage.put_best_effort("audit/head", str(record.sequence).encode())
                return
            sequence += 1
            previous = _digest(self._storage.read(_key(sequence)))
        raise StorageFailed("the audit log is being written by too many at once; try again")

    def records(self) -> Iterator[AuditRecord]:
        """All records, oldest first, each compared with the one before.

        Raises:
            ChecksumMismatch: a record was changed, left out or put in; names it.
            UnreadableModel: a record is not one.
        """
        previous, expected = _FIRST, 1
        for key in self._keys():
            content = self._storage.read(key)
            record = _parse(key, content)
            if record.sequence != expected or key != _key(expected):
                raise ChecksumMismatch(f"audit record {expected} is missing: after it comes {key}")
            if record.previous != previous:
                raise ChecksumMismatch(f"audit record {expected - 1} is not the one that record {expected} follows on")
            previous, expected = _digest(content), expected + 1
            yield record

    def select(self, since: str = "", actor: str = "", model_id: str = "") -> list[AuditRecord]:
        """Records since a time (RFC 3339 or a date), of an actor, of a model version; oldest first.

        Raises:
            ChecksumMismatch, UnreadableModel: the chain is broken.
        """
        return [
            record
            for record in self.records()
            if record.at >= since and actor in ("", record.actor) and model_id in ("", record.model_id)
        ]

    def _head(self) -> tuple[int, str]:
        """Sequence and digest of the last known record; later records are found one by one."""
        try:
            sequence = int(self._storage.read("audit/head"))
            return sequence, _digest(self._storage.read(_key(sequence)))
        except (ModelNotFound, ValueError):
            keys = self._keys()
            if not keys:
                return 0, _FIRST
            last = self._storage.read(keys[-1])
            return _parse(keys[-1], last).sequence, _digest(last)

    def _keys(self) -> list[str]:
        return [key for key in self._storage.keys("audit") if key.endswith(".json")]


def _key(sequence: int) -> str:
    """A directory holds a thousand records, so that listing stays fast; a record holds its own time."""
    return f"audit/{sequence // 1000:06}/{sequence:09}.json"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _parse(key: str, content: bytes) -> AuditRecord:
    try:
        record = AuditRecord(**json.loads(content))
        canonical = canonical_json(record.to_dict())
    except (ValueError, TypeError, RecursionError):
        raise UnreadableModel(f"{key}: not an audit record") from None
    if canonical != content:
        raise ChecksumMismatch(f"{key}: the audit record was changed")
    return record


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
