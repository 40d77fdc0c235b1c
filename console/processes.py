"""Runs `console.worker`: one request, its progress line by line, one result."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from conventions import exit_codes
from stacks.errors import StacksError

_CODE = Path(__file__).resolve().parents[1]
_LOOK_SECONDS, _PIECE = 0.05, 1 << 16
_READ_SECONDS, _QUEUE_SECONDS = 120.0, 20.0
_READING = threading.BoundedSemaphore(2)
"""A process has a hundred megabytes."""


class WorkerFailed(StacksError):
    """What was asked of the worker failed; the message is the worker's."""

    def __init__(self, message: str, code: int = exit_codes.FAILED) -> None:
        super().__init__(message)
        self.exit_code = code


def run_worker(
    checkout: Path,
    task: str,
    actor: str,
    request: Mapping[str, Any],
    log: Callable[[str], None] = lambda _line: None,
    timeout_seconds: float | None = None,
) -> dict[str, Any]:
    """Carries out a request in a process of its own and returns the result.

    The process writes to files, not to pipes: it goes on when this one ends.

    Args:
        checkout: the project's root.
        task: of `console.worker`.
        actor: who acts; empty: the account of this process.
        request: the task's own fields.
        log: told the progress, line by line.
        timeout_seconds: when a request that changes nothing is given up; None: never.

    Raises:
        WorkerFailed: with the worker's own message and exit code.
    """
    content = json.dumps({**request, "task": task, "actor": actor, "checkout": str(checkout)})
    with TemporaryFile() as output, TemporaryFile() as progress:
        process = subprocess.Popen(
            [sys.executable, "-m", "console.worker"],
            cwd=_CODE,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=progress,
            start_new_session=True,  # Ctrl-C ends the console; a change that has begun comes to its end
        )
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(content.encode())
        lines = _Lines(progress.fileno(), log)
        _wait(process, lines, timeout_seconds)
        output.seek(0)
        return _result(output.read(), lines.last or f"it ended with code {process.returncode}")


def read_in_worker(checkout: Path, task: str, actor: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a page, which waits for it: two at once, and two minutes at most.

    Raises:
        WorkerFailed: with the worker's message, or because too many pages ask.
    """
    if not _READING.acquire(timeout=_QUEUE_SECONDS):
        raise WorkerFailed("other pages are being read; try again in a moment", exit_codes.STACK_BUSY)
    try:
        return run_worker(checkout, task, actor, request, timeout_seconds=_READ_SECONDS)
    finally:
        _READING.release()


def _wait(process: "subprocess.Popen[bytes]", lines: "_Lines", timeout_seconds: float | None) -> None:
    deadline = time.monotonic() + timeout_seconds if timeout_seconds is not None else math.inf
    while process.poll() is None:
        lines.read()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_SECONDS)
        if time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise WorkerFailed(f"it took longer than {timeout_seconds:.0f} seconds; ask for less")
    lines.read()


class _Lines:
    """Follows a file that a process writes; its own position, since the two share the file's."""

    def __init__(self, file: int, log: Callable[[str], None]) -> None:
        self._file, self._log, self._at, self._rest = file, log, 0, b""
        self.last = ""
        """The last line that is not empty."""

    def read(self) -> None:
        while content := os.pread(self._file, _PIECE, self._at):
            self._at += len(content)
            *whole, self._rest = (self._rest + content).split(b"\n")
            for each in whole:
                line = each.decode("utf-8", "replace").rstrip()
                self.last = line or self.last
                self._log(line)


def _result(output: bytes, last: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError:
        raise WorkerFailed(f"the process that works for the console failed: {last}") from None
    if "error" in answer:
        raise WorkerFailed(str(answer["error"]), int(answer["exit_code"]))
    result: dict[str, Any] = answer["result"]
    return result
