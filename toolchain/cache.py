"""The user's cache directory: entries keyed by a hash of their sources, published in one step."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import platformdirs

CACHE_VARIABLE = "FRAUD_DETECTION_CACHE"


def cache_root() -> Path:
    """The directory that holds every entry: `$FRAUD_DETECTION_CACHE`, or the user's cache directory."""
    override = os.environ.get(CACHE_VARIABLE)
    return Path(override) if override else Path(platformdirs.user_cache_dir("fraud-detection"))


def digest(*parts: bytes) -> str:
    """Returns a short hash over the parts and their lengths."""
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.hexdigest()[:16]


def entry(kind: str, key: str) -> Path:
    """Returns the path of the entry of a kind (`engine`) with a key; it may not exist."""
    return cache_root() / kind / key


def publish(target: Path, fill: Callable[[Path], None]) -> Path:
    """Makes an entry: `fill` writes into a fresh directory that then takes the target's place in one step.

    An interrupted run leaves only a temporary directory behind, which the next run of the same entry removes.

    Args:
        target: the entry's directory; must not exist.
        fill: writes the entry's files into a directory.

    Returns:
        The target.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for abandoned in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        fill(staging)
        staging.chmod(0o755)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


@contextmanager
def exclusive(target: Path, log: Callable[[str], None]) -> Iterator[None]:
    """Holds the entry's lock; logs a line and waits while another process holds it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(target.parent / f"{target.name}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        log("another process is preparing the same thing; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
