"""The file of API keys' hashes that an environment's endpoint is given."""

import hashlib
import json
import math
import os
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from components.api_keys_copy import has_copy, refresh_copy
from conventions import variables
from conventions.moments import parse_moment
from infra.errors import ConfigError
from stacks.environments import DeploymentEnvironment
from stacks.records import DeploymentRecord

if TYPE_CHECKING:
    from model_store import ModelRegistry

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

_MOST_DAYS = 365
_Made = TypeVar("_Made")


def add_api_key(
    checkout: Path,
    environment: str,
    name: str,
    scopes: list[str],
    requests_per_second: float | None = None,
    expires: str | None = None,
) -> tuple[str, Path]:
    """Makes an API key; the file gets its hash, the caller the key itself.

    Args:
        checkout: the project's root.
        environment: whose endpoint lets the key in: on this machine within seconds, in pods once it is deployed.
        name: who calls with it; unique in the file.
        scopes: out of `predict`, `feedback` and `admin`.
        requests_per_second: a limit of its own; the service's when not given.
        expires: a date or time from which on the key is unknown; UTC where it has no zone.

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
    key, entry = _new_entry(name, sorted(set(scopes)), requests_per_second, expires)
    entries.append(entry)
    _write_keys(path, entries)
    return key, path


def recorded_key_change(
    registry: "ModelRegistry",
    environment: str,
    name: str,
    detail: str,
    change: Callable[[], _Made],
    *,
    action: str = "api-key",
) -> _Made:
    """Changes the keys of an environment after a record of it.

    Args:
        registry: holds the rights and the audit log.
        environment: whose keys change.
        name: of the key.
        detail: what changes, for the audit log; never the key.
        change: does it.
        action: of the audit log.

    Raises:
        AccessDenied: the actor's role does not allow it; nothing was read or written.
        UnknownEnvironment: there is no such environment.
        StorageFailed: it cannot be recorded; nothing was changed.
    """
    where = DeploymentEnvironment.named(environment)
    registry.require_right(action, name, environment=str(where))
    record = DeploymentRecord(registry, action, where, "", detail)
    with record.recorded():
        made = change()
    record.done()
    return made


def rotate_api_key(
    checkout: Path, environment: str, name: str, overlap_days: float, expires: str | None = None
) -> tuple[str, str, Path]:
    """Makes a new key beside the one of that name; both are valid until the former one expires.

    Args:
        checkout: the project's root.
        environment: of the key.
        name: of the key.
        overlap_days: how long the former key stays valid, 0 to 365.
        expires: when the new key expires; None for a key without an end.

    Returns:
        The new key, when the former one expires, and the file.

    Raises:
        UnknownEnvironment: there is no such environment.
        ConfigError: there is no such key, it is being rotated already, or a time is not allowed.
    """
    path = _file(checkout, DeploymentEnvironment.named(environment))
    if not 0 <= overlap_days <= _MOST_DAYS:
        raise ConfigError(f"{overlap_days:g} days are not allowed; allowed: 0 to {_MOST_DAYS}")
    now = datetime.now(UTC)
    entries = [entry for entry in _entries(path) if not _is_past(path, entry, now)]
    found = _named(path, entries, name)
    if len(found) > 1:
        raise ConfigError(f"{path}: {name!r} is being rotated already; wait until the former key expires, or revoke it")
    until = now + timedelta(days=overlap_days)
    ends = [until, *([_moment(str(found[0]["expires"]))] if found[0].get("expires") else [])]
    rate = found[0].get("requests_per_second")
    key, entry = _new_entry(name, found[0]["scopes"], rate, expires)
    found[0]["expires"] = min(ends).isoformat(timespec="seconds")
    _write_keys(path, [*entries, entry])
    return key, str(found[0]["expires"]), path


def revoke_api_key(checkout: Path, environment: str, name: str) -> tuple[int, Path]:
    """Removes every key of a name; returns how many, and the file.

    Raises:
        UnknownEnvironment: there is no such environment.
        ConfigError: there is no such key, or it is the last one, without which no service starts.
    """
    path = _file(checkout, DeploymentEnvironment.named(environment))
    entries = _entries(path)
    found = _named(path, entries, name)
    left = [entry for entry in entries if entry.get("name") != name]
    if not left:
        raise ConfigError(f"{path}: {name!r} is the last key; make another one before: a service needs one")
    _write_keys(path, left)
    return len(found), path


def list_api_keys(checkout: Path, environment: str) -> list[dict[str, Any]]:
    """The keys of an environment: name, first digits of the hash, scopes, rate, when it was made and when it expires.

    Raises:
        UnknownEnvironment: there is no such environment.
        ConfigError: the file cannot be read.
    """
    path = _file(checkout, DeploymentEnvironment.named(environment))
    return [
        {
            "name": entry.get("name"),
            "sha256": str(entry.get("sha256"))[:8],
            "scopes": entry.get("scopes"),
            "requests_per_second": entry.get("requests_per_second"),
            "created": entry.get("created"),
            "expires": entry.get("expires"),
        }
        for entry in _entries(path)
    ]


def keep_receipt_key(checkout: Path, environment: str, model_key: Path, former: Path) -> tuple[str, Path]:
    """Lets the environment's endpoint verify receipts of a former key of the model; the file gets the key sealed.

    Args:
        checkout: the project's root.
        environment: of the endpoint.
        model_key: file with the key that encrypts artifacts now.
        former: file with the key that did before.

    Returns:
        The name of the receipts' former key, and the file of API keys.

    Raises:
        UnknownEnvironment: there is no such environment.
        ConfigError: the file of API keys cannot be read, the stack's config is not valid, or both keys are the same.
        KeyFileUnsafe: a key cannot be read, or others can.
    """
    from model_store.decisions.receipt_keys import ReceiptKey, reseal_key, seal_former_key
    from model_store.errors import KeyUnwrap
    from model_store.keys.keyring import read_key_file
    from stacks.engine.stack_file import StackFile

    named = DeploymentEnvironment.named(environment)
    path = _file(checkout, named)
    deployment = (str(named), StackFile.read(checkout, named).deployment().deployment_name)
    present, before = read_key_file(model_key), read_key_file(former)
    if present == before:
        raise ConfigError(f"{former} is the key that {model_key} has; name the one of before")
    content = _content(path)
    kept = {}
    for entry in content.get("receipt_keys", []):
        try:
            kept[entry["id"]] = reseal_key(entry, before, present, *deployment)
        except KeyUnwrap:
            kept[entry["id"]] = entry
    sealed = seal_former_key(present, before, *deployment)
    own = ReceiptKey.derive(present, *deployment)
    kept = {name: entry for name, entry in {**kept, sealed["id"]: sealed}.items() if name != own.key_id}
    _write(path, json.dumps({**content, "receipt_keys": list(kept.values())}, indent=2) + "\n")
    return sealed["id"], path


def _new_entry(name: str, scopes: object, rate: object, expires: str | None) -> tuple[str, dict[str, object]]:
    """A new key, and what the file keeps of it."""
    key = f"fd_{secrets.token_urlsafe(32)}"
    entry: dict[str, object] = {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "scopes": scopes}
    if rate is not None:
        entry["requests_per_second"] = rate
    now = datetime.now(UTC)
    if expires is not None:
        moment = _moment(expires)
        if moment <= now:
            raise ConfigError(f"a key that expires at {expires} would never be valid; allowed: a time to come")
        entry["expires"] = moment.isoformat(timespec="seconds")
    return key, {**entry, "created": now.isoformat(timespec="seconds")}


def _named(path: Path, entries: list[dict[str, object]], name: str) -> list[dict[str, object]]:
    found = [entry for entry in entries if entry.get("name") == name]
    if not found:
        raise ConfigError(f"{path}: has no key of the name {name!r}; deploy_model.py api-key list shows those it has")
    return found


def _is_past(path: Path, entry: dict[str, object], now: datetime) -> bool:
    try:
        return bool(entry.get("expires")) and _moment(str(entry["expires"])) <= now
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _moment(text: str) -> datetime:
    try:
        return parse_moment(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a time. Example: 2027-06-30T14:00Z") from None


def _file(checkout: Path, environment: DeploymentEnvironment) -> Path:
    secrets_directory = checkout / ".secrets"
    if environment is not DeploymentEnvironment.DEVELOPMENT:
        secrets_directory /= environment.stack
    return Path(os.environ.get(variables.API_KEYS_FILE) or secrets_directory / "api_keys.json")


def _entries(path: Path) -> list[dict[str, object]]:
    return list(_content(path)["keys"])


def _content(path: Path) -> dict[str, Any]:
    """All that the file holds; beside the keys it may have former keys of receipts."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {**found, "keys": list(found["keys"])}
    except FileNotFoundError:
        return {"keys": []}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not a file of API keys ({error})") from None


def _write_keys(path: Path, entries: list[dict[str, object]]) -> None:
    _write(path, json.dumps({**_content(path), "keys": entries}, indent=2) + "\n")


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)
    if has_copy(path):
        try:
            refresh_copy(path)
        except OSError as error:
            raise ConfigError(
                f"{path} is written, and its copy for containers is not ({error}): they go on with the former keys "
                "until the copy can be written and the stack's next `up`"
            ) from None
