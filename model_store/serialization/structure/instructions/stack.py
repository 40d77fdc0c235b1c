"""Instructions that move values: marks, drops, and the memo."""

from collections.abc import Callable, Mapping

from model_store.serialization.structure.machine import Machine

_NO_VALUE = object()


def _mark(machine: Machine) -> None:
    machine.marks.append(machine.stack)
    machine.stack = []


def _drop(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_mark()


def _drop_to_mark(machine: Machine) -> None:
    machine.pop_mark()


def _memoize(machine: Machine) -> None:
    machine.memo[len(machine.memo)] = machine.top()


def _put(read_index: Callable[[Machine], int]) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        machine.memo[read_index(machine)] = machine.top()

    return step


def _get(read_index: Callable[[Machine], int]) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        found = machine.memo.get(read_index(machine), _NO_VALUE)
        if found is _NO_VALUE:
            machine.refuse("memo", "the file reads a memo entry that it has not written")
        machine.stack.append(found)

    return step


def _text_index(machine: Machine) -> int:
    return machine.whole_number(machine.line())


def _index(size: int) -> Callable[[Machine], int]:
    def read(machine: Machine) -> int:
        return int.from_bytes(machine.take(size), "little")

    return read


STEPS: Mapping[bytes, Callable[[Machine], None]] = {
    b"(": _mark,
    b"0": _drop,
    b"1": _drop_to_mark,
    b"\x94": _memoize,
    b"p": _put(_text_index),
    b"q": _put(_index(1)),
    b"r": _put(_index(4)),
    b"g": _get(_text_index),
    b"h": _get(_index(1)),
    b"j": _get(_index(4)),
}
