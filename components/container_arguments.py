"""The arguments of `docker create` for a serving container, from the inputs of its resource.

Standard library only, without Pulumi.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.api_keys_copy import copy_of, has_copy
from conventions import variables
from conventions.run_files import OVERRIDE_DIRECTORY, OVERRIDE_FILE

ARGUMENTS = (
    "deployment_name",
    "run_name",
    "checkout",
    "environment",
    "image",
    "user",
    "user_namespace",
    "model_id",
    "model_directory",
    "model_digest",
    "model_runtime_digest",
    "model_key_file",
    "api_keys_file",
    "keys_digest",
    "memory_mib",
    "cpus",
    "gpus",
    "health_check_interval",
    "ready_timeout_seconds",
    "variables",
)
"""The resource's inputs; its other properties are outputs."""

PORT = 8000
"""In the container; on the machine it is a free port of the loopback."""
_SECRETS = "/var/run/secrets/fraud-detection"
_MODEL = "/var/lib/fraud-detection/model"
_OVERRIDE = "/var/lib/fraud-detection/override"
_DECISION_LOG = "/var/lib/fraud-detection/decisions"
_TEMPORARY = "/tmp:rw,noexec,nosuid,size=512m"  # noqa: S108 - a directory of the container's own
_LONGEST_HOST_NAME = 63
_LOG_BYTES, _LOG_FILES = "10m", "5"


def arguments_digest(arguments: Mapping[str, Any]) -> str:
    """Returns a digest of the inputs; the container's label has it."""
    # Numbers come back from the engine as floats.
    plain = {key: _plain(arguments.get(key)) for key in ARGUMENTS}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def container_run_name(deployment_name: str, slot: str) -> str:
    """The name of a slot's container, and of its run directory."""
    return f"{deployment_name}-{slot}-container"


def override_directory(arguments: Mapping[str, Any]) -> Path:
    """The directory whose file says which override gives the decisions; the container sees the file as it changes."""
    return Path(arguments["checkout"]) / ".run" / str(arguments["deployment_name"]) / OVERRIDE_DIRECTORY


def decision_log_directory(arguments: Mapping[str, Any]) -> Path | None:
    """The directory that gets the decision log, the only one that a container writes; None without a log."""
    log = (arguments.get("variables") or {}).get(variables.DECISION_LOG)
    return Path(arguments["checkout"]) / str(log) if log else None


def container_arguments(arguments: Mapping[str, Any], name: str, port: int) -> list[str]:
    """Returns the arguments of `docker create`: an unprivileged, read-only container on the loopback.

    Args:
        arguments: the resource's inputs.
        name: of the container.
        port: of the loopback, where the container answers.
    """
    memory = f"{int(arguments['memory_mib'])}m"
    return [
        *("--name", name, "--hostname", name[-_LONGEST_HOST_NAME:].strip("-")),
        *("--publish", f"127.0.0.1:{port}:{PORT}"),
        *("--user", str(arguments["user"])),
        *(("--userns", str(arguments["user_namespace"])) if arguments.get("user_namespace") else ()),
        *("--read-only", "--tmpfs", _TEMPORARY),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"),
        # Equal limits: nothing is swapped.
        *("--memory", memory, "--memory-swap", memory),
        *("--cpus", f"{float(arguments['cpus']):g}", "--cpu-shares", str(round(float(arguments["cpus"]) * 1024))),
        *(("--gpus", str(int(arguments["gpus"]))) if arguments.get("gpus") else ()),
        *("--health-cmd", "python3 -m serving.healthcheck", "--health-timeout", "10s", "--health-retries", "3"),
        *("--health-interval", f"{int(arguments['health_check_interval'])}s", "--health-start-period", "60s"),
        *("--log-driver", "json-file", "--log-opt", f"max-size={_LOG_BYTES}", "--log-opt", f"max-file={_LOG_FILES}"),
        # The policy of a container that serves is set once it is ready: one that cannot start ends, and says why.
        *("--restart", "no"),
        *_labels(arguments),
        *_environment(arguments),
        *_mounts(arguments),
        str(arguments["image"]),
    ]


def _labels(arguments: Mapping[str, Any]) -> Iterator[str]:
    labels = {
        "checkout": str(arguments["checkout"]),
        "deployment": str(arguments["deployment_name"]),
        "run": str(arguments["run_name"]),
        "model": str(arguments["model_id"]),
        "arguments": arguments_digest(arguments),
    }
    for key, value in labels.items():
        yield from ("--label", f"fraud-detection.{key}={value}")


def _environment(arguments: Mapping[str, Any]) -> Iterator[str]:
    environment = {
        variables.ENVIRONMENT: arguments["environment"],
        variables.DEPLOYMENT_NAME: arguments["deployment_name"],
        variables.MODEL_ID: arguments["model_id"],
        variables.MODEL_URI: _MODEL,
        variables.MODEL_SHA256: arguments["model_digest"],
        variables.MODEL_RUNTIME_SHA256: arguments.get("model_runtime_digest") or "",
        variables.MODEL_KEY_FILE: f"{_SECRETS}/key/{Path(arguments['model_key_file']).name}",
        variables.API_KEYS_FILE: f"{_SECRETS}/api/{Path(arguments['api_keys_file']).name}",
        variables.OVERRIDE_URI: f"{_OVERRIDE}/{OVERRIDE_FILE}",
        variables.API_HOST: "0.0.0.0",  # noqa: S104 - the container's own network
        variables.API_PORT: str(PORT),
        variables.LOG_LEVEL: "INFO",
        **(arguments.get("variables") or {}),
        **({variables.DECISION_LOG: _DECISION_LOG} if decision_log_directory(arguments) else {}),
    }
    for key, value in environment.items():
        yield from ("--env", f"{key}={value}")


def _mounts(arguments: Mapping[str, Any]) -> Iterator[str]:
    model_key, api_keys = Path(arguments["model_key_file"]), Path(arguments["api_keys_file"])
    yield from _mount(Path(arguments["model_directory"]), _MODEL)
    yield from _mount(override_directory(arguments), _OVERRIDE)
    if (log := decision_log_directory(arguments)) is not None:
        yield from _mount(log, _DECISION_LOG, access="")
    yield from _mount(model_key, f"{_SECRETS}/key/{model_key.name}")
    if has_copy(api_keys):
        # A directory: a file that is mounted alone stays the old one when the file is replaced.
        yield from _mount(copy_of(api_keys).parent, f"{_SECRETS}/api")
    else:
        yield from _mount(api_keys, f"{_SECRETS}/api/{api_keys.name}")


def _mount(source: Path, target: str, access: str = ",readonly") -> tuple[str, str]:
    return "--mount", f"type=bind,{_quoted(f'source={source}')},{_quoted(f'destination={target}')}{access}"


def _quoted(field: str) -> str:
    """A field of a mount, which Docker reads as CSV."""
    return '"' + field.replace('"', '""') + '"'


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
