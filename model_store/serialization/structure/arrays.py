"""Forms of numpy: types, arrays, scalars and random generators, and arrays as joblib writes them.

A type is made again from its parts and compared with what the file says of it; an array's bytes have to be as many as
its shape and type need. So no state can turn bytes into pointers.
"""

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from model_store.serialization.structure.forms import Form, ObjectForm, is_named
from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.rule import Rule
from model_store.serialization.structure.values import Made, shown

_CODE = re.compile(r"[<>|=]?(b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|O8?|[SUV]\d{1,9}|[Mm]8(\[\d{0,4}[a-zA-Z]{1,2}\])?)")
_STATE_LENGTH, _DATED_STATE_LENGTH = 8, 9
_MOST_DIMENSIONS = 32
_TWISTER_WORDS = 624
_ORDERS = ("C", "F")
_PADDING_LIMIT = 256


def require_shape(m: Machine, shape: Any, name: str) -> int:
    """The number of elements of a shape.

    Raises:
        StructureRefused: it is not a tuple of sizes.
    """
    if type(shape) is not tuple or len(shape) > _MOST_DIMENSIONS:
        m.refuse("array", "an array's shape is not a tuple of sizes", name)
    if not all(type(size) is int and size >= 0 for size in shape):
        m.refuse("array", "an array's shape is not a tuple of sizes", name)
    return math.prod(shape)


class TypeForm(Form):
    """`numpy.dtype`."""

    called = True
    takes_globals = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """A type by its code, as numpy writes it."""
        code = arguments[0] if arguments else None
        flags = arguments[1:]
        if type(code) is not str or not _CODE.fullmatch(code) or len(arguments) > 3:
            m.refuse("dtype", f"a type {shown(code)}", rule.name)
        if not all(type(flag) in (bool, int) and flag in (0, 1) for flag in flags):
            m.refuse("dtype", "a type with other flags than numpy writes", rule.name)
        return m.remember(np.dtype(code, align=False, copy=True), rule)

    def fill(self, m: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Compares the state with that of the same type made here."""
        length = len(state) if type(state) is tuple else 0
        if length not in (_STATE_LENGTH, _DATED_STATE_LENGTH):
            m.refuse("dtype", "a type's state is not what numpy writes", rule.name)
        try:
            expected: list[Any] = [each.__reduce__()[2] for each in _same_types(instance, state)]
        except (TypeError, ValueError, LookupError, AttributeError):
            expected = []
        own = next((each for each in expected if _same(state, each)), None)
        if own is None:
            m.refuse("dtype", "a type's state contradicts the type", rule.name)
        # Its own state, not the file's: that one's dictionary of fields could still be changed.
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
    """`numpy._core.multiarray._reconstruct`: an empty array, which a state then fills."""

    called = True
    takes_globals = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The empty array."""
        fits = len(arguments) == 3 and is_named(arguments[0], "numpy.ndarray")
        if not fits or arguments[1] != (0,) or arguments[2] not in (b"b", "b"):
            m.refuse("array", "an array is not begun as numpy writes it", rule.name)
        return m.remember(np.ndarray((0,), "b"), rule)

    def fill(self, m: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets shape, type and data that belong together."""
        if type(state) is not tuple or len(state) != 5 or type(state[0]) is not int:
            m.refuse("array", "an array's state is not what numpy writes", rule.name)
        _, shape, kind, fortran, data = state
        require_content(m, shape, kind, data, rule.name)
        if type(fortran) not in (bool, int):
            m.refuse("array", "an array's state is not what numpy writes", rule.name)
        instance.__setstate__(state)


def require_content(m: Machine, shape: Any, kind: Any, data: Any, name: str) -> None:
    """Raises StructureRefused unless the data are as many as shape and type need."""
    count = require_shape(m, shape, name)
    if not isinstance(kind, np.dtype):
        m.refuse("array", "an array's type is not a type", name)
    if kind.hasobject:
        if kind.char != "O" or type(data) is not list or len(data) != count:
            m.refuse("array", "an array of objects does not have as many as its shape needs", name)
    elif type(data) not in (bytes, bytearray, str) or len(data) != count * kind.itemsize:
        m.refuse("array", "an array does not have as many bytes as its shape and type need", name)


class BufferForm(Form):
    """`numpy._core.numeric._frombuffer`: an array in protocol 5."""

    called = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The array."""
        if not 4 <= len(arguments) <= 5 or type(arguments[0]) not in (bytes, bytearray):
            m.refuse("array", "an array is not written as numpy writes it", rule.name)
        data, kind, shape, order, *axes = arguments
        if not isinstance(kind, np.dtype) or kind.hasobject:
            m.refuse("array", "an array of objects is made from bytes", rule.name)
        require_content(m, shape, kind, data, rule.name)
        if axes and axes[0] is not None:
            # Only whole numbers are compared: to compare tuples that hold each other can take for ever.
            fits = type(axes[0]) is tuple and all(type(axis) is int for axis in axes[0]) and order == "K"
            if not fits or sorted(axes[0]) != list(range(len(shape))):
                m.refuse("array", "an array's axes are not those of its shape", rule.name)
            return np.frombuffer(data, dtype=kind).reshape(shape, order="C").transpose(axes[0])
        if order not in (*_ORDERS, "A"):
            m.refuse("array", "an array's order is unknown", rule.name)
        if not len(data):
            return np.empty(shape, dtype=kind, order="F" if order == "F" else "C")
        return np.frombuffer(data, dtype=kind).reshape(shape, order=order)


class ScalarForm(Form):
    """`numpy._core.multiarray.scalar`: one number."""

    called = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The number."""
        if len(arguments) != 2 or not isinstance(arguments[0], np.dtype) or arguments[0].hasobject:
            m.refuse("scalar", "a number is not written as numpy writes it", rule.name)
        kind, data = arguments
        if type(data) is str and m.real is not None:
            data = data.encode("latin1", "replace")
        if type(data) is not bytes or len(data) != kind.itemsize:
            m.refuse("scalar", "a number does not have as many bytes as its type needs", rule.name)
        return np.frombuffer(data, dtype=kind)[0]


class MaskedForm(Form):
    """`numpy.ma.core._mareconstruct`: an array with gaps, as a search keeps its results in."""

    called = True
    takes_globals = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """An empty one."""
        fits = len(arguments) == 4 and is_named(arguments[1], "numpy.ndarray") and arguments[2] == (0,)
        if not fits or arguments[3] not in (b"b", "b") or not _is_masked(arguments[0]):
            m.refuse("array", "an array with gaps is not begun as numpy writes it", rule.name)
        return m.remember(np.ma.MaskedArray(np.ndarray((0,), "b"), mask=np.ndarray((0,), "?")), rule)

    def fill(self, m: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets shape, type, data and gaps that belong together."""
        if type(state) is not tuple or len(state) != 7:
            m.refuse("array", "an array's state is not what numpy writes", rule.name)
        _, shape, kind, _, data, gaps, _ = state
        require_content(m, shape, kind, data, rule.name)
        if kind.names is not None or type(gaps) is not bytes or len(gaps) != math.prod(shape):
            m.refuse("array", "an array's gaps are not as many as its elements", rule.name)
        instance.__setstate__(state)


def _is_masked(kind: Any) -> bool:
    return is_named(kind, "numpy.ma.MaskedArray") or is_named(kind, "numpy.ma.core.MaskedArray")


class BitGeneratorForm(Form):
    """`__bit_generator_ctor`: a random generator's source."""

    called = True
    takes_globals = True
    kinds: Mapping[str, Any] = {"MT19937": np.random.MT19937, "PCG64": np.random.PCG64}

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """A new source."""
        kind = arguments[0] if arguments else None
        name = kind if type(kind) is str else getattr(kind, "__name__", getattr(kind, "name", "")).rpartition(".")[2]
        if name not in self.kinds or len(arguments) > 2:
            m.refuse("random", "an unknown kind of random generator", rule.name)
        return m.remember(self.kinds[name](0), rule)

    def fill(self, m: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets numbers within the generator's bounds."""
        state = state[0] if type(state) is tuple and len(state) == 2 else state
        require_random_state(m, rule, state, type(instance).__name__)
        _set_random_state(m, rule, lambda: setattr(instance, "state", state))


def require_random_state(m: Machine, rule: Rule, state: Any, kind: str) -> None:
    """Raises StructureRefused unless a random generator's state lies within its bounds."""
    inner = state.get("state") if type(state) is dict else None
    if type(inner) is not dict or state.get("bit_generator") != kind:
        m.refuse("random", "a random generator's state is not what numpy writes", rule.name)
    if kind == "MT19937":
        key: Any = inner.get("key")
        place: Any = inner.get("pos")
        fits = isinstance(key, np.ndarray) and key.shape == (_TWISTER_WORDS,) and key.dtype == np.uint32
        if not fits or not _whole(place) or not 0 <= place <= _TWISTER_WORDS:
            m.refuse("random", "a random generator's place lies outside its words", rule.name)
    elif not all(_whole(inner.get(name)) for name in ("state", "inc")):
        m.refuse("random", "a random generator's state is not what numpy writes", rule.name)


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


class GeneratorForm(Form):
    """`__randomstate_ctor` and `__generator_ctor`: a random generator around its source."""

    called = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The generator."""
        if not arguments or not isinstance(arguments[0], np.random.BitGenerator) or len(arguments) > 2:
            m.refuse("random", "a random generator without a source", rule.name)
        legacy = "randomstate" in rule.attribute
        made = np.random.RandomState(arguments[0]) if legacy else np.random.Generator(arguments[0])
        return m.remember(made, rule)

    def fill(self, m: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets the state of a `RandomState`."""
        if not isinstance(instance, np.random.RandomState):
            m.refuse("state", f"a {rule.name} takes no state", rule.name)
        require_random_state(m, rule, state, "MT19937")
        if state.get("has_gauss", 0) not in (0, 1) or not isinstance(state.get("gauss", 0.0), int | float):
            m.refuse("random", "a random generator's state is not what numpy writes", rule.name)
        _set_random_state(m, rule, lambda: instance.__setstate__(state))


def _set_random_state(m: Machine, rule: Rule, set_state: Callable[[], None]) -> None:
    try:
        set_state()
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        m.refuse("random", f"a random generator does not take its state ({error})", rule.name)


class SeedForm(Form):
    """The seed of a random generator, which nothing that answers asks."""

    called = True
    takes_globals = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """A seed of its own."""
        return m.remember(np.random.SeedSequence(0), rule)

    def fill(self, m: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Looks at the state, and leaves the seed as it is."""
        if type(state) is not tuple or len(state) > 6:
            m.refuse("state", "a seed's state is not what numpy writes", rule.name)


class JoblibArrayForm(ObjectForm):
    """Joblib's wrapper, after which an array's bytes stand in the file."""

    needs_state = True

    def empty(self, m: Machine, rule: Rule) -> Any:
        """The wrapper."""
        return Made(rule.name)

    def fill(self, m: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Reads the array that follows."""
        if type(state) is not dict or not set(state) <= {
            "subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"
        }:  # fmt: skip
            m.refuse("array", "joblib's wrapper has other fields than joblib writes", rule.name)
        shape: Any = state.get("shape")
        kind, order = state.get("dtype"), state.get("order")
        count = require_shape(m, shape, rule.name)
        if not is_named(state.get("subclass"), "numpy.ndarray"):
            m.refuse("array", "an array of a class of its own", rule.name)
        if not isinstance(kind, np.dtype) or order not in _ORDERS:
            m.refuse("array", "joblib's wrapper has no type or no order", rule.name)
        if kind.hasobject:
            return self._objects(m, rule, kind, shape)
        if count * kind.itemsize > m.max_bytes:
            m.refuse("size", f"an array of {count * kind.itemsize} bytes; at most {m.max_bytes} are read", rule.name)
        self._skip_padding(m, rule, state.get("numpy_array_alignment_bytes"))
        try:
            array = np.empty(count, dtype=kind)
        except (MemoryError, ValueError):
            return m.refuse("size", f"there is no memory for an array of {count * kind.itemsize} bytes", rule.name)
        if array.nbytes:
            m.fill(array.view(np.uint8) if kind.names is None else array.view(f"V{kind.itemsize}").view(np.uint8))
        array = array.reshape(shape[::-1]).transpose() if order == "F" else array.reshape(shape)
        return array if kind.isnative else array.astype(kind.newbyteorder("="))

    @staticmethod
    def _skip_padding(m: Machine, rule: Rule, alignment: Any) -> None:
        if alignment is None:
            return
        if type(alignment) is not int or not 0 < alignment <= _PADDING_LIMIT:
            m.refuse("array", "joblib's wrapper has an unknown alignment", rule.name)
        length = m.take(1)[0]
        if length > alignment:
            m.refuse("array", "there are more bytes before an array than its alignment needs", rule.name)
        m.take(length)

    @staticmethod
    def _objects(m: Machine, rule: Rule, kind: "np.dtype[Any]", shape: Any) -> Any:
        nested = m.nested()
        array = nested.run()
        if not isinstance(array, np.ndarray) or array.dtype != kind or array.shape != shape:
            m.refuse("array", "the pickle inside joblib's wrapper is not the array that it announces", rule.name)
        return array


FORMS: Mapping[str, Form] = {
    "dtype": TypeForm(),
    "array": EmptyArrayForm(),
    "buffer": BufferForm(),
    "scalar": ScalarForm(),
    "masked array": MaskedForm(),
    "bit generator": BitGeneratorForm(),
    "random generator": GeneratorForm(),
    "seed": SeedForm(),
    "joblib array": JoblibArrayForm(),
}
