"""Messages between the confined child and its parent: one JSON object, then named parts of bytes.

The parent does not trust the child: it bounds lengths before it takes memory, cuts texts, and its caller checks the
parts again.
"""

import json
import os
import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from model_store.errors import InvalidInput

_LENGTH = struct.Struct("<Q")
_FAILED = (1 << 64) - 1
"""In a length's place: the part cannot be ended, and an object says why."""
MOST_JSON_BYTES = 64 << 20
PIECE = 1 << 20


class Garbled(Exception):
    """The child's message is malformed."""


class PartFailed(Exception):
    """The child could not end a part of its answer.

    Args:
        failed: the child's explanation.
    """

    def __init__(self, failed: dict[str, Any]) -> None:
        super().__init__()
        self.failed = failed


def write_object(target: BinaryIO, value: Mapping[str, Any], *, constants: bool = False) -> None:
    """Writes one JSON object with its length before it.

    Args:
        target: receives it.
        value: plain values, and numpy's scalars.
        constants: whether numbers may be infinite or none; an answer's may not.

    Raises:
        InvalidInput: a value is of another kind.
    """
    content = json.dumps(value, allow_nan=constants, default=_plain).encode()
    target.write(_LENGTH.pack(len(content)) + content)


def _plain(value: Any) -> Any:
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return value.item()
    raise InvalidInput(f"{value!r} is a {type(value).__name__}; allowed: texts, numbers, booleans and lists of them")


def read_object(read: Callable[[int], bytes], *, constants: bool = False) -> dict[str, Any]:
    """Reads what `write_object` has written.

    Args:
        read: gives exactly so many bytes.
        constants: whether numbers may be infinite or none.

    Raises:
        Garbled: it is something else.
    """
    length: int = _LENGTH.unpack(read(_LENGTH.size))[0]
    if length > MOST_JSON_BYTES:
        raise Garbled("the answer is too long")
    try:
        value = json.loads(read(length), parse_constant=float if constants else _no_constant)
    except (ValueError, RecursionError):
        raise Garbled("the answer is not JSON") from None
    if not isinstance(value, dict):
        raise Garbled("the answer is not an object")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(name)


class PartWriter:
    """A file that becomes one part of an answer: pieces with their lengths, ended by an empty one."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._written = 0

    def tell(self) -> int:
        """How many bytes were written; joblib lays arrays where they are aligned."""
        return self._written

    def write(self, data: Any) -> int:
        """Writes a piece."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), PIECE):
            piece = view[start : start + PIECE]
            self._target.write(_LENGTH.pack(len(piece)))
            self._target.write(piece)
        self._written += len(view)
        return len(view)

    def flush(self) -> None:
        """Passes on what is held back."""
        self._target.flush()

    def fail(self, failed: Mapping[str, Any]) -> None:
        """Writes the reason for the failure in place of the answer."""
        self._target.write(_LENGTH.pack(_FAILED))
        write_object(self._target, failed)

    def end(self) -> None:
        """Ends the part."""
        self._target.write(_LENGTH.pack(0))


def read_part(read: Callable[[int], bytes], target: BinaryIO, most_bytes: int) -> int:
    """Copies one part; returns how many bytes are left of what is allowed.

    Raises:
        Garbled: it is longer than allowed.
        PartFailed: the child could not end it.
    """
    while length := int(_LENGTH.unpack(read(_LENGTH.size))[0]):
        if length == _FAILED:
            raise PartFailed(read_object(read))
        most_bytes -= length
        if length > PIECE or most_bytes < 0:
            raise Garbled("the answer is too long")
        target.write(read(length))
    return most_bytes


def in_memory(name: str) -> BinaryIO:
    """A file that is on no disk, where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create(name), "w+b")
    from tempfile import TemporaryFile

    return TemporaryFile()
