"""The backend that holds the stacks' state: where it is, and what a state in a directory says of a stack."""

import json
import os
import shlex
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from conventions.config_keys import PROJECT
from infra.errors import ConfigError
from infra.yaml_files import read_yaml_file
from stacks.errors import StateDamaged

BACKEND_VARIABLE = "PULUMI_BACKEND_URL"
_PACKED = ("", ".gz", ".zst")
"""Endings of the engine's files after `.json`: as they are, and packed by `PULUMI_DIY_BACKEND_GZIP` or `…_ZSTD`."""
_END_OF_TIME = 253_402_300_800
"""Seconds from 1970 to the year 10000."""
_WAIT_SECONDS = 3.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class SecretsProvider:
    """What encrypts the secrets in a stack's state, as the state itself has it."""

    kind: str
    """`passphrase`, or `cloud` for a key of a cloud's key service."""
    state: dict[str, Any]
    """`salt` of a passphrase; `url` and `encryptedkey` of a cloud's key."""

    @property
    def name(self) -> str:
        """The provider for messages, such as `awskms://alias/fraud-detection` or `a passphrase`."""
        return str(self.state.get("url") or self.kind) if self.kind != "passphrase" else "a passphrase"

    @property
    def in_file(self) -> dict[str, str]:
        """The provider as a stack's file names it."""
        if self.kind == "passphrase":
            return {"encryptionsalt": str(self.state.get("salt", ""))}
        return {
            "secretsprovider": str(self.state.get("url", "")),
            "encryptedkey": str(self.state.get("encryptedkey", "")),
        }

    @classmethod
    def of(cls, deployment: Any) -> "SecretsProvider | None":
        """The provider that a stack's exported state names; None where the state names none."""
        found = deployment.get("secrets_providers") if isinstance(deployment, dict) else None
        if not isinstance(found, dict) or not found.get("type"):
            return None
        return cls(str(found["type"]), dict(found.get("state") or {}))


def backend_url(checkout: Path) -> str:
    """The location of the state: `$PULUMI_BACKEND_URL`, or `.state` in the checkout."""
    return os.environ.get(BACKEND_VARIABLE) or f"file://{checkout / '.state'}"


def state_directory(checkout: Path) -> Path | None:
    """The directory of the state, read as the engine reads it: `~` is the home; None where the state is elsewhere."""
    url = backend_url(checkout)
    if not url.startswith("file://"):
        return None
    return checkout / Path(unquote(url.removeprefix("file://").split("?")[0])).expanduser()


def unwritable(directory: Path) -> str:
    """Why the state cannot be kept in a directory, which need not be there yet; empty where it can."""
    there = next(each for each in (directory, *directory.parents) if each.exists())
    if not there.is_dir():
        return f"{there} is not a directory"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written by this account"


def stack_state_file(checkout: Path, stack: str) -> Path | None:
    """The file with a stack's state; None where the state is not a directory, or has no such stack."""
    directory = state_directory(checkout)
    if directory is None:
        return None
    folder = directory / ".pulumi" / "stacks" / PROJECT
    # As the engine chooses where a stack has been packed differently: the newest.
    there = [path for ending in _PACKED if (path := folder / f"{stack}.json{ending}").exists()]
    return min(there, key=_age, default=None)


def stored_deployment(checkout: Path, stack: str) -> dict[str, Any] | None:
    """The state of a stack in a directory; waits for a run that is writing it.

    Returns:
        The state, empty for a stack without resources; None where the state is not a directory, or has no such stack.

    Raises:
        StateDamaged: the file is cut short or altered; names it and the way out.
    """
    path = stack_state_file(checkout, stack)
    if path is None:
        _require_no_history(checkout, stack)
        return None
    content = read_json(path, *_way_out(path, stack), state_problem)
    return dict(content["checkpoint"].get("latest") or {})


def _require_no_history(checkout: Path, stack: str) -> None:
    """Raises StateDamaged where a stack has no state and a history, which the engine removes together."""
    directory = state_directory(checkout)
    if directory is None or not (updates := _history_files(directory, stack)):
        return
    path = directory / ".pulumi" / "stacks" / PROJECT / f"{stack}.json"
    way_out, mend = _way_out(path, stack)
    raise StateDamaged(
        f"{path} is missing, and stack {stack} has a history of {len(updates)} update(s): {way_out}; or begin again: "
        f"rm -r {shlex.quote(str(updates[0].parent))}; nothing was made",
        mend,
    )


def state_problem(content: Any) -> str:
    """Why a JSON value is not the state of a stack; empty when it is one."""
    checkpoint = content.get("checkpoint") if isinstance(content, dict) else None
    latest = checkpoint.get("latest") if isinstance(checkpoint, dict) else "missing"
    if latest is None:
        return ""
    if not isinstance(latest, dict):
        return "is not the state of a stack"
    resources, provider = latest.get("resources") or [], latest.get("secrets_providers") or {}
    if not isinstance(resources, list) or not all(
        isinstance(each, dict) and isinstance(each.get("outputs") or {}, dict) for each in resources
    ):
        return "is not the state of a stack: it has a resource of another kind"
    if not isinstance(provider, dict) or not isinstance(provider.get("state") or {}, dict):
        return "is not the state of a stack: it has a secrets provider of another kind"
    return ""


def history_problem(content: Any) -> str:
    """Why a JSON value is not an entry of a stack's history; empty when it is one."""
    kinds = {"kind": str, "result": str, "startTime": int, "endTime": int}
    if not isinstance(content, dict) or not all(isinstance(content.get(name), kind) for name, kind in kinds.items()):
        return "is not an entry of a history"
    objects = (content.get(name) or {} for name in ("config", "environment", "resourceChanges"))
    times = (content["startTime"], content["endTime"])
    if not content["result"] or not all(isinstance(each, dict) for each in objects):
        return "is not an entry of a history"
    return "" if all(0 <= each < _END_OF_TIME for each in times) else "is of a time beyond the calendar"


def _no_problem(_content: Any) -> str:
    return ""


def read_json(path: Path, way_out: str, mend: str = "", problem: Callable[[Any], str] = _no_problem) -> Any:
    """Reads a JSON file of the state; waits for a run that is writing it.

    Args:
        path: the file, packed where its name ends so.
        way_out: what a person does about a damaged file; ends the message.
        mend: the same as a command.
        problem: why a value is not what the file should have; empty when it is.

    Raises:
        StateDamaged: the file is cut short or altered.
    """
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            content = _parsed(path)
            break
        except (ValueError, OSError) as error:
            # A run that writes the file now is done in a moment; a file without news is damaged.
            if time.monotonic() > deadline or not _written_lately(path):
                cause = "is empty" if not _size(path) else f"is not whole JSON ({error})"
                raise StateDamaged(f"{path} {cause}; {way_out}; nothing was changed", mend) from None
        time.sleep(_POLL_SECONDS)
    if found := problem(content):
        raise StateDamaged(f"{path} {found}; {way_out}; nothing was changed", mend)
    return content


def damaged_files(checkout: Path, stack: str = "") -> list[StateDamaged]:
    """An error for each file that is not whole: of a stack's state and history, and of the layout of the directory.

    There is none where the state is elsewhere.

    Args:
        checkout: the project's root.
        stack: whose files; every stack's when empty.
    """
    directory = state_directory(checkout)
    if directory is None:
        return []
    found: list[StateDamaged] = _damaged_layout(directory)
    for name in [stack] if stack else _stacks_in(directory):
        try:
            stored_deployment(checkout, name)
        except StateDamaged as error:
            found.append(error)
        for path in _history_files(directory, name):
            mend = f"mv {shlex.quote(str(path))} {shlex.quote(f'{path}.damaged')}"
            try:
                way_out = f"it is one entry of the history of stack {name}: restore it, or set it aside: {mend}"
                read_json(path, way_out, mend, history_problem)
            except StateDamaged as error:
                found.append(error)
    return found


def _damaged_layout(directory: Path) -> list[StateDamaged]:
    """An error where the file that tells the layout of the state is damaged; one that is missing is made again."""
    path = directory / ".pulumi" / "meta.yaml"
    if not path.exists():
        return []
    try:
        content = read_yaml_file(path, "the layout of the state")
    except ConfigError as error:
        cause = str(error)
    else:
        if isinstance(content, dict) and content.get("version") in (0, 1):
            return []
        cause = f"{path}: it tells no version"
    mend = f"echo 'version: 1' > {shlex.quote(str(path))}"
    return [StateDamaged(f"{cause}; the state is laid out by version 1: {mend}; nothing was changed", mend)]


def history_mark(checkout: Path, stack: str) -> str | None:
    """A text that differs when a stack's history in a directory does; None where the state is elsewhere."""
    directory = state_directory(checkout)
    if directory is None:
        return None
    history = directory / ".pulumi" / "history" / PROJECT / stack
    try:
        return str(history.stat().st_mtime_ns)
    except FileNotFoundError:
        return ""


def _stacks_in(directory: Path) -> list[str]:
    found = (path.name.partition(".json") for path in (directory / ".pulumi" / "stacks" / PROJECT).glob("*.json*"))
    return sorted({stack for stack, _, ending in found if ending in _PACKED})


def _history_files(directory: Path, stack: str) -> list[Path]:
    history = directory / ".pulumi" / "history" / PROJECT / stack
    return sorted(path for ending in _PACKED for path in history.glob(f"*.history.json{ending}"))


def passphrase_stacks(checkout: Path) -> list[str]:
    """Names of the stacks in a directory's state whose secrets are encrypted with a passphrase."""
    directory = state_directory(checkout)
    if directory is None:
        return []
    found = []
    for stack in _stacks_in(directory):
        try:
            provider = SecretsProvider.of(stored_deployment(checkout, stack))
        except StateDamaged:
            continue  # reading that stack says so
        if provider is not None and provider.kind == "passphrase":
            found.append(stack)
    return found


def _way_out(path: Path, stack: str) -> tuple[str, str]:
    """What a person does about a damaged state, and the command."""
    directory = path.parents[2] / "backups" / PROJECT / stack
    copies = sorted((each for each in directory.glob(f"{stack}.*.json*") if not each.name.endswith(".attrs")), key=_age)
    for copy in copies:
        try:
            if state_problem(_parsed(copy)):
                continue
        except (ValueError, OSError):
            continue
        replace = f"cp {shlex.quote(str(copy))} {shlex.quote(str(path))}"
        told = f"the newest whole copy is {copy}: {replace}, then: pulumi refresh -s {stack}"
        return told, f"{replace} && pulumi refresh --yes -s {stack}"
    return "restore it from a backup of the state", ""


def _parsed(path: Path) -> Any:
    """The JSON value in a file; raises ValueError or OSError where it has none."""
    content = path.read_bytes()
    try:
        return json.loads(_unpacked(path, content))
    except (EOFError, zlib.error, RecursionError) as error:
        raise ValueError(str(error)) from None


def _unpacked(path: Path, content: bytes) -> bytes:
    if path.name.endswith(".gz"):
        import gzip

        return gzip.decompress(content)
    if path.name.endswith(".zst"):
        import zstandard

        try:
            return zstandard.ZstdDecompressor().stream_reader(content).read()
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from None
    return content


def _written_lately(path: Path) -> bool:
    return _age(path) < _WAIT_SECONDS


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0  # replaced at this moment


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
