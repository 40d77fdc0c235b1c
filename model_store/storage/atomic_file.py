"""Files that are written atomically: whole or not at all."""

import io
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from model_store.errors import StorageFailed

_BLOCK_BYTES = 1 << 20
_SYNC_BYTES = 1 << 24
"""Bytes between two syncs, so that the disk writes while the rest of the file is produced."""


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Opens a file to write that replaces the one at the path at the end of the block, synced to the disk.

    When the block fails, the temporary file is removed and the former file stays.

    Raises:
        StorageFailed: the file cannot be written, or something else than a file is in its place; names it.
    """
    if path.exists() and not path.is_file():
        raise StorageFailed(f"{path}: a device, a pipe or a directory; it is not replaced; name another place")
    staging = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        make_directories(path.parent)
        with io.BufferedWriter(_SyncedFile(staging, "xb")) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        staging.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StorageFailed(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        with suppress(OSError):
            staging.unlink(missing_ok=True)


def create_file(path: Path, content: bytes, prepare: Callable[[Path], None] = lambda _: None) -> bool:
    """Writes a new file, whole and synced, in a directory that is there; false when the path exists, which stays.

    Args:
        path: of the file.
        content: its bytes.
        prepare: gets the written file before it appears at the path.

    Raises:
        StorageFailed: the file cannot be written; names it.
    """
    staging = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        if path.exists():
            return False
        with staging.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        prepare(staging)
        os.link(staging, path)
        sync_directory(path.parent)
    except FileExistsError:
        return False
    except OSError as error:
        raise StorageFailed(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        with suppress(OSError):
            staging.unlink()
    return True


def write_blocks(path: Path, blocks: Iterable[bytes]) -> None:
    """Writes a new file of blocks, synced, into a directory that nobody else writes.

    Raises:
        StorageFailed: the file cannot be written; names it.
    """
    try:
        with path.open("xb") as file:
            for block in blocks:
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageFailed(f"{path}: cannot be written ({error.strerror})") from None


def read_blocks(path: Path) -> Iterator[bytes]:
    """The blocks of a file.

    Raises:
        StorageFailed: the file cannot be read; names it.
    """
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block
    except OSError as error:
        raise StorageFailed(f"{path}: cannot be read ({error.strerror})") from None


@contextmanager
def temporary_directory(prefix: str = "") -> Iterator[Path]:
    """A directory of this machine for the block.

    Raises:
        StorageFailed: there is no room for one.
    """
    try:
        directory = tempfile.TemporaryDirectory(prefix=prefix)
    except OSError as error:
        raise StorageFailed(f"{tempfile.gettempdir()}: cannot be written ({error.strerror})") from None
    with directory as name:
        yield Path(name)


def make_directories(path: Path) -> list[Path]:
    """Makes a directory with those above it, where they do not exist, so that they survive a power failure.

    Returns:
        Those that did not exist.

    Raises:
        OSError: one cannot be made.
    """
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync_directory(each.parent)
    return missing


class _SyncedFile(io.FileIO):
    """A file that is synced while it is written."""

    _unsynced = 0

    def write(self, data: Any, /) -> int:
        count = super().write(data)
        self._unsynced += count or 0
        if self._unsynced >= _SYNC_BYTES:
            self._unsynced = 0
            # Not every system has `fdatasync`, which is cheaper.
            getattr(os, "fdatasync", os.fsync)(self.fileno())
        return count


def sync_directory(path: Path) -> None:
    """Syncs a directory, so that its entries survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
