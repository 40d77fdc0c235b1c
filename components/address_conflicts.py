"""Whether the address of an endpoint is free for its deployment.

Standard library only, without Pulumi.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.run_directories import read_request, read_status, run_directory, supervisor_lives
from conventions import variables
from conventions.run_files import STATUS_FILE


def find_address_conflict(arguments: Mapping[str, Any]) -> str | None:
    """Returns an error sentence when another program listens on the address, else None."""
    if not isinstance(arguments.get("port"), int | float):
        return None
    host, port = str(arguments["host"]), int(arguments["port"])
    if port == 0 or _is_this_deployment(run_directory(arguments), host, port):
        return None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if told := _told_of_another(run_directory(arguments), host, port):
                return told
            return (
                f"{host}:{port} cannot be listened on ({error.strerror}); stop the program that holds it, "
                "or set another address in api_endpoint"
            )
    return None


def _is_this_deployment(directory: Path, host: str, port: int) -> bool:
    """Whether the listener belongs to this deployment; also a closing server whose supervisor was killed."""
    if supervisor_lives(directory):
        return (host, port) in (
            _address((read_status(directory) or {}).get("serving")),
            _address_that_starts(directory),
        )
    serving = (read_status(directory) or {}).get("serving") or {}
    return _address(serving) == (host, port) and "pid" in serving and _process_lives(int(serving["pid"]))


def _told_of_another(own: Path, host: str, port: int) -> str:
    """The error sentence where another deployment of this checkout has the address; empty where none has."""
    for status in own.parent.glob(f"*/{STATUS_FILE}"):
        directory = status.parent
        if directory != own and _is_this_deployment(directory, host, port):
            environment = ((read_request(directory) or {}).get("environment") or {}).get(variables.ENVIRONMENT)
            return (
                f"{host}:{port} belongs to {directory.name}, another deployment of this checkout, which serves "
                f"{environment}: python scripts/deploy_model.py down {environment} before {own.name} takes the "
                "address, or set another address in api_endpoint"
            )
    return ""


def _address(of: Mapping[str, Any] | None) -> tuple[object, object]:
    return ((of or {}).get("host"), (of or {}).get("port"))


def _address_that_starts(directory: Path) -> tuple[object, object]:
    """The address of a request that has no final answer yet: an update that was killed leaves one behind."""
    state = (read_status(directory) or {}).get("state", "starting")
    return _address(read_request(directory)) if state == "starting" else (None, None)


def _process_lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
