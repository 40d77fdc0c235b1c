"""Forms of numpy: types, arrays and scalars.

A type is made again from its parts and compared with what the file says of it; an array's bytes have to be as many as
its shape and type need. So no state can turn bytes into pointers.
"""

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from model_store.serialization.structure.forms.objects import is_named
from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.rule import Form, Rule
from model_store.serialization.structure.values import shown

_CODE = re.compile(r"[<>|=]?(b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|O8?|[SUV]\d{1,9}|[Mm]8(\[\d{0,4}[a-zA-Z]{1,2}\])?)")
_STATE_LENGTH, _DATED_STATE_LENGTH = 8, 9
_MOST_DIMENSIONS = 32
ORDERS = ("C", "F")


def require_shape(machine: Machine, shape: Any, name: str) -> int:
    """The number of elements of a shape.

    Raises:
        StructureRefused: it is not a tuple of sizes.
    """
    if type(shape) is not tuple or len(shape) > _MOST_DIMENSIONS:
        machine.refuse("array", "an array's shape is not a tuple of sizes", name)
    if not all(type(size) is int and size >= 0 for size in shape):
        machine.refuse("array", "an array's shape is not a tuple of sizes", name)
    return math.prod(shape)


class TypeForm(Form):
    """`numpy.dtype`."""

    called = True
    takes_globals = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """A type by its code, as numpy writes it."""
        code = arguments[0] if arguments else None
        flags = arguments[1:]
        if type(code) is not str or not _CODE.fullmatch(code) or len(arguments) > 3:
            machine.refuse("dtype", f"a type {shown(code)}", rule.name)
        if not all(type(flag) in (bool, int) and flag in (0, 1) for flag in flags):
            machine.refuse("dtype", "a type whose flags numpy does not write", rule.name)
        return machine.remember(np.dtype(code, align=False, copy=True), rule)

    def fill(self, machine: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Compares the state with that of the same type made here."""
        length = len(state) if type(state) is tuple else 0
        if length not in (_STATE_LENGTH, _DATED_STATE_LENGTH):
            machine.refuse("dtype", "a type's state is not what numpy writes", rule.name)
        try:
            expected: list[Any] = [each.__reduce__()[2] for each in _same_types(instance, state)]
        except (TypeError, ValueError, LookupError, AttributeError):
            expected = []
        own = next((each for each in expected if _same(state, each)), None)
        if own is None:
            machine.refuse("dtype", "a type's state contradicts the type", rule.name)
        # The state made here, because the file can still change the fields of its own.
        instance.__setstate__(own)


def _same_types(instance: "np.dtype[Any]", state: tuple[Any, ...]) -> "list[np.dtype[Any]]":
    """The types that the state can be of."""
    order, names, fields = state[1], state[3], state[4]
    if instance.kind in "Mm" and len(state) == _DATED_STATE_LENGTH:
        (unit, number, *_) = state[8][1]
        text = unit.decode("ascii") if isinstance(unit, bytes) else unit
        return [np.dtype(f"{instance.kind}8[{int(number)}{text}]").newbyteorder(order)]
    if names is None:
        return [instance.newbyteorder(order) if order in "<>" else instance]
    formats = [fields[name][0] for name in names]
    if any(type(each[1]) is not int or each[1] < 0 for each in fields.values()) or len(fields) != len(names):
        raise ValueError("fields")
    if any(not isinstance(each, np.dtype) or each.hasobject for each in formats):
        raise ValueError("fields")
    layout = {
        "names": list(names),
        "formats": formats,
        "offsets": [fields[name][1] for name in names],
        "itemsize": instance.itemsize,
    }
    found = []
    for align in (False, True):
        with suppress(ValueError):  # not every layout is aligned
            found.append(np.dtype(layout, align=align))  # type: ignore[call-overload]
    return found


def _same(state: tuple[Any, ...], expected: tuple[Any, ...]) -> bool:
    if len(state) != len(expected):
        return False
    for found, own in zip(state, expected, strict=True):
        if isinstance(own, Mapping):
            if type(found) is not dict or set(found) != set(own):
                return False
            if any(tuple(found[name])[:2] != tuple(own[name])[:2] for name in own):
                return False
        elif found != own:
            return False
    return True


class EmptyArrayForm(Form):
    """`numpy._core.multiarray._reconstruct`: makes an empty array, which a state fills later."""

    called = True
    takes_globals = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The empty array."""
        fits = len(arguments) == 3 and is_named(arguments[0], "numpy.ndarray")
        if not fits or arguments[1] != (0,) or arguments[2] not in (b"b", "b"):
            machine.refuse("array", "an empty array is made with arguments that numpy does not write", rule.name)
        return machine.remember(np.ndarray((0,), "b"), rule)

    def fill(self, machine: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets shape, type and data that belong together."""
        if type(state) is not tuple or len(state) != 5 or type(state[0]) is not int:
            machine.refuse("array", "an array's state is not what numpy writes", rule.name)
        _, shape, kind, fortran, data = state
        require_content(machine, shape, kind, data, rule.name)
        if type(fortran) not in (bool, int):
            machine.refuse("array", "an array's state is not what numpy writes", rule.name)
        instance.__setstate__(state)


def require_content(machine: Machine, shape: Any, kind: Any, data: Any, name: str) -> None:
    """Raises StructureRefused unless the data are as many as shape and type need."""
    count = require_shape(machine, shape, name)
    if not isinstance(kind, np.dtype):
        machine.refuse("array", "an array's type is not a type", name)
    if kind.hasobject:
        if kind.char != "O" or type(data) is not list or len(data) != count:
            machine.refuse("array", "an array of objects does not have as many objects as its shape needs", name)
    elif type(data) not in (bytes, bytearray, str) or len(data) != count * kind.itemsize:
        machine.refuse("array", "an array does not have as many bytes as its shape and type need", name)


class BufferForm(Form):
    """`numpy._core.numeric._frombuffer`: an array in protocol 5."""

    called = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The array."""
        if not 4 <= len(arguments) <= 5 or type(arguments[0]) not in (bytes, bytearray):
            machine.refuse("array", "an array is made with arguments that numpy does not write", rule.name)
        data, kind, shape, order, *axes = arguments
        if not isinstance(kind, np.dtype) or kind.hasobject:
            machine.refuse("array", "an array of objects is made from bytes", rule.name)
        require_content(machine, shape, kind, data, rule.name)
        if axes and axes[0] is not None:
            # Only whole numbers are compared: comparing nested tuples can take forever.
            fits = type(axes[0]) is tuple and all(type(axis) is int for axis in axes[0]) and order == "K"
            if not fits or sorted(axes[0]) != list(range(len(shape))):
                machine.refuse("array", "an array's axes are not those of its shape", rule.name)
            return np.frombuffer(data, dtype=kind).reshape(shape, order="C").transpose(axes[0])
        if order not in (*ORDERS, "A"):
            machine.refuse("array", "an array has an unknown memory order", rule.name)
        if not len(data):
            return np.empty(shape, dtype=kind, order="F" if order == "F" else "C")
        return np.frombuffer(data, dtype=kind).reshape(shape, order=order)


class ScalarForm(Form):
    """`numpy._core.multiarray.scalar`: one number."""

    called = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The number."""
        if len(arguments) != 2 or not isinstance(arguments[0], np.dtype) or arguments[0].hasobject:
            machine.refuse("scalar", "a number is made with arguments that numpy does not write", rule.name)
        kind, data = arguments
        if type(data) is str and machine.real is not None:
            data = data.encode("latin1", "replace")
        if type(data) is not bytes or len(data) != kind.itemsize:
            machine.refuse("scalar", "a number does not have as many bytes as its type needs", rule.name)
        return np.frombuffer(data, dtype=kind)[0]


class MaskedForm(Form):
    """`numpy.ma.core._mareconstruct`: an array with gaps, as a search keeps its results in."""

    called = True
    takes_globals = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """An empty one."""
        fits = len(arguments) == 4 and is_named(arguments[1], "numpy.ndarray") and arguments[2] == (0,)
        if not fits or arguments[3] not in (b"b", "b") or not _is_masked(arguments[0]):
            machine.refuse("array", "a masked array is made with arguments that numpy does not write", rule.name)
        return machine.remember(np.ma.MaskedArray(np.ndarray((0,), "b"), mask=np.ndarray((0,), "?")), rule)

    def fill(self, machine: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets shape, type, data and gaps that belong together."""
        if type(state) is not tuple or len(state) != 7:
            machine.refuse("array", "an array's state is not what numpy writes", rule.name)
        _, shape, kind, _, data, gaps, _ = state
        require_content(machine, shape, kind, data, rule.name)
        if kind.names is not None or type(gaps) is not bytes or len(gaps) != math.prod(shape):
            machine.refuse("array", "a masked array does not have one mask value for each element", rule.name)
        instance.__setstate__(state)


def _is_masked(kind: Any) -> bool:
    return is_named(kind, "numpy.ma.MaskedArray") or is_named(kind, "numpy.ma.core.MaskedArray")


FORMS: Mapping[str, Form] = {
    "dtype": TypeForm(),
    "array": EmptyArrayForm(),
    "buffer": BufferForm(),
    "scalar": ScalarForm(),
    "masked array": MaskedForm(),
}
