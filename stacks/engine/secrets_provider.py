"""Keeps the secrets provider of a stack: what its state names counts, and no file or variable changes it in passing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.errors import require_stack_config
from infra.yaml_files import read_yaml_file
from stacks.engine.backend import SecretsProvider
from stacks.engine.development_secrets import (
    PASSPHRASE,
    PASSPHRASE_FILE,
    empty_passphrase,
    passphrase_at_hand,
    require_passphrase_file,
)
from stacks.engine.passphrase import opens
from stacks.engine.reading import with_advice
from stacks.errors import SecretsProviderProblem

SECRETS_PROVIDER_VARIABLE = "PULUMI_SECRETS_PROVIDER"
"""What a stack that is made encrypts its secrets with, such as `awskms://alias/fraud-detection?region=eu-central-1`; a
passphrase when it is not set."""
_UNSET = f"unset {PASSPHRASE} {PASSPHRASE_FILE}"
_KEYS = ("secretsprovider", "encryptedkey", "encryptionsalt")


def require_secrets_provider(checkout: Path, stack: str, stored: SecretsProvider | None) -> None:
    """Raises where the engine would encrypt a stack's secrets otherwise than its state says.

    Args:
        checkout: the project's root.
        stack: such as `staging`.
        stored: as the stack's state has it; None for a stack that is made now.

    Raises:
        SecretsProviderProblem: says which two differ and how to go on.
        ConfigError: the stack's file is not valid YAML.
    """
    named = _named(checkout / f"Pulumi.{stack}.yaml")
    _require_no_empty_passphrase(stack, stored, named)
    if stored is None:
        if not _wanted(named):
            require_passphrase_file(checkout)
        return
    if stored.kind == "passphrase":
        require_passphrase_file(checkout, stack)
    if named and not _same(named, stored):
        raise SecretsProviderProblem(
            f"Pulumi.{stack}.yaml: {', '.join(named)}: names another secrets provider than the state of stack {stack}, "
            f"which has {stored.name}. Remove that from the file; to change the provider: "
            f"pulumi stack change-secrets-provider PROVIDER -s {stack}. Nothing was changed",
            f"edit Pulumi.{stack}.yaml: remove {', '.join(named)}",
        )


def require_right_passphrase(checkout: Path, stack: str, stored: SecretsProvider) -> None:
    """Raises where the passphrase at hand does not open the secrets of a stack; the engine says so too late for a look.

    Raises:
        SecretsProviderProblem: it is another one.
    """
    if stored.kind != "passphrase":
        return
    try:
        if opens(str(stored.state.get("salt")), passphrase_at_hand(checkout)):
            return
    except ValueError:
        return  # of an engine that writes it otherwise: it says what is wrong itself
    raise SecretsProviderProblem(with_advice("incorrect passphrase", stack), f"export {PASSPHRASE_FILE}=FILE")


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Puts a stack's file back after the block, which makes the stack: its state has what the engine writes there."""
    before = path.read_bytes() if path.exists() else None
    yield
    if before is None:
        path.unlink(missing_ok=True)
    elif path.read_bytes() != before:
        staging = path.with_name(f".{path.name}.new")
        staging.write_bytes(before)
        staging.replace(path)


def _require_no_empty_passphrase(stack: str, stored: SecretsProvider | None, named: dict[str, Any]) -> None:
    wanted = _wanted(named)
    if stored is not None and stored.kind == "passphrase":
        return  # the engine compares it with the stack's own
    if not (empty := empty_passphrase()):
        return
    if stored is None and not wanted:
        raise SecretsProviderProblem(
            f"{empty}, and stack {stack} would be made with it: anybody could read its secrets. Set it, unset it, or "
            f"name a key: {SECRETS_PROVIDER_VARIABLE}=awskms://alias/NAME?region=REGION",
            _UNSET,
        )
    raise SecretsProviderProblem(
        f"{empty}, and the secrets of stack {stack} are encrypted with {stored.name if stored else wanted}: "
        "unset the variable (a secret that is not defined arrives empty). Nothing was changed",
        _UNSET,
    )


def _wanted(named: dict[str, Any]) -> str:
    """The key that encrypts the secrets of a stack that is made now; empty for a passphrase."""
    return os.environ.get(SECRETS_PROVIDER_VARIABLE) or str(named.get("secretsprovider") or "")


def _same(named: dict[str, Any], stored: SecretsProvider) -> bool:
    if stored.kind == "passphrase":
        return not named.get("secretsprovider") and named.get("encryptionsalt") == stored.state.get("salt")
    # A file may name the key alone; the engine's own encrypted key is the state's.
    same_key = named.get("encryptedkey") in (None, stored.state.get("encryptedkey"))
    return named.get("secretsprovider") == stored.state.get("url") and same_key and "encryptionsalt" not in named


def _named(path: Path) -> dict[str, Any]:
    """What a stack's file says about its secrets provider; empty when it says nothing."""
    if not path.exists():
        return {}
    document = read_yaml_file(path, "the stack's config") or {}
    require_stack_config(document, path)
    return {key: document[key] for key in _KEYS if document.get(key)}
