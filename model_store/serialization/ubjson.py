"""Reads UBJSON as XGBoost writes it (https://ubjson.org, draft 12), without its long arrays of numbers.

Some bytes that are not UBJSON make XGBoost end the process, so this module reads them first, to the last one.
"""

import struct
from typing import Any

_NUMBERS = {"i": "b", "U": "B", "I": ">h", "l": ">i", "L": ">q", "d": ">f", "D": ">d", "C": "c"}
_ARRAYS = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
_VALUES = {"Z": None, "T": True, "F": False}
_COUNTS = "iUIlL"
_DEEPEST = 64


def read_ubjson(content: Any, *, arrays: bool = False) -> Any:
    """The document.

    Args:
        content: its bytes.
        arrays: whether arrays of numbers of one type are read, as arrays of numpy; else None stands for each.

    Raises:
        ValueError: it is not UBJSON, or ends early, or goes on after its end.
    """
    reader = _Reader(content, arrays)
    found = reader.value(reader.marker(), 0)
    if reader.position != len(content):
        raise ValueError("bytes after the end of the document")
    return found


class _Reader:
    def __init__(self, content: Any, arrays: bool) -> None:
        self._content = memoryview(content)
        self._arrays = arrays
        self.position = 0

    def marker(self) -> str:
        return self._take(1).decode("latin-1")

    def value(self, marker: str, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        if marker in _VALUES:
            return _VALUES[marker]
        if marker in _NUMBERS:
            return self._number(marker)
        if marker == "S":
            return self._text()
        if marker == "[":
            return self._array(depth)
        if marker == "{":
            return self._object(depth)
        raise ValueError(f"no value begins with {marker!r}")

    def _take(self, count: int) -> bytes:
        start, self.position = self.position, self.position + count
        if self.position > len(self._content):
            raise ValueError("the document ends early")
        return bytes(self._content[start : self.position])

    def _number(self, marker: str) -> Any:
        form = _NUMBERS[marker]
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _count(self) -> int:
        marker = self.marker()
        count = self._number(marker) if marker in _COUNTS else -1
        if count < 0:
            raise ValueError("a length that is not a whole number")
        return int(count)

    def _text(self) -> str:
        return self._take(self._count()).decode("utf-8")

    def _next_is(self, marker: str) -> bool:
        if self._content[self.position : self.position + 1] != marker.encode("ascii"):
            return False
        self.position += 1
        return True

    def _array(self, depth: int) -> Any:
        kind = self.marker() if self._next_is("$") else None
        if kind is not None and kind not in _NUMBERS:
            raise ValueError("an array of one type that is not a number")
        if self._next_is("#"):
            count = self._count()
            if kind is not None:
                return self._numbers(kind, count)
            return [self.value(self.marker(), depth + 1) for _ in range(count)]
        if kind is not None:
            raise ValueError("an array of one type without a length")
        found = []
        while not self._next_is("]"):
            found.append(self.value(self.marker(), depth + 1))
        return found

    def _numbers(self, kind: str, count: int) -> Any:
        start, length = self.position, count * struct.calcsize(_NUMBERS[kind])
        self.position += length
        if self.position > len(self._content):
            raise ValueError("the document ends early")
        if not self._arrays:
            return None
        import numpy as np

        return np.frombuffer(self._content[start : self.position], dtype=_ARRAYS.get(kind, "S1"))

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self._next_is("}"):
            key = self._text()
            if key in found:
                raise ValueError(f"the key {key[:80]!r} is given twice")
            found[key] = self.value(self.marker(), depth + 1)
        return found
