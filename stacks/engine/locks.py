"""Who is changing a stack: one deploy of this checkout at a time, and the engine's own lock in the state."""

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import filelock
import psutil

from conventions.config_keys import PROJECT
from stacks.engine.workspace import backend_url
from stacks.environments import DeploymentEnvironment
from stacks.errors import StackBusy, StackLocked

_CLOCK_TOLERANCE_SECONDS = 2.0


@dataclass(frozen=True)
class StackLock:
    """A lock that the engine left or holds in a `file://` state."""

    path: Path
    pid: int
    user: str
    host: str
    since: str

    @property
    def is_stale(self) -> bool:
        """Whether the process that took the lock ran on this machine and has ended."""
        return self.host == socket.gethostname() and not _holder_is_alive(self.pid, self.since)

    def __str__(self) -> str:
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
    url = backend_url(checkout)
    if not url.startswith("file://"):
        return []
    root = Path(url.removeprefix("file://").split("?")[0])
    directory = root / ".pulumi" / "locks" / "organization" / PROJECT / environment.stack
    return [_read(path) for path in sorted(directory.glob("*.json"))]


def require_unlocked(checkout: Path, environment: DeploymentEnvironment) -> None:
    """Stops before anything is changed when the engine's lock is there.

    Raises:
        StackBusy: a live run holds it.
        StackLocked: a run that has died left it; says the way out.
    """
    for lock in engine_locks(checkout, environment):
        if lock.is_stale:
            raise StackLocked(
                f"stack {environment.stack} is locked by a run that has died ({lock}). "
                f"Unlock it: python scripts/deploy_model.py unlock {environment}"
            )
        raise StackBusy(f"stack {environment.stack} is being changed by {lock}; wait for it, then try again")


def remove_stale_locks(checkout: Path, environment: DeploymentEnvironment) -> list[StackLock]:
    """Removes what dead runs left and returns it.

    Raises:
        StackBusy: a live run holds the stack; nothing was removed.
    """
    locks = engine_locks(checkout, environment)
    for lock in locks:
        if not lock.is_stale:
            raise StackBusy(
                f"stack {environment.stack} is being changed by {lock}, which is alive; nothing was unlocked"
            )
    for lock in locks:
        lock.path.unlink(missing_ok=True)
    return locks


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


def _read(path: Path) -> StackLock:
    content = json.loads(path.read_text(encoding="utf-8"))
    return StackLock(path, int(content["pid"]), content["username"], content["hostname"], content["timestamp"])


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
