"""The run directory of a supervised process: where it is, and what its files tell.

Standard library only, without Pulumi.
"""

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conventions.run_files import LOCK_FILE, REQUESTED_FILE, STATUS_FILE


def run_name(arguments: Mapping[str, Any]) -> str:
    """Name of the run directory and the log: `run_name` of the arguments, else the deployment's name."""
    return str(arguments.get("run_name") or arguments["deployment_name"])


def run_directory(arguments: Mapping[str, Any]) -> Path:
    """The directory with the files of this deployment's supervisor."""
    return Path(arguments["checkout"]) / ".run" / run_name(arguments)


def read_request(directory: Path) -> dict[str, Any] | None:
    """What was asked for last; None where nothing can be read."""
    try:
        request: dict[str, Any] = json.loads((directory / REQUESTED_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return request


def read_status(directory: Path) -> dict[str, Any] | None:
    """What the supervisor told last; None where nothing can be read."""
    try:
        status: dict[str, Any] = json.loads((directory / STATUS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return status


def supervisor_lives(directory: Path) -> bool:
    """Whether a process holds the supervisor's lock; the kernel releases it when the process ends."""
    try:
        with (directory / LOCK_FILE).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
