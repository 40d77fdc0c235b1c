"""Who is changing a stack: one deploy of this checkout at a time, and the engine's own lock in the state."""

import os
import re
import shlex
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock
import psutil

from conventions.config_keys import PROJECT
from conventions.regular_files import parse_json
from stacks.engine.backend import state_directory
from stacks.environments import DeploymentEnvironment
from stacks.errors import StackBusy, StackLocked

_CLOCK_TOLERANCE_SECONDS = 2.0
_LONGEST_RUN_HOURS = 6
"""A lock of another host that is older was left by a run that has died: no update, and no job of a pipeline, lasts so
long."""
_WRITING_SECONDS = 2.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class StackLock:
    """A lock that the engine left or holds in a `file://` state."""

    path: Path
    pid: int
    user: str
    host: str
    since: str

    damaged: str = ""
    """Why the lock's file does not tell who took it; empty when it does."""

    @property
    def of_another_host(self) -> bool:
        """Whether the process that took the lock ran on another machine, which cannot be asked."""
        return not self.damaged and self.host != socket.gethostname()

    @property
    def is_stale(self) -> bool:
        """Whether the process that took the lock has ended, or the lock is older than any run."""
        if self.damaged:
            return True
        if self.of_another_host:
            return _hours_since(self.since) > _LONGEST_RUN_HOURS
        return not _holder_is_alive(self.pid, self.since)

    def __str__(self) -> str:
        if self.damaged:
            return f"{self.path} {self.damaged}"
        return f"process {self.pid} of {self.user}@{self.host} since {self.since}"


@contextmanager
def changing(checkout: Path, environment: DeploymentEnvironment) -> Iterator[None]:
    """Holds the environment for one change of its config and state; vanishes with the process.

    Raises:
        StackBusy: somebody else is changing the environment; says who.
    """
    directory = checkout / ".run"
    directory.mkdir(parents=True, exist_ok=True)
    holder = directory / f"{environment.stack}.holder"
    lock = filelock.FileLock(directory / f"{environment.stack}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise StackBusy(f"{environment} is being changed by {_holder(holder)}; wait for it, then try again") from None
    try:
        holder.write_text(f"{_current_user()}\n", encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def lock_holder(checkout: Path, environment: DeploymentEnvironment) -> str:
    """Returns the user and process that hold the environment's lock in this checkout; empty when it is free."""
    lock = filelock.FileLock(checkout / ".run" / f"{environment.stack}.lock")
    try:
        with lock.acquire(timeout=0):
            return ""
    except filelock.Timeout:
        return _holder(checkout / ".run" / f"{environment.stack}.holder")
    except FileNotFoundError:
        return ""


def engine_locks(checkout: Path, environment: DeploymentEnvironment) -> list[StackLock]:
    """The engine's locks on the environment's stack; none where the state is not a directory."""
    root = state_directory(checkout)
    if root is None:
        return []
    directory = root / ".pulumi" / "locks" / "organization" / PROJECT / environment.stack
    # To the engine every file there is a lock, also `….json.….tmp`, which a full disk has cut off.
    paths = sorted(path for path in directory.glob("*") if path.suffix != ".attrs" and not path.is_dir())
    return [lock for path in paths if (lock := _read(path)) is not None]


def require_unlocked(checkout: Path, environment: DeploymentEnvironment) -> None:
    """Stops before anything is changed when the engine's lock is there.

    Raises:
        StackBusy: a live run holds it, or one on another host may.
        StackLocked: a run that has died left it; says the way out.
    """
    for lock in engine_locks(checkout, environment):
        if lock.is_stale:
            raise StackLocked(
                f"stack {environment.stack} is locked by a run that has died ({lock}). "
                f"Unlock it: python scripts/deploy_model.py unlock {environment}"
            )
        more = _other_host(lock, environment)
        raise StackBusy(f"stack {environment.stack} is being changed by {lock}; wait for it, then try again{more}")


def remove_stale_locks(checkout: Path, environment: DeploymentEnvironment, dead_host: str = "") -> list[StackLock]:
    """Removes what dead runs left and returns it.

    Args:
        checkout: the project's root.
        environment: whose stack is locked.
        dead_host: a host whose runs have ended, as a person knows; its locks count as stale.

    Raises:
        StackBusy: a live run holds the stack, or one on another host may; nothing was removed.
    """
    locks = engine_locks(checkout, environment)
    for lock in locks:
        if not (lock.is_stale or (lock.of_another_host and lock.host == dead_host)):
            alive = "" if lock.of_another_host else ", which is alive"
            more = _other_host(lock, environment)
            raise StackBusy(f"stack {environment.stack} is being changed by {lock}{alive}; nothing was unlocked{more}")
    for lock in locks:
        lock.path.unlink(missing_ok=True)
    return locks


def _other_host(lock: StackLock, environment: DeploymentEnvironment) -> str:
    if not lock.of_another_host:
        return ""
    how = f"python scripts/deploy_model.py unlock {environment} --dead-host {shlex.quote(lock.host)}"
    return f". {lock.host} cannot be asked from here; when that run has ended: {how}"


def _holder(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip() or "another process"
    except OSError:
        return "another process"


def _current_user() -> str:
    """Returns this process's id, user, host and the present time, as text for a message."""
    from model_store.registry.identity import account_name

    user = account_name()
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return f"process {os.getpid()} of {user}@{socket.gethostname()} since {now}"


def _read(path: Path) -> StackLock | None:
    """The lock in a file; None when it was released meanwhile. Waits a moment for a run that is writing it."""
    deadline = time.monotonic() + _WRITING_SECONDS
    while True:
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            return StackLock(path, 0, "", "", "", f"cannot be read ({error.strerror})")
        try:
            return _told(path, parse_json(text))
        except (ValueError, KeyError, TypeError, OverflowError):
            if time.monotonic() > deadline:
                damaged = "does not tell who took it" if text.strip() else "is empty"
                return StackLock(path, 0, "", "", "", damaged)
        time.sleep(_POLL_SECONDS)


def _told(path: Path, content: Any) -> StackLock:
    """What a lock's file tells; raises ValueError, KeyError or TypeError where it tells something else."""
    pid, since = int(content["pid"]), str(content["timestamp"])
    user, host = str(content["username"]), str(content["hostname"])
    _seconds(since)
    if pid < 1 or not f"{user}{host}".isprintable():
        raise ValueError
    return StackLock(path, pid, user, host, since)


def _hours_since(moment: str) -> float:
    return (time.time() - _seconds(moment)) / 3600


def _holder_is_alive(pid: int, since: str) -> bool:
    """Whether the process that took the lock still runs; a later process with its number does not count."""
    try:
        process = psutil.Process(pid)
        started = process.create_time()
        ended = process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    return not ended and started <= _seconds(since) + _CLOCK_TOLERANCE_SECONDS


def _seconds(moment: str) -> float:
    """Seconds since 1970 of a time such as `2026-01-01T12:00:00.123456789Z`, whose digits Python cannot all read."""
    whole = re.sub(r"\.\d+", "", moment)
    return datetime.fromisoformat(whole).timestamp()
