"""Forms of pandas: column names, categories and text types."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from model_store.serialization.structure import numbers
from model_store.serialization.structure.forms.compiled import CompiledObjectForm
from model_store.serialization.structure.forms.objects import (
    ObjectForm,
    empty_object,
    is_named,
    require_attributes,
    run_check,
)
from model_store.serialization.structure.forms.python_types import MOST_IN_RANGE
from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.rule import Form, Rule
from model_store.serialization.structure.values import Made

_RANGE = {"start": 0, "stop": 0, "step": 1}


class IndexForm(Form):
    """pandas' `_new_Index`: names of columns."""

    called = True
    takes_globals = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The index."""
        kinds = ("pandas.Index", "pandas.RangeIndex", "pandas.CategoricalIndex", "pandas.core.indexes.base.Index",
                 "pandas.core.indexes.range.RangeIndex", "pandas.core.indexes.category.CategoricalIndex")  # fmt: skip
        if len(arguments) != 2 or type(arguments[1]) is not dict or not any(is_named(arguments[0], k) for k in kinds):
            machine.refuse("call", f"{rule.name} makes an object that is not an index", rule.name)
        if not all(_fits_index(key, value) for key, value in arguments[1].items()):
            machine.refuse("call", "an index of columns is not made from an array or a range", rule.name)
        first, last, step = (arguments[1].get(name, default) for name, default in _RANGE.items())
        if step == 0 or range(first, last, step)[MOST_IN_RANGE:]:
            machine.refuse("size", "an index of columns is longer than the limit for columns", rule.name)
        return self.named(rule)(*arguments) if machine.real else Made("pandas.Index")


def _fits_index(key: Any, value: Any) -> bool:
    """Whether pandas writes these arguments; it would turn a list or a range into an array of any size."""
    if key == "data":
        return isinstance(value, np.ndarray) or type(value) is Made or type(value).__module__.startswith("pandas.")
    return key == "name" or (key in ("start", "stop", "step") and type(value) is int)


class TextTypeForm(Form):
    """`pandas.StringDtype`."""

    called = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The type."""
        if not arguments or len(arguments) > 2 or arguments[0] not in ("python", "pyarrow", "pyarrow_numpy"):
            machine.refuse("call", "a text type is made with arguments that pandas does not write", rule.name)
        return self.named(rule)(*arguments) if machine.real else Made(rule.name)


class PandasArrayForm(CompiledObjectForm):
    """An array of pandas around one of numpy."""

    needs_state = True

    def made_by(self, rule: Rule) -> bool:
        """Whether it is the class above that makes it."""
        return rule.attribute == "__pyx_unpickle_NDArrayBacked"

    def new(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """An empty one."""
        if arguments:
            machine.refuse("make", f"{rule.name} is called with arguments, which its rule does not allow", rule.name)
        return machine.remember(empty_object(self, machine, rule), rule)

    def fill(self, machine: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets type and array."""
        if type(state) is not tuple or not 2 <= len(state) <= 3 or not any(isinstance(x, np.ndarray) for x in state):
            machine.refuse("state", f"the state of a {rule.name} is not what pandas writes", rule.name)
        for kind in state:
            categories = getattr(kind, "categories", None)
            if categories is not None:
                codes = next(each for each in state if isinstance(each, np.ndarray))
                run_check(machine, rule, numbers.require_within, codes, len(categories), "a code of a category", low=-1)
        if type(instance) is not Made:
            instance.__setstate__(state)


class PlainObjectForm(ObjectForm):
    """An object of pandas whose state is a dictionary with names of its own."""

    def fill(self, machine: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets the attributes."""
        require_attributes(machine, rule, None, state)
        if type(instance) is not Made:
            instance.__setstate__(state) if hasattr(instance, "__setstate__") else vars(instance).update(state)


FORMS: Mapping[str, Form] = {
    "index": IndexForm(),
    "text type": TextTypeForm(),
    "pandas array": PandasArrayForm(),
    "pandas object": PlainObjectForm(),
}
