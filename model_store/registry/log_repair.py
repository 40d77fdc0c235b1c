"""Brings back records of an audit log: a record fits when the records beside it hold its digest, and it theirs."""

import hashlib
from collections.abc import MutableSequence
from typing import Any

from conventions.regular_files import parse_json
from model_store.artifact.header import canonical_json
from model_store.errors import ModelNotFound, UnreadableModel
from model_store.registry.audit import is_record
from model_store.registry.placing import replace
from model_store.storage.base import Storage

_FIELDS = {"sequence", "at", "actor", "action", "model_id", "reason", "details", "previous"}


def repair_log(source: Storage, target: Storage, copied: MutableSequence[str], damaged: dict[str, str]) -> None:
    """Replaces damaged and missing records of a log by those of another copy of the same log.

    Args:
        source: holds a copy of the log.
        target: holds the log.
        copied: gets the keys that were written.
        damaged: gets the keys that stay damaged, each with the reason.

    Raises:
        StorageFailed: one of the two cannot be read or written.
    """
    keys = [key for key in target.keys("audit") if is_record(key)]
    if not keys:
        return
    last = max((number for number in map(_number, keys) if number), default=0)
    for number in range(1, last + 1):
        key = record_key(number)
        content = _content(source, key)
        reason = record_damage(target, key) or _not_followed(target, number, content)
        if not reason:
            continue
        if record_damage(source, key) or content is None:
            damaged[key] = f"{reason}; {source.location} has no intact record of this number"
        elif not _fits(target, number, content):
            damaged[key] = f"{reason}; the record of {source.location} is of another log"
        else:
            replace(target, key, source.path(key))
            copied.append(key)


def _not_followed(target: Storage, number: int, theirs: bytes | None) -> str:
    """Why a readable record is not the one that the next record follows on, where the source has another one."""
    key, following = record_key(number), record_key(number + 1)
    ours = _content(target, key)
    if ours is None or theirs in (None, ours) or record_damage(target, following):
        return ""
    after: dict[str, Any] = parse_json(_content(target, following) or b"{}")
    return "" if after["previous"] == hashlib.sha256(ours).hexdigest() else f"{key}: the record was changed"


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


def _fits(target: Storage, number: int, content: bytes) -> bool:
    """Whether a record stands between its neighbours: at least one of them is there and agrees, none disagrees."""
    record = parse_json(content)
    before, after = _content(target, record_key(number - 1)), _content(target, record_key(number + 1))
    agreed = number == 1 and record["previous"] == "0" * 64
    if before is not None and not record_damage(target, record_key(number - 1)):
        if record["previous"] != hashlib.sha256(before).hexdigest():
            return False
        agreed = True
    if after is not None and not record_damage(target, record_key(number + 1)):
        following: dict[str, Any] = parse_json(after)
        if following["previous"] != hashlib.sha256(content).hexdigest():
            return False
        agreed = True
    return agreed


def _number(key: str) -> int:
    digits = key.rsplit("/", 1)[-1].removesuffix(".json")
    return int(digits) if digits.isdigit() and len(digits) == 9 else 0


def _content(storage: Storage, key: str) -> bytes | None:
    try:
        return storage.read(key)
    except (ModelNotFound, UnreadableModel):
        return None
