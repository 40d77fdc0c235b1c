"""The audit log as a page reads it: from the end, with records kept that were read, and the last proof of its chain."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from console.versions import Versions
from model_store.errors import ModelStoreError

if TYPE_CHECKING:
    from model_store.registry.log.audit import AuditRecord

PER_PAGE = 100
_SEARCH_SECONDS = 0.15
"""One page searches so long; the next one goes on from there."""
_KEPT = 10_000


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

    def search(self, asked: Mapping[str, str], before: int) -> "tuple[list[AuditRecord], int]":
        """Some records that fit, newest first, and the number to go on before; 0 at the end of the search.

        Args:
            asked: texts by filter, an empty one for none: `actor`, `action`, `model_id`, `environment`, `since` and
                `until`.
            before: only records before this number.
        """
        found: list[AuditRecord] = []
        sequence, deadline = before - 1, time.monotonic() + _SEARCH_SECONDS
        while sequence > 0 and len(found) < PER_PAGE and time.monotonic() < deadline:
            record = self.record(sequence)
            if asked["since"] and record.at < asked["since"]:
                return found, 0
            if fits(record, asked):
                found.append(record)
            sequence -= 1
        return found, sequence + 1 if sequence > 0 else 0

    def whole(self, asked: Mapping[str, str]) -> "Iterator[AuditRecord]":
        """Every record that fits, oldest first."""
        for sequence in range(1, self.last() + 1):
            record = self._versions.registry.audit.record(sequence)
            if fits(record, asked):
                yield record

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
        and (not asked["until"] or record.at[: len(asked["until"])] <= asked["until"])
    )


def row_of(record: "AuditRecord") -> dict[str, Any]:
    """A record as a row of a table; what the caller called itself stands beside the actor."""
    details = record.details
    claimed = details.get("claimed")
    return {
        **record.to_dict(),
        "actor": f"{record.actor} (claims to be {claimed})" if claimed else record.actor,
        **{name: str(details.get(name, "")) for name in ("environment", "outcome", "through")},
    }
