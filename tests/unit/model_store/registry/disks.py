"""A disk of its own for one test: small, or mounted read-only; a process without the right to write.

Each block of code runs in a child of this process, in a mount namespace of its own, so that nothing stays mounted.
"""

import ctypes
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

_NEW_NAMESPACE = 0x00020000
_NEW_USER = 0x10000000
_PRIVATE = (1 << 18) | (1 << 14)
_READ_ONLY_BIND = 1 | 4096 | 32
_BIND = 4096
_NOBODY = 65534
_CANNOT_MOUNT = 77


def in_a_child(work: Callable[[], None], before: Callable[[], None] | None = None) -> None:
    """Runs something in a child of this process; skips the test, in a line, where the child cannot be prepared.

    Args:
        work: what to do; an exception in it fails the test.
        before: prepares the child, such as by a mount.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code, text = 0, ""
        try:
            if before is not None:
                before()
        except OSError as error:
            code, text = _CANNOT_MOUNT, str(error)
        if code == 0:
            try:
                work()
            except BaseException:
                code, text = 1, traceback.format_exc()
        os.write(writing, text.encode()[-60_000:])
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        text = said.read().decode(errors="replace")
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == _CANNOT_MOUNT:
        reason = f"not run: this machine mounts nothing for a test ({text})"
        warnings.warn(reason, stacklevel=2)
        pytest.skip(reason)
    assert code == 0, text


def small_disk(place: Path, size_bytes: int, files: int = 0) -> Callable[[], None]:
    """Mounts an empty disk of some bytes at a place; with a number, so many files and directories fit on it."""
    most = f",nr_inodes={files}" if files else ""

    def prepare() -> None:
        _enter_namespace()
        _mount("tmpfs", place, "tmpfs", 0, f"size={size_bytes},mode=0755{most}")

    return prepare


def quota(place: Path, size_bytes: int, files: int = 0) -> Callable[[], None]:
    """Mounts a disk with room, and becomes a user who may fill only some bytes of it, or some files."""
    most = f",usrquota_inode_hardlimit={files}" if files else ""

    def prepare() -> None:
        _enter_namespace()
        limits = f"usrquota,usrquota_block_hardlimit={size_bytes}{most}"
        _mount("tmpfs", place, "tmpfs", 0, f"size={8 * size_bytes},mode=0777,{limits}")
        another_user()

    return prepare


def read_only_disk(place: Path) -> Callable[[], None]:
    """Mounts a directory over itself, read-only."""

    def prepare() -> None:
        _enter_namespace()
        _mount(str(place), place, "", _BIND, "")
        _mount("none", place, "", _READ_ONLY_BIND, "")

    return prepare


def another_user() -> None:
    """Becomes a user who owns nothing here."""
    os.setgroups([])
    os.setgid(_NOBODY)
    os.setuid(_NOBODY)


def fill(place: Path) -> Path:
    """Fills a disk to its last byte; returns the file that does."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        block = 1 << 16
        while block:
            try:
                file.write(bytes(block))
            except OSError:
                block //= 2
    return filler


def fill_with_files(place: Path) -> list[Path]:
    """Makes empty files until no more fit on a disk; returns them."""
    made: list[Path] = []
    while True:
        path = place / f"file-{len(list(place.iterdir()))}"
        try:
            path.touch(exist_ok=False)
        except OSError:
            return made
        made.append(path)


def _enter_namespace() -> None:
    library = ctypes.CDLL(None, use_errno=True)
    flags = _NEW_NAMESPACE if os.geteuid() == 0 else _NEW_NAMESPACE | _NEW_USER
    if library.unshare(flags):
        raise OSError(ctypes.get_errno(), "no mount namespace")
    _mount("none", Path("/"), "", _PRIVATE, "")


def _mount(source: str, place: Path, kind: str, flags: int, options: str) -> None:
    if not sys.platform.startswith("linux"):
        raise OSError(0, "not Linux")
    library = ctypes.CDLL(None, use_errno=True)
    given = [each.encode() or None for each in (source, str(place), kind)]
    if library.mount(*given, ctypes.c_ulong(flags), options.encode() or None):
        number = ctypes.get_errno()
        raise OSError(number, f"mount {place}: {os.strerror(number)}")
