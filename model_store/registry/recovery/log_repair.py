"""Brings back records of an audit log: a record fits when the records beside it hold its digest, and it theirs."""

import hashlib
from collections.abc import MutableSequence
from dataclasses import dataclass
from typing import Any

from conventions.regular_files import parse_json
from model_store.artifact.header import canonical_json
from model_store.errors import ModelNotFound, UnreadableModel
from model_store.registry.files.placing import replace
from model_store.registry.log.audit import NO_DIGEST, AuditHead, is_record, number_of, read_hint
from model_store.storage.base import Storage

_COMPARED = 3
"""So many first records tell two logs apart, where one of them is damaged."""
_FIELDS = {"sequence", "at", "actor", "action", "model_id", "reason", "details", "previous"}


@dataclass(frozen=True)
class LogLoss:
    """What is known to be lost of a log after its repair."""

    after: int | None = None
    """Where a whole log was brought from a copy, its last record: nobody knows how many came later."""
    missing: str = ""
    """The numbers of records that are gone, such as `4 to 5`."""

    def told(self) -> dict[str, Any]:
        """Of the record of the repair."""
        lost = {} if self.after is None else {"lost_after": self.after}
        return {**lost, "missing": self.missing} if self.missing else lost


def repair_log(source: Storage, target: Storage, copied: MutableSequence[str], damaged: dict[str, str]) -> LogLoss:
    """Replaces damaged and missing records of a log by those of another copy of the same log.

    Records that were lost at the end are taken over where they follow on the last one, unless `audit/head` shows that
    none was lost.

    Args:
        source: holds a copy of the log.
        target: holds the log.
        copied: gets the keys that were written.
        damaged: gets the keys that stay damaged, each with the reason.

    Returns:
        The records that `audit/head` names, and that neither has.

    Raises:
        StorageFailed: one of the two cannot be read or written.
    """
    last = last_number(target)
    if not last:
        return LogLoss()
    hint = _sure_hint(target)
    for number in range(1, last + 1):
        key = record_key(number)
        content = _content(source, key)
        reason = record_damage(target, key) or _not_followed(target, number, content, hint)
        if not reason:
            continue
        if record_damage(source, key) or content is None:
            damaged[key] = f"{reason}; {source.location} has no intact record of this number"
        elif not _fits(target, number, content, hint):
            damaged[key] = f"{reason}; the record of {source.location} is of another log"
        else:
            replace(target, key, source.path(key))
            copied.append(key)
    if hint.sequence != last or not _is_hinted(target, hint):
        _take_over(source, target, last, hint, copied)
    _name_difference(source, target, damaged)
    return name_lost(source, target, damaged)


def _name_difference(source: Storage, target: Storage, damaged: dict[str, str]) -> None:
    """Names the first record that two copies of one log tell in different words, or that the target does not have."""
    if not is_same_log(source, target):
        return
    last = last_number(target)
    for number in range(1, last_number(source) + 1):
        key = record_key(number)
        theirs = None if record_damage(source, key) else _content(source, key)
        if key in damaged or theirs is None:
            continue
        if number > last:
            what = f"{source.location} has this record, the log ends at record {last}"
        elif not record_damage(target, key) and _content(target, key) != theirs:
            what = f"{source.location} has another record of this number"
        else:
            continue
        damaged[key] = (
            f"{what}: records of this log were cut off or rewritten, or the copy went on as another registry; "
            "nothing of it was taken over. Compare the two: audit --verify --backup"
        )
        return


def take_whole_log(source: Storage, target: Storage, copied: MutableSequence[str], damaged: dict[str, str]) -> LogLoss:
    """Brings a whole log back; `repair_log` says what it raises.

    Returns:
        Where the log ends now.
    """
    _take_over(source, target, 0, _sure_hint(target), copied)
    last = last_number(target)
    for key in (key for key in source.keys("audit") if is_record(key) and number_of(key) > last):
        damaged[key] = f"{source.location}/{key}: does not follow on record {last}; it was not copied"
    is_whole = _sure_hint(target).sequence == last
    return LogLoss(None if is_whole else last, name_lost(source, target, damaged).missing)


def name_lost(source: Storage, target: Storage, damaged: dict[str, str]) -> LogLoss:
    """Names the records after the last one that `audit/head` still tells of."""
    last, hint = last_number(target), _sure_hint(target)
    if hint.sequence <= last:
        return LogLoss()
    missing = f"{last + 1} to {hint.sequence}" if hint.sequence > last + 1 else str(hint.sequence)
    reason = f"audit/head names record {hint.sequence}, the log ends at record {last}"
    damaged[record_key(last + 1)] = f"{reason}; {source.location} has no record that follows on it"
    return LogLoss(missing=missing)


def _take_over(source: Storage, target: Storage, last: int, hint: AuditHead, copied: MutableSequence[str]) -> None:
    """Copies what follows on the last record of a log, as long as it is a chain."""
    hinted = _content(source, record_key(hint.sequence)) if hint.sequence > last else None
    if hinted is not None and _sha256(hinted) != hint.digest:
        return  # the copy went on as another log
    before = _content(target, record_key(last)) if last else None
    previous, number = (_sha256(before) if before is not None else NO_DIGEST), last + 1
    while not record_damage(source, key := record_key(number)):
        content = source.read(key)
        if parse_json(content)["previous"] != previous:
            return
        replace(target, key, source.path(key))
        copied.append(key)
        previous, number = _sha256(content), number + 1


def _not_followed(target: Storage, number: int, theirs: bytes | None, hint: AuditHead) -> str:
    """Why a readable record is not the one that the next record, or the hint, names, where the source has another."""
    key, following = record_key(number), record_key(number + 1)
    ours = _content(target, key)
    if ours is None or theirs in (None, ours):
        return ""
    changed = f"{key}: the record was changed"
    if number == hint.sequence and _sha256(ours) != hint.digest:
        return changed
    if record_damage(target, following):
        return ""
    after: dict[str, Any] = parse_json(_content(target, following) or b"{}")
    return "" if after["previous"] == _sha256(ours) else changed


def record_key(number: int) -> str:
    """The key of a record by its number."""
    return f"audit/{number // 1000:06}/{number:09}.json"


def record_damage(storage: Storage, key: str) -> str:
    """Why a record cannot be read; empty when it is one."""
    try:
        content = storage.read(key)
        record = parse_json(content)
        if not isinstance(record, dict) or set(record) != _FIELDS or canonical_json(record) != content:
            return f"{key}: not an audit record"
    except ModelNotFound:
        return f"{key}: missing"
    except UnreadableModel as error:
        return str(error)
    except (ValueError, TypeError):
        return f"{key}: not an audit record"
    return ""


def is_same_log(source: Storage, target: Storage) -> bool:
    """Whether two storages are of one registry: they share one of the first records of their logs.

    A target without a log takes the source for its own. A source without one proves nothing.
    """
    if first_record(target) is None:
        return True
    keys = [record_key(number) for number in range(1, _COMPARED + 1)]
    pairs = ((_content(source, key), _content(target, key)) for key in keys)
    return any(theirs is not None and theirs == ours for theirs, ours in pairs)


def first_record(storage: Storage) -> bytes | None:
    """The first record of a storage's audit log, by which logs are told apart; None without one."""
    return _content(storage, record_key(1))


def _fits(target: Storage, number: int, content: bytes, hint: AuditHead) -> bool:
    """Whether a record stands between its neighbours: at least one of them is there and agrees, none disagrees."""
    record = parse_json(content)
    before, after = _content(target, record_key(number - 1)), _content(target, record_key(number + 1))
    agreed = number == 1 and record["previous"] == NO_DIGEST
    if number == hint.sequence:
        if _sha256(content) != hint.digest:
            return False
        agreed = True
    if before is not None and not record_damage(target, record_key(number - 1)):
        if record["previous"] != _sha256(before):
            return False
        agreed = True
    if after is not None and not record_damage(target, record_key(number + 1)):
        following: dict[str, Any] = parse_json(after)
        if following["previous"] != _sha256(content):
            return False
        agreed = True
    return agreed


def _sure_hint(target: Storage) -> AuditHead:
    """The hint of a log, where its check fits; record 0 otherwise."""
    hint, is_sure = read_hint(target)
    return hint if is_sure else AuditHead(0, NO_DIGEST)


def _is_hinted(target: Storage, hint: AuditHead) -> bool:
    content = _content(target, record_key(hint.sequence))
    return content is not None and _sha256(content) == hint.digest


def last_number(storage: Storage) -> int:
    """The number of the last record of a storage's log; 0 when there is none."""
    return max((number_of(key) for key in storage.keys("audit") if is_record(key)), default=0)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _content(storage: Storage, key: str) -> bytes | None:
    try:
        return storage.read(key)
    except (ModelNotFound, UnreadableModel):
        return None
