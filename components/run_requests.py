"""The request that a supervisor reads from its run directory: what should run, and in which environment.

Standard library only, without Pulumi.
"""

import contextlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from conventions import variables
from conventions.run_files import OVERRIDE_DIRECTORY, OVERRIDE_FILE, REQUESTED_FILE, STATUS_FILE

_READABLE = 0o755


def _override_file(arguments: Mapping[str, Any]) -> Path:
    """The file that says which override gives the decisions; all processes of a deployment read the same one."""
    return Path(arguments["checkout"]) / ".run" / str(arguments["deployment_name"]) / OVERRIDE_DIRECTORY / OVERRIDE_FILE


def make_override_directory(directory: Path) -> None:
    """Makes the directory of an override's file; a container reads it as another user of the machine."""
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(PermissionError):
        directory.chmod(directory.stat().st_mode | _READABLE)


def request_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The request for a process with these arguments, without a number of its own."""
    return {
        "host": str(arguments["host"]),
        "port": int(arguments["port"]),
        "model_id": str(arguments["model_id"]),
        "environment": {**_service_environment(arguments), **(arguments.get("variables") or {})},
        "module": str(arguments.get("module") or "serving"),
        "ready_timeout_seconds": float(arguments["ready_timeout_seconds"]),
    }


def write_request(directory: Path, request: Mapping[str, Any]) -> int:
    """Writes a request with a new number; returns the number, by which the status names it.

    Numbers grow, also where the clock was set back since the request before.
    """
    generation = max(time.time_ns(), _last_number(directory) + 1)
    write_file(directory, {**request, "generation": generation})
    return generation


def _last_number(directory: Path) -> int:
    """The largest number that was given already; 0 where there is none."""
    found = 0
    for name in (REQUESTED_FILE, STATUS_FILE):
        with suppress(OSError, ValueError, KeyError, TypeError):
            found = max(found, int(json.loads((directory / name).read_bytes())["generation"]))
    return found


def write_file(directory: Path, request: Mapping[str, Any]) -> None:
    """Writes a request with the number that it has."""
    staging = directory / f".{REQUESTED_FILE}.new"
    staging.write_text(json.dumps(request, indent=2) + "\n", encoding="utf-8")
    staging.replace(directory / REQUESTED_FILE)


def _service_environment(arguments: Mapping[str, Any]) -> dict[str, str]:
    return {
        variables.ENVIRONMENT: str(arguments["environment"]),
        variables.DEPLOYMENT_NAME: str(arguments["deployment_name"]),
        variables.MODEL_ID: str(arguments["model_id"]),
        variables.MODEL_URI: str(arguments["model_uri"]),
        variables.MODEL_SHA256: str(arguments["model_digest"]),
        variables.MODEL_RUNTIME_SHA256: str(arguments.get("model_runtime_digest") or ""),
        variables.MODEL_KEY_FILE: str(arguments["model_key_file"]),
        variables.API_KEYS_FILE: str(arguments["api_keys_file"]),
        variables.OVERRIDE_URI: str(_override_file(arguments)),
        variables.API_HOST: str(arguments["host"]),
        variables.API_PORT: str(int(arguments["port"])),
        variables.LOG_LEVEL: str(arguments["log_level"]),
    }
