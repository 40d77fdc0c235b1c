"""A reserve of bytes and files in a registry, given up so that a deletion can be recorded on a full disk."""

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from model_store.errors import StorageFailed, StorageForbidden
from model_store.registry.log.audit import AuditHead, AuditLog
from model_store.storage.base import Storage

RESERVE_KEY = ".reserve"
_RESERVE_BYTES = 256 << 10
"""A record takes a few kilobytes; a file system with quotas, such as btrfs, counts some hundred for a new file."""
_FILES_KEYS = tuple(f"{RESERVE_KEY}-{number}" for number in range(1, 5))
"""Empty files: where a disk has no room for the names of new ones, each makes room for one."""
_GIVEN_UP = (*_FILES_KEYS, RESERVE_KEY, ".index", ".index.json")
"""What can be lost: the reserve, then the cache of the list of versions, of this program and of earlier ones."""


def keep_reserve(storage: Storage) -> None:
    """Makes the reserve where there is none; a failure is ignored. A bucket needs none, nor does an empty registry.

    It is there only where the audit log has had a record: where the log is gone, `audit --verify` says so.
    """
    if not _is_local(storage) or not storage.exists("audit"):
        return
    if _bytes_of(storage.path(RESERVE_KEY)) < _RESERVE_BYTES:
        # Earlier programs kept less. Not zeros: some file systems keep no blocks for those.
        storage.put_best_effort(RESERVE_KEY, os.urandom(_RESERVE_BYTES))
    for key in _FILES_KEYS:
        if not storage.path(key).exists():
            storage.put_best_effort(key, b"")


def record_removal(
    audit: AuditLog, storage: Storage, action: str, model_id: str = "", reason: str = "", **details: Any
) -> None:
    """Records a removal before it is done; on a full disk the reserve makes room for the record.

    Raises:
        StorageFailed: the record cannot be written even so; nothing may be removed.
    """
    with_room(storage, lambda: audit.append(action, model_id, reason, **details))


def with_room(storage: Storage, write: Callable[[], Any]) -> None:
    """Writes something that a removal needs; on a full disk the reserve makes room for it.

    Raises:
        StorageFailed: it cannot be written even so; nothing may be removed.
    """
    try:
        write()
    except StorageFailed as error:
        failure = error
    else:
        return
    given_up = _GIVEN_UP if _is_local(storage) and not is_unwritable(storage) else ()
    for key in given_up:
        with suppress(OSError):
            storage.path(key).unlink()
            try:
                write()
            except StorageFailed as error:
                failure = error
            else:
                return
    raise failure


def record_reading(
    audit: AuditLog, storage: Storage, action: str, model_id: str = "", reason: str = "", **details: Any
) -> AuditHead | None:
    """Records what changes no version; where this process may not write the log, it warns instead.

    Such a log is one on a read-only disk or in a directory of somebody else, and in S3 one that the role may not write.
    There the bucket's access logs tell who read.

    Returns:
        The head of the log with the record; None where it cannot be recorded.

    Raises:
        StorageFailed: the record cannot be written, although this process may write the log.
    """
    try:
        return audit.append(action, model_id, reason, **details)
    except StorageFailed as error:
        if not isinstance(error, StorageForbidden) and not is_unwritable(storage):
            raise
        what = f"{action} {model_id}".rstrip()
        message = f"{storage.location} cannot be written by this process; not recorded in its audit log: {what}"
        warnings.warn(NotRecorded(message), stacklevel=4)
        return None


class NotRecorded(UserWarning):
    """Something was done and is not in the audit log, since this process may not write it."""


def is_unwritable(storage: Storage) -> bool:
    """Whether this process may not add to a registry's log: a read-only disk, or a directory of somebody else."""
    if not _is_local(storage):
        return False
    log = storage.path("audit")
    if not log.is_dir():
        return not os.access(storage.path(""), os.W_OK)
    try:
        latest = sorted(path for path in log.iterdir() if path.is_dir())[-1:]
    except OSError:
        return True
    return not all(os.access(path, os.W_OK) for path in (log, *latest))


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is_local(storage: Storage) -> bool:
    return not storage.location.startswith("s3://")
