"""The file of API keys' hashes that an environment's endpoint is given."""

import hashlib
import json
import math
import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from conventions import variables
from infra.errors import ConfigError
from stacks.environments import DeploymentEnvironment
from stacks.records import DeploymentRecord

if TYPE_CHECKING:
    from model_store import ModelRegistry

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def add_api_key(
    checkout: Path, environment: str, name: str, scopes: list[str], requests_per_second: float | None = None
) -> tuple[str, Path]:
    """Makes an API key; the file gets its hash, the caller the key itself.

    Args:
        checkout: the project's root.
        environment: whose endpoint lets the key in once it is deployed again.
        name: who calls with it; unique in the file.
        scopes: out of `predict`, `feedback` and `admin`.
        requests_per_second: a limit of its own; the service's when not given.

    Returns:
        The key, and the file.

    Raises:
        UnknownEnvironment: there is no such environment.
        ConfigError: the name is taken, it or the limit is not allowed, or the file cannot be read.
    """
    path = _file(checkout, DeploymentEnvironment.named(environment))
    if requests_per_second is not None and not 0 < requests_per_second < math.inf:
        raise ConfigError(f"{requests_per_second:g} requests a second are not allowed; allowed: a number above 0")
    if not _NAME.fullmatch(name):
        raise ConfigError(f"API key name {name!r} is not allowed; allowed: letters, digits, dots, hyphens, underscores")
    entries = _entries(path)
    if any(entry.get("name") == name for entry in entries):
        raise ConfigError(f"{path}: has a key of the name {name!r} already; choose another one")
    key = f"fd_{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    entry: dict[str, object] = {"name": name, "sha256": digest, "scopes": sorted(set(scopes))}
    entries.append(entry if requests_per_second is None else {**entry, "requests_per_second": requests_per_second})
    _write(path, json.dumps({"keys": entries}, indent=2) + "\n")
    return key, path


def add_recorded_api_key(
    registry: "ModelRegistry",
    checkout: Path,
    environment: str,
    name: str,
    scopes: list[str],
    requests_per_second: float | None = None,
) -> tuple[str, Path]:
    """Makes an API key, as `add_api_key`, after a record of it with its name and scopes, never the key.

    Args:
        registry: holds the rights and the audit log.
        checkout: the project's root.
        environment: whose endpoint lets the key in.
        name: who calls with it.
        scopes: out of `predict`, `feedback` and `admin`.
        requests_per_second: a limit of its own; None: the service's.

    Raises:
        AccessDenied: the actor's role does not allow it; nothing was read or written.
        UnknownEnvironment, ConfigError: as for `add_api_key`.
        StorageFailed: it cannot be recorded; no key was made.
    """
    where = DeploymentEnvironment.named(environment)
    registry.require_right("api-key", name, environment=str(where))
    record = DeploymentRecord(registry, "api-key", where, "", f"{name}: {', '.join(sorted(set(scopes)))}")
    with record.recorded():
        made = add_api_key(checkout, environment, name, scopes, requests_per_second)
    record.done()
    return made


def _file(checkout: Path, environment: DeploymentEnvironment) -> Path:
    secrets_directory = checkout / ".secrets"
    if environment is not DeploymentEnvironment.DEVELOPMENT:
        secrets_directory /= environment.stack
    return Path(os.environ.get(variables.API_KEYS_FILE) or secrets_directory / "api_keys.json")


def _entries(path: Path) -> list[dict[str, object]]:
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["keys"])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not a file of API keys ({error})") from None


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)
