"""Reads through the engine: waits for what another run is writing, and says what is damaged where reading fails."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from stacks.engine.backend import backend_url, damaged_files
from stacks.errors import DeploymentFailed, StackBusy, StateDamaged

_Found = TypeVar("_Found")
_HALF_WRITTEN = re.compile(
    r"EOF|unexpected end of JSON|no such file or directory|code=NotFound|expecting value|JSONDecodeError", re.IGNORECASE
)
"""What the engine says of a file that another run is writing, or has just replaced."""
_NO_BACKEND = re.compile(r"NoSuchBucket|bucket does not exist|could not list bucket", re.IGNORECASE)
_TRIES = 8
_PAUSE_SECONDS = 0.5


def read_engine(checkout: Path, stack: str, read: Callable[[], _Found]) -> _Found:
    """Returns what the engine reads from the state.

    Args:
        checkout: the project's root.
        stack: whose state is read; empty for no stack's in particular.
        read: calls the engine; it is called again while another run writes the state.

    Raises:
        StateDamaged: a file of the stack's state or history is cut short or altered; names each.
        StackBusy: another run has been writing the state all the time.
        DeploymentFailed: the engine gave another reason.
    """
    from pulumi import automation

    for left in reversed(range(_TRIES)):
        try:
            return read()
        except automation.ConcurrentUpdateError:
            raise StackBusy(f"stack {stack} is being changed by somebody else; wait, then try again") from None
        except (automation.CommandError, ValueError, KeyError, TypeError) as error:
            text = str(error)
            if damaged := damaged_files(checkout, stack):
                raise StateDamaged("\n".join(map(str, damaged))) from None
            if not _HALF_WRITTEN.search(text) or _NO_BACKEND.search(text):
                raise DeploymentFailed(cannot_be_opened(checkout, stack, text)) from None
            if not left:
                whose = f"the state of stack {stack}" if stack else f"the state in {backend_url(checkout)}"
                raise StackBusy(f"{whose} is being written: {_reason(text)}; try again") from None
        time.sleep(_PAUSE_SECONDS)
    raise AssertionError  # the last try returns or raises


def passphrase_advice(reason: str, stack: str) -> str:
    """The engine's reason, with the way out where it is a passphrase."""
    if "incorrect passphrase" not in reason and "passphrase must be set" not in reason:
        return reason
    return (
        f"{reason}: the passphrase at hand (PULUMI_CONFIG_PASSPHRASE, PULUMI_CONFIG_PASSPHRASE_FILE or "
        f".secrets/passphrase) is not the one that encrypts the secrets of stack {stack}; use that one"
    )


def cannot_be_opened(checkout: Path, stack: str, text: str) -> str:
    """The message for a person, from what the engine printed.

    Args:
        checkout: the project's root.
        stack: whose state is read; empty for no stack's in particular.
        text: what the engine printed.
    """
    what = f"stack {stack}" if stack else f"the state in {backend_url(checkout)}"
    return f"{what} cannot be opened: {passphrase_advice(_reason(text), stack)}; nothing was changed"


def _reason(text: str) -> str:
    lines = [line for line in text.splitlines() if "error:" in line]
    return lines[-1].split("error:", 1)[1].strip() if lines else " ".join(text.split())[:500]
