"""The audit log as a page reads it: from the end, with records kept that were read, and the last proof of its chain."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from console.versions import Versions
from model_store.errors import ModelStoreError

if TYPE_CHECKING:
    from model_store.registry.log.audit import AuditRecord

PER_PAGE = 100
_SEARCH_SECONDS = 0.15
"""One page searches so long; the next one goes on from there."""
_KEPT = 10_000


@dataclass(frozen=True)
class Damaged:
    """A record that cannot be read, or is not the one that was written."""

    sequence: int
    problem: str

    def to_dict(self) -> dict[str, Any]:
        """As an export has it."""
        return {"sequence": self.sequence, "damaged": self.problem}


class AuditView:
    """Reads the log of a registry; every method may be called from any thread.

    Args:
        versions: of the console; they know the registry.
    """

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, AuditRecord] = OrderedDict()
        self._proving = threading.Lock()
        self.proof: dict[str, Any] = {}
        """The last proof: `intact`, `detail`, `at` as Unix time; empty before the first."""

    def last(self) -> int:
        """The number of the last record."""
        return self._versions.registry.audit.head().sequence

    def record(self, sequence: int) -> "AuditRecord":
        """A record by its number.

        Raises:
            ModelNotFound: the log has no such record.
            ChecksumMismatch, UnreadableModel: it is not the one that was written.
        """
        with self._lock:
            if (found := self._kept.get(sequence)) is not None:
                return found
        found = self._versions.registry.audit.record(sequence)
        with self._lock:
            self._kept[sequence] = found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found

    def search(self, asked: Mapping[str, str], before: int) -> "tuple[list[AuditRecord | Damaged], int]":
        """Some records that fit, newest first, and the number to go on before; 0 at the end of the search.

        A record that cannot be read is among them, whatever the filters are.

        Args:
            asked: texts by filter, an empty one for none: `actor`, `action`, `model_id`, `environment`, `since` and
                `until`.
            before: only records before this number.
        """
        found: list[AuditRecord | Damaged] = []
        sequence, deadline = before - 1, time.monotonic() + _SEARCH_SECONDS
        while sequence > 0 and len(found) < PER_PAGE and time.monotonic() < deadline:
            record = self._any(sequence)
            if isinstance(record, Damaged):
                found.append(record)
            elif record.at < _earliest(asked["since"]):
                return found, 0
            elif fits(record, asked):
                found.append(record)
            sequence -= 1
        return found, sequence + 1 if sequence > 0 else 0

    def whole(self, asked: Mapping[str, str]) -> "Iterator[AuditRecord | Damaged]":
        """Every record that fits, oldest first, and those that cannot be read."""
        for sequence in range(1, self.last() + 1):
            try:
                record = self._versions.registry.audit.record(sequence)
            except ModelStoreError as error:
                yield Damaged(sequence, str(error))
                continue
            if fits(record, asked):
                yield record

    def _any(self, sequence: int) -> "AuditRecord | Damaged":
        try:
            return self.record(sequence)
        except ModelStoreError as error:
            return Damaged(sequence, str(error))

    def prove(self) -> dict[str, Any]:
        """Proves the log now: every record is read, and each anchor compared."""
        from model_store.registry.upkeep.log_proof import prove_audit_log

        with self._proving:
            try:
                found = prove_audit_log(self._versions.registry).to_dict()
            except ModelStoreError as error:
                found = {"records": 0, "intact": False, "proven": [], "detail": str(error)}
            self.proof = {**found, "at": time.time()}
            return self.proof


def fits(record: "AuditRecord", asked: Mapping[str, str]) -> bool:
    """Whether a record passes every filter."""
    details = record.details
    return (
        (not asked["actor"] or asked["actor"] in (record.actor, details.get("claimed")))
        and asked["action"] in ("", record.action)
        and asked["model_id"] in ("", record.model_id)
        and asked["environment"] in ("", details.get("environment"))
        and record.at >= asked["since"]
        and (not asked["until"] or record.at <= asked["until"])
    )


def _earliest(since: str) -> str:
    """Where a search from the end stops: clocks of the machines that append may differ by an hour."""
    if not since:
        return ""
    earliest = datetime.fromisoformat(since) - timedelta(hours=1)
    return earliest.isoformat(timespec="seconds").replace("+00:00", "Z")


def row_of(record: "AuditRecord | Damaged") -> dict[str, Any]:
    """A record as a row of a table; what the caller called itself stands beside the actor."""
    if isinstance(record, Damaged):
        return {"sequence": record.sequence, "action": "damaged", "reason": record.problem}
    details = record.details
    claimed = details.get("claimed")
    return {
        **record.to_dict(),
        "actor": f"{record.actor} (claims to be {claimed})" if claimed else record.actor,
        **{name: str(details.get(name, "")) for name in ("environment", "outcome", "through")},
    }
