"""Records of a period of the audit log, found by halving: a long log in a bucket is not read as a whole."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from model_store.errors import ModelNotFound
from model_store.registry.log.audit import AuditLog, AuditRecord

_REMEMBERED = 4096


class LogWindows:
    """Reads periods of one log; `AuditLog.records` proves the chain, which this does not.

    Args:
        log: the audit log.
    """

    def __init__(self, log: AuditLog) -> None:
        self._record = lru_cache(maxsize=_REMEMBERED)(log.record)
        self._log = log
        self._last: int | None = None

    def between(self, first: str, last: str) -> Iterator[AuditRecord]:
        """The records from one time to another, oldest first.

        Args:
            first: RFC 3339, UTC.
            last: RFC 3339, UTC; to its last millisecond.

        Raises:
            ModelNotFound: a record is missing.
            ChecksumMismatch, UnreadableModel: a record is not the one that was written.
        """
        begin, end = _with_milliseconds(first, ".000Z"), _with_milliseconds(last, ".999Z")
        if self._last is None:
            self._last = self._log.head().sequence
        sequence = self._before(begin, self._last) + 1
        while sequence <= self._last and (record := self._record(sequence)).at <= end:
            yield record
            sequence += 1

    def read_between(self, first: str, last: str) -> list[AuditRecord]:
        """As `between`, by as many requests at once as the storage takes: for a long period.

        Raises:
            As for `between`.
        """
        begin, end = _with_milliseconds(first, ".000Z"), _with_milliseconds(last, ".999Z")
        if self._last is None:
            self._last = self._log.head().sequence
        numbers = range(self._before(begin, self._last) + 1, self._last + 1)
        with ThreadPoolExecutor(self._log.parallel_reads) as threads:
            return [record for record in threads.map(self._log.record, numbers) if record.at <= end]

    def _before(self, begin: str, last: int) -> int:
        """The number of the last record before a time; 0 when there is none."""
        low, high = 0, last
        while low < high:
            middle = (low + high + 1) // 2
            try:
                earlier = self._record(middle).at < begin
            except ModelNotFound:
                raise ModelNotFound(f"the audit log has no record {middle}") from None
            low, high = (middle, high) if earlier else (low, middle - 1)
        return low


def _with_milliseconds(moment: str, end: str) -> str:
    return moment if "." in moment else moment.removesuffix("Z") + end
