"""What a supervisor reads from its run directory and writes to it: the request, its status, its log.

Standard library only: the supervisor stays small and starts at once.
"""

import asyncio
import contextlib
import json
import os
import shutil
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

_REWRITE_SECONDS = 1.0
_LOG_BYTES = 50_000_000
_ROTATED_LOGS = 5
_MOST_PORT = 65_535
_MOST_SECONDS = 1 << 31


NOT_STARTED = "NotStarted"
"""Code of a failure that has nothing to do with what was asked for: the machine has no process left, or no memory."""


class RequestFailed(Exception):
    """A request could not be carried out.

    Args:
        code: the kind of failure, such as `PortInUse` or the name of a model store error.
        message: one sentence for the person who asked.
        exit_code: of the process that failed; None where none has ended.
    """

    def __init__(self, code: str, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.code, self.exit_code = code, exit_code


@dataclass(frozen=True)
class Request:
    """What should run, as `requested.json` holds it."""

    generation: int
    """Grows with every request; status answers refer to it."""
    host: str
    port: int
    model_id: str
    environment: dict[str, str]
    """Variables of the serving process."""
    ready_timeout_seconds: float
    module: str = "serving"
    """What runs: the service, or the traffic splitter in front of two services."""

    @classmethod
    def read(cls, path: Path) -> "Request":
        """Reads `requested.json`; fields that a newer program has written are left aside.

        Raises:
            RequestFailed: the file cannot be read, or lacks a field.
        """
        known = {field.name for field in fields(cls)}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found = cls(**{name: value for name, value in content.items() if name in known})
            found._require_kinds()
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise RequestFailed("RequestUnreadable", f"{path}: not a request ({error})") from None
        return found

    def _require_kinds(self) -> None:
        """Raises ValueError or TypeError where a field is of another kind, which would end the supervisor."""
        texts = (self.host, self.model_id, self.module)
        if not all(isinstance(each, str) and "\0" not in each for each in texts):
            raise ValueError("host, model_id and module are texts")
        if not isinstance(self.generation, int):
            raise TypeError("generation is not a whole number")
        seconds = self.ready_timeout_seconds
        if not isinstance(seconds, int | float) or not 0 <= seconds < _MOST_SECONDS:
            raise ValueError("ready_timeout_seconds is a number of seconds")
        if not isinstance(self.port, int) or not 0 <= self.port <= _MOST_PORT:
            raise ValueError(f"port is {self.port}; allowed: 0 to {_MOST_PORT}")
        variables = self.environment.items()
        if not all(isinstance(each, str) and "\0" not in each for pair in variables for each in pair):
            raise ValueError("environment has a variable of another kind than text")
        if any(not name or "=" in name for name, _ in variables):
            raise ValueError("environment has a variable whose name is empty or has an equals sign")


class StatusFile:
    """The file `status.json`; what a full disk does not take is written as soon as there is room.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._content = path, ""
        self._rewriting: asyncio.Task[None] | None = None

    def write(self, status: dict[str, Any]) -> None:
        """Writes a status in place of the one before."""
        self._content = json.dumps(status, indent=2) + "\n"
        if not self._is_written() and (self._rewriting is None or self._rewriting.done()):
            self._rewriting = asyncio.ensure_future(self._write_later())

    def restarts(self) -> int:
        """How often the supervisor that wrote the file had started its process again."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            return int(json.loads(self._path.read_text(encoding="utf-8"))["restarts"])
        return 0

    def _is_written(self) -> bool:
        staging = self._path.with_name(f".{self._path.name}.new")
        try:
            staging.write_text(self._content, encoding="utf-8")
            staging.replace(self._path)
        except OSError as error:
            log_line(f"{self._path} was not written ({error.strerror}); it is tried again")
            return False
        return True

    async def _write_later(self) -> None:
        await asyncio.sleep(_REWRITE_SECONDS)
        while not self._is_written():
            await asyncio.sleep(_REWRITE_SECONDS)


def log_line(message: str) -> None:
    """Logs an error of the supervisor, where the log takes it."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(json.dumps({"level": "ERROR", "logger": "serving.supervisor", "message": message}) + "\n")
        sys.stderr.flush()


def rotate_when_full(log: Path, most: int = _LOG_BYTES) -> bool:
    """Moves a log's content into `<log>.1`, and what was there on, when it has grown too large.

    Several processes append to it, which cannot all be told to open it again: so it is copied and emptied. Lines that
    are written in between are lost; they are few.

    Returns:
        Whether it was.
    """
    if log.stat().st_size < most:
        return False
    rotated = [log.with_name(f"{log.name}.{number}") for number in range(1, _ROTATED_LOGS + 1)]
    staging = log.with_name(f".{log.name}.rotated")
    try:
        shutil.copyfile(log, staging)
    except OSError:
        # A full disk: the oldest log makes room for the next attempt, and the others stay.
        staging.unlink(missing_ok=True)
        rotated[-1].unlink(missing_ok=True)
        return False
    for older, newer in zip(reversed(rotated[1:]), reversed(rotated[:-1]), strict=True):
        if newer.exists():
            newer.replace(older)
    staging.replace(rotated[0])
    os.truncate(log, 0)
    return True
