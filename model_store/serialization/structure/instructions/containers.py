"""Instructions that make tuples, lists, dictionaries and sets, and put items in them."""

from collections.abc import Callable, Mapping
from typing import Any

from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.values import Made


def _push_tuple(machine: Machine, items: list[Any]) -> None:
    made = tuple(items)
    if machine.unheld and not machine.unheld.isdisjoint(map(id, items)):
        machine.unheld.add(id(made))
        machine.kept.append(made)
    machine.stack.append(made)


def _tuple(machine: Machine) -> None:
    items = machine.pop_mark()
    _push_tuple(machine, items)


def _make_tuple(count: int) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        if len(machine.stack) < count:
            machine.refuse("stack", "an instruction needs a value, and the stack is empty")
        items = machine.stack[-count:]
        del machine.stack[-count:]
        _push_tuple(machine, items)

    return step


def _empty(kind: type) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        machine.stack.append(kind())

    return step


def _list(machine: Machine) -> None:
    items = machine.pop_mark()
    machine.require_held(items)
    machine.stack.append(items)


def _dict(machine: Machine) -> None:
    items = machine.pop_mark()
    target: dict[Any, Any] = {}
    machine.stack.append(target)
    _put_items(machine, target, items)


def _append(machine: Machine) -> None:
    item = machine.pop()
    _extend(machine, machine.top(), [item])


def _appends(machine: Machine) -> None:
    items = machine.pop_mark()
    _extend(machine, machine.top(), items)


def _extend(machine: Machine, target: Any, items: list[Any]) -> None:
    if type(target) is not list:
        machine.refuse("container", "items are appended to something that is not a list")
    machine.require_held(items)
    target.extend(items)


def _setitem(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _put_items(machine, machine.top(), [key, value])


def _setitems(machine: Machine) -> None:
    items = machine.pop_mark()
    _put_items(machine, machine.top(), items)


def _put_items(machine: Machine, target: Any, items: list[Any]) -> None:
    if len(items) % 2:
        machine.refuse("stack", "a key has no value")
    keys, values = items[::2], items[1::2]
    machine.require_held(values)
    machine.require_keys(keys)
    if type(target) is not dict:
        found = machine.unfinished.get(id(target))
        if found is None or not found[1].form.mapping:
            machine.refuse("container", "items are set in something that is not a dictionary")
        if type(target) is Made:
            return
    for key, value in zip(keys, values, strict=True):
        target[key] = value


def _additems(machine: Machine) -> None:
    items = machine.pop_mark()
    target = machine.top()
    if type(target) is not set:
        machine.refuse("container", "items are added to something that is not a set")
    machine.require_keys(items)
    target.update(items)


def _frozenset(machine: Machine) -> None:
    items = machine.pop_mark()
    machine.require_keys(items)
    machine.stack.append(frozenset(items))


STEPS: Mapping[bytes, Callable[[Machine], None]] = {
    b"t": _tuple,
    b"\x85": _make_tuple(1),
    b"\x86": _make_tuple(2),
    b"\x87": _make_tuple(3),
    b"]": _empty(list),
    b"l": _list,
    b"a": _append,
    b"e": _appends,
    b"}": _empty(dict),
    b"d": _dict,
    b"s": _setitem,
    b"u": _setitems,
    b"\x8f": _empty(set),
    b"\x90": _additems,
    b"\x91": _frozenset,
}
