"""Runs `console.worker`: one request, its progress line by line, one result."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from conventions import exit_codes
from stacks.errors import StacksError

_CODE = Path(__file__).resolve().parents[1]


class WorkerFailed(StacksError):
    """What was asked of the worker failed; the message is the worker's."""

    def __init__(self, message: str, code: int = exit_codes.FAILED) -> None:
        super().__init__(message)
        self.exit_code = code


def run_worker(
    checkout: Path, task: str, actor: str, request: Mapping[str, Any], log: Callable[[str], None] = lambda _line: None
) -> dict[str, Any]:
    """Carries out a request in a process of its own and returns the result.

    Args:
        checkout: the project's root.
        task: of `console.worker`.
        actor: who acts; empty: the account of this process.
        request: the task's own fields.
        log: told the progress, line by line.

    Raises:
        WorkerFailed: with the worker's own message and exit code.
    """
    command = [sys.executable, "-m", "console.worker"]
    content = json.dumps({**request, "task": task, "actor": actor, "checkout": str(checkout)})
    with subprocess.Popen(
        command,
        cwd=_CODE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # Ctrl-C ends the console; a change that has begun comes to its end
    ) as process:
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        assert process.stdout is not None  # noqa: S101
        assert process.stderr is not None  # noqa: S101
        told: list[str] = []
        reader = threading.Thread(target=_listen, args=(process.stderr, told, log), daemon=True)
        reader.start()
        process.stdin.write(content)
        process.stdin.close()
        output = process.stdout.read()
        reader.join()
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError:
        last = next((line for line in reversed(told) if line.strip()), f"it ended with code {process.returncode}")
        raise WorkerFailed(f"the process that works for the console failed: {last}") from None
    if "error" in answer:
        raise WorkerFailed(str(answer["error"]), int(answer["exit_code"]))
    result: dict[str, Any] = answer["result"]
    return result


def _listen(stream: Any, told: list[str], log: Callable[[str], None]) -> None:
    for line in stream:
        told.append(line.rstrip())
        del told[:-200]
        log(line.rstrip())
