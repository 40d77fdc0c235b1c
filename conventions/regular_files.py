"""Opens files that somebody names: regular ones only, since a pipe or a device can hold a program forever."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

MOST_TEXT_BYTES = 64 << 20
"""No text file that a person or a program of this project writes is larger."""


def open_regular(path: Path) -> BinaryIO:
    """Opens a regular file for reading; never waits for a writer.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: the path is a directory.
        OSError: the path is a pipe, a socket or a device, or the file cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        _require_regular(os.fstat(descriptor).st_mode, path)
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "a pipe, a socket or a device, not a file", str(path))


def read_text(path: Path, encoding: str = "utf-8", most_bytes: int = MOST_TEXT_BYTES) -> str:
    """The content of a small regular file.

    Raises:
        UnicodeDecodeError: the file is not text.
        OSError: as `open_regular`; also when the file is larger than `most_bytes`.
    """
    with open_regular(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"more than {most_bytes} bytes", str(path))
    return content.decode(encoding)


def parse_json(content: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: the text is not JSON (NaN and Infinity are not), nested too deeply, or has a key twice.
    """
    try:
        return json.loads(content, parse_constant=_refuse_constant, object_pairs_hook=_with_single_keys)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _with_single_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of its keys and values; readers differ in which value of a repeated key counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"it has the key {twice[:80]!r} twice in one object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def read_json(path: Path) -> Any:
    """The JSON value of a small regular file.

    Raises:
        ValueError: the file is not text, not JSON, or nested too deeply.
        OSError: as `read_text`.
    """
    return parse_json(read_text(path))
