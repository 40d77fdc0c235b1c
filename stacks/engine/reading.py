"""Reads through the engine: waits for what another run is writing, and says what is damaged where reading fails."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from stacks.engine.backend import BACKEND_VARIABLE, backend_url, damaged_files
from stacks.errors import DeploymentFailed, StackBusy, StateDamaged

_Found = TypeVar("_Found")
_HALF_WRITTEN = re.compile(
    r"EOF|unexpected end of JSON|no such file or directory|code=NotFound|expecting value|JSONDecodeError", re.IGNORECASE
)
"""What the engine says of a file that another run is writing, or has just replaced."""
_NO_BACKEND = re.compile(r"NoSuchBucket|bucket does not exist|could not list bucket", re.IGNORECASE)
_ERROR = re.compile(r"\s*(\w+: )*error:")
_SEVERAL = re.compile(r"\d+ errors? occurred:")
_ONE_OF_SEVERAL = re.compile(r"\s*(?:\*|\d+\)) (.*)")
_CANNOT_WRITE = re.compile(
    r"(?P<full>no space left on device|disk quota exceeded)|"
    r"read-only file system|operation not permitted|permission denied"
)
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


def with_advice(reason: str, stack: str) -> str:
    """The engine's reason, with the way out where it is a passphrase or the place of the state."""
    if ".pulumi/" in reason and (found := _CANNOT_WRITE.search(reason)):
        way_out = "make room there" if found["full"] else "make it writable for this account"
        return f"{reason}: the state cannot be written; {way_out}, or name another place in {BACKEND_VARIABLE}"
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
    return f"{what} cannot be opened: {with_advice(_reason(text), stack)}; nothing was changed"


def last_error(text: str) -> str:
    """The last error that the engine printed, in one line; empty where it printed none."""
    lines = text.splitlines()
    place = next((number for number in reversed(range(len(lines))) if _ERROR.match(lines[number])), None)
    if place is None:
        return ""
    first = lines[place].split("error:", 1)[1].strip()
    if not _SEVERAL.fullmatch(first):
        return first
    each = (found[1].strip() for line in lines[place + 1 :] if (found := _ONE_OF_SEVERAL.fullmatch(line)))
    return "; ".join(dict.fromkeys(text for text in each if text != "Unknown")) or first


def _reason(text: str) -> str:
    return last_error(text) or " ".join(text.split())[:500]
