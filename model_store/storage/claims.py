"""Claims of names in a staging directory: the kernel ends a claim with the process that holds it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SUFFIX = ".lock"


@contextmanager
def claimed(place: Path) -> Iterator[bool]:
    """Whether this process alone may fill a place until the end of the block; never waits.

    What lies at a claimed place was left by a process that has ended.

    Raises:
        OSError: the claim cannot be written.
    """
    lock = place.with_name(place.name + _SUFFIX)
    descriptor = _locked(lock)
    if descriptor is None:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):
            lock.unlink()
        os.close(descriptor)


def is_claim(path: Path) -> bool:
    """Whether a path is a claim and not what is filled."""
    return path.name.endswith(_SUFFIX)


def claimed_place(lock: Path) -> Path:
    """The place that a claim is of."""
    return lock.with_name(lock.name.removesuffix(_SUFFIX))


def _locked(lock: Path) -> int | None:
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        # The process that held the lock before may have removed the file: then this lock protects nothing.
        with suppress(FileNotFoundError):
            if lock.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)
