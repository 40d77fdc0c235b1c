"""The keys of the development environment, made on first use under `.secrets/` with mode 600.

python -m stacks.engine.development_secrets .      # the checkout in this directory
"""

import argparse
import hashlib
import json
import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from components.api_keys_copy import refresh_copy
from model_store.keys.defaults import key_file
from model_store.keys.keyring import ensure_key_file
from stacks.engine.backend import passphrase_stacks
from stacks.errors import SecretsProviderProblem

PASSPHRASE = "PULUMI_CONFIG_PASSPHRASE"  # noqa: S105 - the name of a variable
"""Gives the engine a passphrase, also an empty one."""
PASSPHRASE_FILE = "PULUMI_CONFIG_PASSPHRASE_FILE"  # noqa: S105 - the name of a variable
"""Names the file of the passphrase where `PASSPHRASE` is not set; without either it is `.secrets/passphrase`."""
_RESTORE = (
    "put it back from the machine or the vault that has it, or set PULUMI_CONFIG_PASSPHRASE_FILE; no new one was made"
)
_NAME_FILE = f"export {PASSPHRASE_FILE}=FILE"


@dataclass(frozen=True)
class DevelopmentSecrets:
    """Paths of the development environment's secrets."""

    passphrase: Path
    """Encrypts the secrets in the `dev` stack's state."""
    model_key: Path
    """Encrypts artifacts."""
    api_key: Path
    """The API key in clear, for the person who calls the endpoint."""
    api_keys: Path
    """The hash of the API key, for the service."""


def ensure_development_secrets(checkout: Path) -> DevelopmentSecrets:
    """Makes what is missing and returns where everything is; what is there stays as it is.

    Raises:
        SecretsProviderProblem: the passphrase is missing, and a stack's secrets are encrypted with it.
    """
    directory = checkout / ".secrets"
    files = DevelopmentSecrets(
        passphrase=ensure_passphrase(checkout),
        model_key=key_file(checkout),
        api_key=directory / "api_key",
        api_keys=directory / "api_keys.json",
    )
    ensure_key_file(files.model_key)
    _ensure_api_key(files)
    return files


def ensure_passphrase(checkout: Path) -> Path:
    """Makes the passphrase where it is missing: all that the engine needs, and no key of a registry.

    Raises:
        SecretsProviderProblem: the passphrase is missing, and a stack's secrets are encrypted with it.
    """
    path = checkout / ".secrets" / "passphrase"
    require_passphrase_file(checkout)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    _ensure(path, secrets.token_urlsafe(32))
    return path


def is_passphrase_given(checkout: Path) -> bool:
    """Whether a variable gives the engine a passphrase.

    One with an empty name of a file is not set by anybody; one that names the checkout's own file changes nothing.
    """
    name = os.environ.get(PASSPHRASE_FILE)
    own = checkout / ".secrets" / "passphrase"
    return PASSPHRASE in os.environ or bool(name and (checkout / name).resolve() != own.resolve())


def empty_passphrase() -> str:
    """What gives the engine an empty passphrase, as the subject of a sentence; empty where no variable does."""
    if PASSPHRASE in os.environ:
        return "" if os.environ[PASSPHRASE] else f"{PASSPHRASE} is set and empty"
    name = os.environ.get(PASSPHRASE_FILE)
    try:
        return f"{PASSPHRASE_FILE} names {name}, which is empty" if name and not _passphrase_in(Path(name)) else ""
    except SecretsProviderProblem:
        return ""


def passphrase_at_hand(checkout: Path) -> bytes:
    """The passphrase that the engine gets; empty where there is none.

    Raises:
        SecretsProviderProblem: the file that has it cannot be read.
    """
    if PASSPHRASE in os.environ:
        return os.environ[PASSPHRASE].encode()
    path = Path(os.environ.get(PASSPHRASE_FILE) or checkout / ".secrets" / "passphrase")
    return _passphrase_in(path)


def require_passphrase_file(checkout: Path, stack: str = "") -> None:
    """Raises where a passphrase made now could not open a stack that is there, or the one at hand is none.

    Args:
        checkout: the project's root.
        stack: a stack that is known to be encrypted with a passphrase; empty to look at the state's directory.

    Raises:
        SecretsProviderProblem: `.secrets/passphrase` is missing or empty, and no variable gives the passphrase; or the
            file that a variable names cannot be read.
    """
    path = checkout / ".secrets" / "passphrase"
    if is_passphrase_given(checkout):
        if PASSPHRASE not in os.environ:
            _passphrase_in(Path(os.environ[PASSPHRASE_FILE]))
        return
    if path.exists():
        if not _passphrase_in(path):
            raise SecretsProviderProblem(f"{path} is empty; {_RESTORE}", _NAME_FILE)
        return
    if stacks := [stack] if stack else passphrase_stacks(checkout):
        raise SecretsProviderProblem(
            f"{path} is missing, and it encrypts the secrets of stack {', '.join(stacks)}: {_RESTORE}", _NAME_FILE
        )


def _passphrase_in(path: Path) -> bytes:
    """The passphrase in a file, as the engine reads it.

    Raises:
        SecretsProviderProblem: it cannot be read.
    """
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise SecretsProviderProblem(
            f"{path}: the passphrase cannot be read ({error.strerror}); {_RESTORE}", _NAME_FILE
        ) from None


def _ensure_api_key(files: DevelopmentSecrets) -> None:
    _ensure(files.api_key, f"fd_{secrets.token_urlsafe(32)}")
    digest = hashlib.sha256(files.api_key.read_text(encoding="utf-8").strip().encode()).hexdigest()
    entry = {"name": "development", "sha256": digest, "scopes": ["predict", "feedback", "admin"]}
    _ensure(files.api_keys, json.dumps({"keys": [entry]}, indent=2))
    refresh_copy(files.api_keys)


def _ensure(path: Path, content: str) -> None:
    """Writes the file unless it exists; two at once leave one of the two contents, whole."""
    if path.exists():
        return
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(staging, path)
    except FileExistsError:
        pass
    finally:
        staging.unlink()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m stacks.engine.development_secrets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT", help="directory of the project")
    try:
        ensure_development_secrets(parser.parse_args().checkout)
    except SecretsProviderProblem as error:
        sys.exit(f"error: {error}")
