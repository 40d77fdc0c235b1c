"""The backend that holds the stacks' state: where it is, and what a state in a directory says of a stack."""

import json
import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conventions.config_keys import PROJECT
from stacks.errors import StateDamaged

BACKEND_VARIABLE = "PULUMI_BACKEND_URL"
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
    return checkout / Path(url.removeprefix("file://").split("?")[0]).expanduser()


def stack_state_file(checkout: Path, stack: str) -> Path | None:
    """The file with a stack's state; None where the state is not a directory, or has no such stack."""
    directory = state_directory(checkout)
    if directory is None:
        return None
    folder = directory / ".pulumi" / "stacks" / PROJECT
    return next((path for path in (folder / f"{stack}.json", folder / f"{stack}.json.gz") if path.exists()), None)


def stored_deployment(checkout: Path, stack: str) -> dict[str, Any] | None:
    """The state of a stack in a directory; waits for a run that is writing it.

    Returns:
        The state, empty for a stack without resources; None where the state is not a directory, or has no such stack.

    Raises:
        StateDamaged: the file is cut short or altered; names it and the way out.
    """
    path = stack_state_file(checkout, stack)
    if path is None:
        return None
    content = read_json(path, *_way_out(path, stack))
    latest = content.get("checkpoint", {}).get("latest") if isinstance(content, dict) else None
    return latest if isinstance(latest, dict) else {}


def read_json(path: Path, way_out: str, mend: str = "") -> Any:
    """Reads a JSON file of the state; waits for a run that is writing it.

    Args:
        path: the file, packed by gzip where its name ends so.
        way_out: what a person does about a damaged file; ends the message.
        mend: the same as a command.

    Raises:
        StateDamaged: the file is cut short or altered.
    """
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            return _parsed(path)
        except (ValueError, EOFError, OSError) as error:
            # A run that writes the file now is done in a moment; a file without news is damaged.
            if time.monotonic() > deadline or not _written_lately(path):
                cause = "is empty" if not _size(path) else f"is not whole JSON ({error})"
                raise StateDamaged(f"{path} {cause}; {way_out}; nothing was changed", mend) from None
        time.sleep(_POLL_SECONDS)


def damaged_files(checkout: Path, stack: str = "") -> list[StateDamaged]:
    """An error for each file of a stack's state and history that is not whole; none where the state is elsewhere.

    Args:
        checkout: the project's root.
        stack: whose files; every stack's when empty.
    """
    directory = state_directory(checkout)
    if directory is None:
        return []
    found: list[StateDamaged] = []
    for name in [stack] if stack else _stacks_in(directory):
        try:
            stored_deployment(checkout, name)
        except StateDamaged as error:
            found.append(error)
        history = directory / ".pulumi" / "history" / PROJECT / name
        for path in sorted((*history.glob("*.history.json"), *history.glob("*.history.json.gz"))):
            mend = f"mv {shlex.quote(str(path))} {shlex.quote(f'{path}.damaged')}"
            try:
                read_json(
                    path, f"it is one entry of the history of stack {name}: restore it, or set it aside: {mend}", mend
                )
            except StateDamaged as error:
                found.append(error)
    return found


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
    return sorted(stack for stack, _, ending in found if ending in ("", ".gz"))


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
            _parsed(copy)
        except (ValueError, EOFError, OSError):
            continue
        replace = f"cp {shlex.quote(str(copy))} {shlex.quote(str(path))}"
        told = f"the newest whole copy is {copy}: {replace}, then: pulumi refresh -s {stack}"
        return told, f"{replace} && pulumi refresh --yes -s {stack}"
    return "restore it from a backup of the state", ""


def _parsed(path: Path) -> Any:
    content = path.read_bytes()
    if path.name.endswith(".gz"):
        import gzip

        content = gzip.decompress(content)
    return json.loads(content)


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
