"""Instructions that push a value: constants, numbers, texts and bytes."""

import struct
from collections.abc import Callable, Mapping
from typing import Any

from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.pickle_bytes import MOST_DIGITS

_MOST_INTEGER_BYTES = 64
_BUFFER_AT_ONCE = 64 << 20
_HIGHEST_PROTOCOL = 5


def _proto(machine: Machine) -> None:
    if machine.take(1)[0] > _HIGHEST_PROTOCOL:
        machine.refuse("protocol", "the pickle's protocol is unknown")


def _frame(machine: Machine) -> None:
    machine.take(8)


def _constant(value: Any) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        machine.stack.append(value)

    return step


def _text_int(machine: Machine) -> None:
    line = machine.line()
    if line in (b"00", b"01"):
        machine.stack.append(line == b"01")
    else:
        machine.stack.append(machine.whole_number(line))


def _text_long(machine: Machine) -> None:
    machine.stack.append(machine.whole_number(machine.line().removesuffix(b"L")))


def _unpacked(layout: str) -> Callable[[Machine], None]:
    size, unpack = struct.calcsize(layout), struct.Struct(layout).unpack

    def step(machine: Machine) -> None:
        machine.stack.append(unpack(machine.take(size))[0])

    return step


def _long(size: int) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        count = int.from_bytes(machine.take(size), "little")
        if count > _MOST_INTEGER_BYTES:
            machine.refuse("size", "a whole number is too long")
        machine.stack.append(int.from_bytes(machine.take(count), "little", signed=True))

    return step


def _text_float(machine: Machine) -> None:
    line = machine.line()
    if len(line) > MOST_DIGITS:
        machine.refuse("size", "a number is too long")
    try:
        machine.stack.append(float(line))
    except ValueError:
        machine.refuse("instruction", "a line is not a number")


def _sized(size: int, *, text: bool) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        data = machine.take(int.from_bytes(machine.take(size), "little"))
        machine.stack.append(machine.text(data) if text else data)

    return step


def _text_unicode(machine: Machine) -> None:
    try:
        machine.stack.append(machine.line(machine.max_bytes).decode("raw-unicode-escape"))
    except UnicodeDecodeError:
        machine.refuse("instruction", "a text cannot be read")


def _bytearray8(machine: Machine) -> None:
    count = int.from_bytes(machine.take(8), "little")
    if count > machine.max_bytes:
        machine.refuse("size", f"a value of {count} bytes; at most {machine.max_bytes} are read")
    if machine.real and count <= _BUFFER_AT_ONCE:
        data = bytearray(count)
        machine.fill(data)
    else:
        # The file may end early, so memory grows with the bytes read.
        data = bytearray()
        while len(data) < count:
            data += machine.take(min(count - len(data), _BUFFER_AT_ONCE))
    machine.stack.append(data)


STEPS: Mapping[bytes, Callable[[Machine], None]] = {
    b"\x80": _proto,
    b"\x95": _frame,
    b"N": _constant(None),
    b"\x88": _constant(value=True),
    b"\x89": _constant(value=False),
    b"I": _text_int,
    b"L": _text_long,
    b"J": _unpacked("<i"),
    b"K": _unpacked("<B"),
    b"M": _unpacked("<H"),
    b"\x8a": _long(1),
    b"\x8b": _long(4),
    b"F": _text_float,
    b"G": _unpacked(">d"),
    b"V": _text_unicode,
    b"\x8c": _sized(1, text=True),
    b"X": _sized(4, text=True),
    b"\x8d": _sized(8, text=True),
    b"C": _sized(1, text=False),
    b"B": _sized(4, text=False),
    b"\x8e": _sized(8, text=False),
    b"\x96": _bytearray8,
    b")": _constant(()),
}
