"""Pickles written by hand, instruction by instruction, and real ones with something changed in them."""

import io
import pickle
import struct
from collections.abc import Callable
from typing import Any

STOP, MARK, REDUCE, BUILD, NEWOBJ, TUPLE, EMPTY_TUPLE = b".", b"(", b"R", b"b", b"\x81", b"t", b")"
EMPTY_LIST, EMPTY_DICT, EMPTY_SET, APPEND, SETITEM, ADDITEMS = b"]", b"}", b"\x8f", b"a", b"s", b"\x90"


def name(full_name: str) -> bytes:
    """Puts a global on the stack."""
    module, _, attribute = full_name.rpartition(".")
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def named_later(module: bytes, attribute: bytes) -> bytes:
    """The same from two texts on the stack."""
    return module + attribute + b"\x93"


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def data(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def whole(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def items(*parts: bytes) -> bytes:
    """A tuple."""
    return MARK + b"".join(parts) + TUPLE


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + items(*arguments) + REDUCE


def made(full_name: str, state: bytes | None = None) -> bytes:
    """An object of a class, with a state or without."""
    return name(full_name) + EMPTY_TUPLE + NEWOBJ + (b"" if state is None else state + BUILD)


def attributes(**values: bytes) -> bytes:
    return EMPTY_DICT + b"".join(text(key) + value + SETITEM for key, value in values.items())


def pickled(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + STOP


def of(value: Any) -> bytes:
    """A value as pickle writes it, without its beginning and its end."""
    return pickle.dumps(value, protocol=3)[2:-1]


class Changing(pickle.Pickler):
    """Pickles a model with the states of some objects changed on the way.

    Args:
        kind: name of the class whose state is changed.
        change: from a state to another one.
    """

    def __init__(self, file: io.BytesIO, kind: str, change: Callable[[Any], Any]) -> None:
        super().__init__(file, protocol=4)
        self._kind, self._change = kind, change

    def reducer_override(self, value: Any) -> Any:
        if type(value).__name__ != self._kind:
            return NotImplemented
        function, arguments, state, *rest = value.__reduce_ex__(4)
        return function, arguments, self._change(state), *rest


def changed(model: Any, kind: str, change: Callable[[Any], Any]) -> bytes:
    """A pickle of a model in which the state of one class is another."""
    file = io.BytesIO()
    Changing(file, kind, change).dump(model)
    return file.getvalue()
