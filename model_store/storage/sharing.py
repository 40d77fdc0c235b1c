"""A registry in a directory that its group may write: the group gets the rights that each file's owner has.

Files outside the registry, such as exported bundles, keep the mode of the process.
"""

import os
import stat
from pathlib import Path

from model_store.errors import StorageFailed
from model_store.storage.atomic_file import make_directories


def share(root: Path, *paths: Path) -> None:
    """Gives the group of a shared registry the owner's rights to paths in it; returns at once for any other registry.

    Raises:
        OSError: the mode cannot be changed.
    """
    if _is_shared(root):
        for path in paths:
            _share(path)


def make_directory(root: Path, directory: Path) -> None:
    """Makes a directory of a registry, with those above it, where it does not exist.

    Raises:
        StorageFailed: something else is in the place of one of them; says what to do.
        OSError: it cannot be made.
    """
    if directory.is_dir():
        return
    if problem := file_in_the_way(root, directory):
        raise StorageFailed(problem)
    missing = make_directories(directory)
    share(root, *(each for each in missing if each.is_relative_to(root) and each != root))


def file_in_the_way(root: Path, directory: Path) -> str:
    """What lies in the place of a directory of a registry, and what to do; empty when nothing does."""
    for each in (directory, *directory.parents):
        if each != root and each.is_relative_to(root) and (each.is_symlink() or each.exists()) and not each.is_dir():
            return f"{each}: a file is where the registry needs a directory; move it away: mv {each} {root}.moved"
    return ""


def share_tree(root: Path, top: Path) -> None:
    """Shares a directory and everything below it, as `share` does."""
    if _is_shared(root):
        _share(top)
        for path in top.rglob("*"):
            _share(path)


def _is_shared(root: Path) -> bool:
    try:
        return bool(root.stat().st_mode & stat.S_IWGRP)
    except FileNotFoundError:
        return False


def _share(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    wanted = mode | (mode & stat.S_IRWXU) >> 3
    # Only a file's owner may change its mode; the owner has shared it already.
    if wanted != mode and path.stat().st_uid == os.geteuid():
        path.chmod(wanted)
