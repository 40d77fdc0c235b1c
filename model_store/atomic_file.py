"""Files that appear whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from model_store.errors import StorageFailed


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the path's place at the end of the block, synced to the disk.

    When the block fails, nothing is left, and what was at the path stays.

    Raises:
        StorageFailed: the file cannot be written; names it.
    """
    staging = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with staging.open("xb") as file:
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


def sync_directory(path: Path) -> None:
    """Makes the names in a directory survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
