"""A copy of the file of API keys' hashes in a directory with nothing else, which a container can be given.

A container sees a file that is replaced only through the file's directory, and the directory of secrets holds more than
a container may read. Standard library only, without Pulumi.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

_SECRETS = ".secrets"
DIRECTORY = "serving"
"""Beside the file of API keys."""


def has_copy(api_keys_file: Path) -> bool:
    """Whether a file of API keys lies among a checkout's secrets, so that containers get a copy of it."""
    near = api_keys_file.resolve().parents[:2]
    return not api_keys_file.is_symlink() and any(each.name == _SECRETS for each in near)


def copy_of(api_keys_file: Path) -> Path:
    """The copy of a file of API keys' hashes."""
    return api_keys_file.parent / DIRECTORY / api_keys_file.name


def refresh_copy(api_keys_file: Path) -> Path:
    """Makes the copy, or brings it to the file's content; its owner is the file's, and nobody else can read it.

    Returns:
        The copy.

    Raises:
        OSError: the file cannot be read, or the copy not be written.
    """
    copy = copy_of(api_keys_file)
    _write(copy, api_keys_file.read_bytes(), api_keys_file.stat())
    return copy


@contextlib.contextmanager
def refreshed_copy(api_keys_file: Path) -> Iterator[None]:
    """Refreshes the copy for the block; when the block fails, the copy has its former content again.

    Raises:
        OSError: as for `refresh_copy`.
    """
    copy = copy_of(api_keys_file)
    before = copy.read_bytes() if copy.exists() else None
    refresh_copy(api_keys_file)
    try:
        yield
    except BaseException:
        if before is not None:
            _write(copy, before, copy.stat())
        raise


def _write(copy: Path, content: bytes, owner: os.stat_result) -> None:
    copy.parent.mkdir(mode=0o700, exist_ok=True)
    _give(copy.parent, owner)
    with contextlib.suppress(FileNotFoundError):
        if copy.read_bytes() == content:
            return
    staging = copy.parent.with_name(f".{copy.name}.{secrets.token_hex(4)}")
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    _give(staging, owner)
    staging.replace(copy)


def _give(path: Path, owner: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)
