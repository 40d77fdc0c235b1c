"""Forms of objects with attributes, of held classes and constants, and of names that the caller trusts."""

import inspect
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.rule import Form, Rule
from model_store.serialization.structure.values import Made, Named, shown

_MOST_ATTRIBUTES = 10_000
_SHADOWING = frozenset({
    "fit", "predict", "predict_proba", "predict_log_proba", "decision_function", "transform", "inverse_transform",
    "score", "score_samples", "get_params", "set_params", "get_booster", "get_feature_names_out",
})  # fmt: skip
_OWN_ATTRIBUTES = {"_BisectingTree": ("score",), "MetadataRequest": _SHADOWING, "MethodMetadataRequest": _SHADOWING}
"""Classes that are not estimators and have attributes of these names."""


class HeldForm(Form):
    """A class or a constant that a model holds, such as a column's type."""


class ObjectForm(Form):
    """An object whose state is its attributes."""

    called = True

    def new(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """An object without attributes."""
        if arguments:
            machine.refuse("make", f"{rule.name} is called with arguments, which its rule does not allow", rule.name)
        return machine.remember(self.empty(machine, rule), rule)

    def empty(self, machine: Machine, rule: Rule) -> Any:
        """The object, or what stands for it."""
        return empty_object(self, machine, rule)

    def fill(self, machine: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets the attributes."""
        require_attributes(machine, rule, None if type(instance) is Made else type(instance), state)
        self.look(machine, rule, instance, state)
        if type(instance) is Made:
            instance.about["state"] = state
            return
        set_state = getattr(instance, "__setstate__", None)
        if set_state is not None:
            set_state(state)
        else:
            vars(instance).update(state)

    def look(self, machine: Machine, rule: Rule, instance: Any, state: dict[str, Any]) -> None:
        """Checks a state before a library reads it."""


def require_attributes(machine: Machine, rule: Rule, kind: type | None, state: Any) -> None:
    """Raises StructureRefused unless a state is a dictionary of attributes that hide no method."""
    if type(state) is not dict or len(state) > _MOST_ATTRIBUTES:
        machine.refuse("state", f"the state of a {rule.name} is not a dictionary of its attributes", rule.name)
    own = _OWN_ATTRIBUTES.get(rule.attribute, ())
    for name in state:
        hides = name in _SHADOWING and name not in own
        if type(name) is not str or not name.isidentifier() or name.startswith("__") or hides:
            machine.refuse("attribute", f"a {rule.name} has the attribute {shown(name)}", rule.name)
        if kind is not None and _has_method(kind, name):
            machine.refuse("attribute", f"the attribute {name!r} of a {rule.name} hides a method", rule.name)


@lru_cache(maxsize=4096)
def _has_method(kind: type, name: str) -> bool:
    found = inspect.getattr_static(kind, name, None)
    return found is not None and (callable(found) or hasattr(type(found), "__get__"))


def empty_object(form: Form, machine: Machine, rule: Rule) -> Any:
    """An object of a class without attributes, or what stands for it in an inspection."""
    if not machine.real:
        return Made(rule.name)
    kind = form.named(rule)
    return kind.__new__(kind)


class GrantedForm(Form):
    """A class or function that the caller trusts by name: a pickle can use it in every way."""

    called = True
    takes_names = True
    takes_globals = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The result."""
        return machine.remember(self.named(rule)(*arguments) if machine.real else Made(rule.name), rule)

    def new(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """A new object."""
        return self.new_named(machine, rule, arguments, {})

    def new_named(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """A new object."""
        if not machine.real:
            return machine.remember(Made(rule.name), rule)
        kind = self.named(rule)
        return machine.remember(kind.__new__(kind, *arguments, **named), rule)

    def fill(self, machine: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets the state."""
        if not machine.real:
            instance.about["state"] = state
            return
        set_state = getattr(instance, "__setstate__", None)
        if set_state is not None:
            set_state(state)
            return
        attributes, slots = state if type(state) is tuple and len(state) == 2 else (state, None)
        if attributes:
            vars(instance).update(attributes)
        for name, value in (slots or {}).items():
            setattr(instance, name, value)


def is_named(value: Any, full_name: str) -> bool:
    """Whether a value is the class or function of that name."""
    if type(value) is Named:
        return value.name == full_name
    if not isinstance(value, type):
        return False
    return f"{value.__module__}.{value.__qualname__}" == full_name


def run_check(machine: Machine, rule: Rule, check: Any, *arguments: Any, **named: Any) -> Any:
    """Runs a check of numbers and returns what it returns; its ValueError becomes a refusal."""
    try:
        return check(*arguments, **named)
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        return machine.refuse("numbers", f"{rule.name}: {error}", rule.name)


FORMS: Mapping[str, Form] = {
    "held": HeldForm(),
    "object": ObjectForm(),
    "granted": GrantedForm(),
}
