"""Leftovers of processes that were ended: unfinished versions and files, and in S3 objects without a manifest."""

import os
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from model_store.errors import ModelNotFound
from model_store.registry.files.layout import version_prefix
from model_store.registry.recovery.damage import unfinished_ids
from model_store.storage.base import Storage
from model_store.storage.claims import claimed, claimed_place, is_claim
from model_store.storage.s3 import S3Storage, version_claim

STAGING = ".staging"
UNFINISHED_SECONDS = 3600
"""A `*.partial` file that nobody has written for so long is left over."""
ORPHAN_SECONDS = 24 * 3600
"""Objects in S3 below a version's key without a manifest, all of them this old, are left over."""


def leftovers(storage: Storage) -> list[str]:
    """The keys of what can be removed, sorted; removes nothing.

    In a directory: what lies in `.staging` of processes that have ended, `*.partial` files that are an hour old, and
    what was written to a version while it was removed.
    In S3: objects of registrations that have had no manifest for a day.

    Raises:
        StorageFailed: the storage cannot be read.
    """
    if isinstance(storage, S3Storage):
        return storage.unfinished(ORPHAN_SECONDS)
    root = storage.path("")
    found = [str(path.relative_to(root)) for path in [*_abandoned(root / STAGING), *_partial(root)]]
    return sorted([*found, *(version_prefix(model_id) for model_id in unfinished_ids(storage))])


def begun_ids(storage: Storage, model_ids: Collection[str]) -> set[str]:
    """Those of some versions that a process began to write and that are not there: unfinished, or being written.

    Args:
        storage: of the registry.
        model_ids: versions that are not there.

    Raises:
        StorageFailed: the storage cannot be read.
    """
    if isinstance(storage, S3Storage):
        return {
            each
            for each in model_ids
            if storage.exists(version_prefix(each)) or storage.exists(version_claim(version_prefix(each)))
        }
    return {each for each in model_ids if storage.exists(f"{STAGING}/{each}") or storage.exists(version_prefix(each))}


def remove_leftovers(storage: Storage) -> list[str]:
    """Removes what `leftovers` names; returns the keys that are gone.

    Raises:
        StorageFailed: the storage cannot be read or written.
    """
    if isinstance(storage, S3Storage):
        found = leftovers(storage)
        for key in found:
            with suppress(ModelNotFound):
                storage.remove(key)
        return found
    return [key for key in leftovers(storage) if _remove(storage.path(key))]


def _abandoned(staging: Path) -> list[Path]:
    found = set()
    with suppress(OSError):
        for path in staging.iterdir():
            place = claimed_place(path) if is_claim(path) else path
            with suppress(OSError), claimed(place) as free:
                if free:
                    found.add(place if place.exists() or place.is_symlink() else path)
    return sorted(found)


def _partial(root: Path) -> list[Path]:
    oldest = time.time() - UNFINISHED_SECONDS
    found = []
    for directory, below, files in os.walk(root):
        below[:] = [name for name in below if name != STAGING]
        for name in files:
            path = Path(directory) / name
            with suppress(OSError):
                if name.startswith(".") and name.endswith(".partial") and path.lstat().st_mtime < oldest:
                    found.append(path)
    return found


def _remove(path: Path) -> bool:
    if path.parent.name == STAGING and not is_claim(path):
        with suppress(OSError), claimed(path) as free:
            return free and _gone(path)
        return False
    return _gone(path)


def _gone(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
    return not path.exists()
