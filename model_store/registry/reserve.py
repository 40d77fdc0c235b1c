"""A reserve of bytes in a registry's directory, given up so that a deletion can be recorded on a full disk."""

import os
import warnings
from contextlib import suppress
from typing import Any

from model_store.errors import StorageFailed, StorageForbidden
from model_store.registry.audit import AuditHead, AuditLog
from model_store.storage.base import Storage

RESERVE_KEY = ".reserve"
_RESERVE_BYTES = 64 << 10
_GIVEN_UP = (RESERVE_KEY, ".index", ".index.json")
"""What can be lost: the reserve, then the cache of the list of versions, of this program and of earlier ones."""


def keep_reserve(storage: Storage) -> None:
    """Makes the reserve where there is none; a failure is ignored. A bucket needs none."""
    if _is_local(storage) and not storage.path(RESERVE_KEY).exists():
        # Not zeros: some file systems keep no blocks for those.
        storage.put_best_effort(RESERVE_KEY, os.urandom(_RESERVE_BYTES))


def record_removal(
    audit: AuditLog, storage: Storage, action: str, model_id: str = "", reason: str = "", **details: Any
) -> None:
    """Records a removal before it is done; on a full disk the reserve makes room for the record.

    Raises:
        StorageFailed: the record cannot be written even so; nothing may be removed.
    """
    try:
        audit.append(action, model_id, reason, **details)
    except StorageFailed:
        if not _is_local(storage) or is_read_only(storage):
            raise
        failure: Any = None
        for key in _GIVEN_UP:
            with suppress(OSError):
                storage.path(key).unlink()
                try:
                    audit.append(action, model_id, reason, **details)
                except StorageFailed as error:
                    failure = error
                else:
                    return
        if failure is not None:
            raise failure from None
        raise


def record_reading(
    audit: AuditLog, storage: Storage, action: str, model_id: str = "", reason: str = "", **details: Any
) -> AuditHead | None:
    """Records what changes no version; in a registry that the caller may only read it warns instead.

    Such a registry is one on a read-only disk, and in S3 one whose role may not write the log. There the bucket's
    access logs tell who read.

    Returns:
        The head of the log with the record; None where it cannot be recorded.

    Raises:
        StorageFailed: the record cannot be written, and not for this reason.
    """
    try:
        return audit.append(action, model_id, reason, **details)
    except StorageFailed as error:
        if not isinstance(error, StorageForbidden) and not is_read_only(storage):
            raise
        message = f"{storage.location} is read-only: this {action} is not recorded in its audit log"
        warnings.warn(message, stacklevel=4)
        return None


def is_read_only(storage: Storage) -> bool:
    """Whether a registry's directory lies on a file system that is mounted read-only."""
    if not _is_local(storage):
        return False
    try:
        return bool(os.statvfs(storage.path("")).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _is_local(storage: Storage) -> bool:
    return not storage.location.startswith("s3://")
