"""The form of arrays as joblib writes them: a wrapper, then the array's bytes in the file."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from model_store.serialization.structure.forms.arrays import ORDERS, require_shape
from model_store.serialization.structure.forms.objects import ObjectForm, is_named
from model_store.serialization.structure.interpreter import run
from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.rule import Form, Rule
from model_store.serialization.structure.values import Made

_PADDING_LIMIT = 256


class JoblibArrayForm(ObjectForm):
    """Joblib's wrapper, after which an array's bytes stand in the file."""

    needs_state = True

    def empty(self, machine: Machine, rule: Rule) -> Any:
        """The wrapper."""
        return Made(rule.name)

    def fill(self, machine: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Reads the array that follows."""
        if type(state) is not dict or not set(state) <= {
            "subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"
        }:  # fmt: skip
            machine.refuse("array", "joblib's wrapper has fields that joblib does not write", rule.name)
        shape: Any = state.get("shape")
        kind, order = state.get("dtype"), state.get("order")
        count = require_shape(machine, shape, rule.name)
        if not is_named(state.get("subclass"), "numpy.ndarray"):
            machine.refuse("array", "an array of a class other than numpy.ndarray", rule.name)
        if not isinstance(kind, np.dtype) or order not in ORDERS:
            machine.refuse("array", "joblib's wrapper has no type or no memory order", rule.name)
        if kind.hasobject:
            return self._objects(machine, rule, kind, shape)
        if count * kind.itemsize > machine.max_bytes:
            machine.refuse(
                "size", f"an array of {count * kind.itemsize} bytes; at most {machine.max_bytes} are read", rule.name
            )
        self._skip_padding(machine, rule, state.get("numpy_array_alignment_bytes"))
        try:
            array = np.empty(count, dtype=kind)
        except (MemoryError, ValueError):
            return machine.refuse(
                "size", f"there is no memory for an array of {count * kind.itemsize} bytes", rule.name
            )
        if array.nbytes:
            machine.fill(array.view(np.uint8) if kind.names is None else array.view(f"V{kind.itemsize}").view(np.uint8))
        array = array.reshape(shape[::-1]).transpose() if order == "F" else array.reshape(shape)
        return array if kind.isnative else array.astype(kind.newbyteorder("="))

    @staticmethod
    def _skip_padding(machine: Machine, rule: Rule, alignment: Any) -> None:
        if alignment is None:
            return
        if type(alignment) is not int or not 0 < alignment <= _PADDING_LIMIT:
            machine.refuse("array", "joblib's wrapper has an unknown alignment", rule.name)
        length = machine.take(1)[0]
        if length > alignment:
            machine.refuse("array", "there are more bytes before an array than its alignment needs", rule.name)
        machine.take(length)

    @staticmethod
    def _objects(machine: Machine, rule: Rule, kind: "np.dtype[Any]", shape: Any) -> Any:
        array = run(machine.nested())
        if not isinstance(array, np.ndarray) or array.dtype != kind or array.shape != shape:
            machine.refuse("array", "the pickle inside joblib's wrapper is not the array that it announces", rule.name)
        return array


FORMS: Mapping[str, Form] = {
    "joblib array": JoblibArrayForm(),
}
