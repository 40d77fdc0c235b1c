"""Forms of pyarrow: arrays of text, their buffers and types."""

from collections.abc import Mapping
from typing import Any

from model_store.serialization.structure.forms.objects import run_check
from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.rule import Form, Rule
from model_store.serialization.structure.values import Made

_TEXT_BUFFERS = 3


class ArrowTextsForm(Form):
    """pyarrow's `_restore_array`, which does not check its buffers: for texts only."""

    called = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The array, after checking its buffers."""
        if len(arguments) != 1 or type(arguments[0]) is not tuple or len(arguments[0]) != 7:
            machine.refuse("call", "an Arrow array is made with arguments that pyarrow does not write", rule.name)
        if not machine.real:
            return Made("pyarrow.Array")
        return run_check(machine, rule, _arrow_texts, arguments[0])


def _arrow_texts(data: tuple[Any, ...]) -> Any:
    import pyarrow

    kind, length, gaps, offset, buffers, children, dictionary = data
    if kind not in (pyarrow.string(), pyarrow.large_string()) or children or dictionary is not None:
        raise TypeError(f"an Arrow array of {kind}; only arrays of text are read")
    if not all(type(number) is int and number >= 0 for number in (length, offset)) or len(buffers) != _TEXT_BUFFERS:
        raise ValueError("the length, offset or buffers of an Arrow array do not fit text")
    array = pyarrow.Array.from_buffers(kind, length, list(buffers), gaps, offset)
    array.validate(full=True)
    return array


class ArrowPartForm(Form):
    """A buffer or a type of pyarrow."""

    called = True

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The part."""
        if len(arguments) != 1 or type(arguments[0]) is not self._kind:
            machine.refuse("call", f"{rule.name} is called with arguments that pyarrow does not write", rule.name)
        return self.named(rule)(*arguments) if machine.real else Made(rule.name)


FORMS: Mapping[str, Form] = {
    "Arrow texts": ArrowTextsForm(),
    "Arrow buffer": ArrowPartForm(bytearray),
    "Arrow type": ArrowPartForm(str),
}
