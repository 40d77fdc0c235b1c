"""Forms: how a pickle may call a global, make an object of it and fill it. Each rule names one.

A form looks at arguments and states before it uses them, and uses them only through the library's own constructor.
In an inspection numbers are made, everything else is a `Made`.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from model_store.serialization.stand_ins import named_function, stand_in_class
from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.rule import Form, Rule
from model_store.serialization.structure.values import Made, Named, shown

_MOST_ATTRIBUTES = 10_000
MOST_IN_RANGE = 1_000_000
_SHADOWING = frozenset({
    "fit", "predict", "predict_proba", "predict_log_proba", "decision_function", "transform", "inverse_transform",
    "score", "score_samples", "get_params", "set_params", "get_booster", "get_feature_names_out",
})  # fmt: skip


_OWN_ATTRIBUTES = {"_BisectingTree": ("score",), "MetadataRequest": _SHADOWING, "MethodMetadataRequest": _SHADOWING}
"""Classes that have attributes of these names by right: they are no estimators."""


class HeldForm(Form):
    """A class or a constant that a model holds, such as a column's type."""


class FunctionForm(Form):
    """A function that a model holds: what the file gets is its name."""

    def named(self, rule: Rule) -> Any:
        """A name that cannot be called."""
        return named_function(rule.name)


class ObjectForm(Form):
    """An object whose state is its attributes."""

    called = True

    def new(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """An object without attributes."""
        if arguments:
            m.refuse("make", f"an object of {rule.name} is made from arguments", rule.name)
        return m.remember(self.empty(m, rule), rule)

    def empty(self, m: Machine, rule: Rule) -> Any:
        """The object, or what stands for it."""
        if not m.real:
            return Made(rule.name)
        kind = self.named(rule)
        return kind.__new__(kind)

    def fill(self, m: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets the attributes."""
        require_attributes(m, rule, None if type(instance) is Made else type(instance), state)
        self.look(m, rule, instance, state)
        if type(instance) is Made:
            instance.about["state"] = state
            return
        set_state = getattr(instance, "__setstate__", None)
        if set_state is not None:
            set_state(state)
        else:
            vars(instance).update(state)

    def look(self, m: Machine, rule: Rule, instance: Any, state: dict[str, Any]) -> None:
        """Looks at a state before a library reads it."""


def require_attributes(m: Machine, rule: Rule, kind: type | None, state: Any) -> None:
    """Raises StructureRefused unless a state is a dictionary of attributes that hide no method."""
    if type(state) is not dict or len(state) > _MOST_ATTRIBUTES:
        m.refuse("state", f"the state of a {rule.name} is not a dictionary of its attributes", rule.name)
    own = _OWN_ATTRIBUTES.get(rule.attribute, ())
    for name in state:
        hides = name in _SHADOWING and name not in own
        if type(name) is not str or not name.isidentifier() or name.startswith("__") or hides:
            m.refuse("attribute", f"a {rule.name} has the attribute {shown(name)}", rule.name)
        if kind is not None and _has_method(kind, name):
            m.refuse("attribute", f"the attribute {name!r} of a {rule.name} hides a method", rule.name)


@lru_cache(maxsize=4096)
def _has_method(kind: type, name: str) -> bool:
    found = inspect.getattr_static(kind, name, None)
    return found is not None and (callable(found) or hasattr(type(found), "__get__"))


class MappingForm(ObjectForm):
    """A dictionary of a class of its own."""

    mapping = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """Empty, or from a list of pairs, as protocols 0 to 2 write it."""
        made = self.empty(m, rule)
        if arguments:
            (pairs,) = arguments if len(arguments) == 1 else (None,)
            if type(pairs) is not list or not all(type(each) in (list, tuple) and len(each) == 2 for each in pairs):
                m.refuse("call", f"{rule.name} is called with something else than pairs", rule.name)
            m.require_keys(key for key, _ in pairs)
            if m.real:
                made.update(pairs)
        return m.remember(made, rule)

    def empty(self, m: Machine, rule: Rule) -> Any:
        """An empty one."""
        return self.named(rule)() if m.real else Made(rule.name)


class DefaultDictForm(Form):
    """`defaultdict` of a class that makes an empty value."""

    called = True
    takes_globals = True
    mapping = True
    factories = ("builtins.list", "builtins.int", "builtins.float", "builtins.dict", "builtins.set",
                 "builtins.str", "collections.OrderedDict")  # fmt: skip

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """An empty one."""
        if len(arguments) != 1 or not any(is_named(arguments[0], name) for name in self.factories):
            m.refuse("call", "a defaultdict makes something else than an empty value", rule.name)
        return m.remember(self.named(rule)(arguments[0]) if m.real else Made(rule.name), rule)


def is_named(value: Any, full_name: str) -> bool:
    """Whether a value is the class or function of that name."""
    if type(value) is Named:
        return value.name == full_name
    if not isinstance(value, type):
        return False
    return f"{value.__module__}.{value.__qualname__}" == full_name


class ReconstructorForm(Form):
    """`copyreg._reconstructor`: how protocols 0 and 1 make an object."""

    called = True
    takes_globals = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """An object of a class that a rule lets the file make."""
        if len(arguments) != 3:
            m.refuse("call", f"{rule.name} is called with other arguments than Python writes", rule.name)
        kind, base, value = arguments
        of = m.rule_for(kind, what="the file makes an object of")
        if is_named(base, "builtins.object") and value is None:
            return of.form.new(m, of, ())
        if of.form.mapping and is_named(base, "builtins.dict") and type(value) is dict:
            made = of.form.call(m, of, ())
            if m.real:
                made.update(value)
            return made
        if isinstance(of.form, TupleForm) and is_named(base, "builtins.tuple") and type(value) is tuple:
            return of.form.new(m, of, value)
        return m.refuse("call", f"{rule.name} starts from something else than an empty object", rule.name)


class NewObjectForm(Form):
    """`copyreg.__newobj__`: how protocol 2 makes an object where the instruction is not used."""

    called = True
    takes_globals = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """An object of a class that a rule lets the file make."""
        if not arguments:
            m.refuse("call", f"{rule.name} is called with other arguments than Python writes", rule.name)
        of = m.rule_for(arguments[0], what="the file makes an object of")
        m.require_held(arguments[1:])
        return of.form.new(m, of, arguments[1:])


class PlainCallForm(Form):
    """A constructor of plain values whose arguments are looked at one by one."""

    called = True

    def __init__(self, check: Callable[[tuple[Any, ...]], bool], keys: Callable[[Any], Any] | None = None) -> None:
        self._check = check
        self._keys = keys

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The value."""
        if not self._check(arguments):
            m.refuse("call", f"{rule.name} is called with other arguments than Python writes", rule.name)
        if self._keys is not None:
            m.require_keys(self._keys(arguments))
        return Form.named(self, rule)(*arguments)


class NumbersForm(Form):
    """A small compiled object that is made from numbers, such as a loss."""

    called = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The object."""
        if len(arguments) > 3 or not all(type(each) in (int, float, bool) for each in arguments):
            m.refuse("call", f"{rule.name} is made from something else than numbers", rule.name)
        return self.named(rule)(*arguments) if m.real else Made(rule.name)


class TupleForm(Form):
    """A named tuple."""

    called = True

    def new(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The tuple."""
        if not m.real:
            return Made(rule.name, items=arguments)
        kind = self.named(rule)
        if len(arguments) != len(kind._fields):
            m.refuse("make", f"a {rule.name} has another number of fields", rule.name)
        return kind(*arguments)


class CompiledForm(Form):
    """`__pyx_unpickle_…`: how Cython makes an object of the class that the function is named after.

    Args:
        fill: the form that fills it, where it takes a state.
    """

    called = True
    takes_globals = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The object."""
        name = rule.attribute.removeprefix("__pyx_unpickle_")
        fits = len(arguments) == 3 and type(arguments[1]) is int and arguments[2] in (None, ())
        if not fits:
            m.refuse("call", f"{rule.name} is called with other arguments than Cython writes", rule.name)
        of = m.rule_for(arguments[0], what="the file makes an object of")
        if of.attribute.rpartition(".")[2] != name and not of.form.made_by(rule):
            m.refuse("call", f"{rule.name} makes an object of another class", rule.name)
        made = self.named(rule)(*arguments) if m.real else Made(of.name)
        return m.remember(made, of)


class CompiledObjectForm(Form):
    """A compiled class that `__pyx_unpickle_…` makes, without a state."""

    called = True


class EmptyObjectForm(Form):
    """scikit-learn's `newObj`: makes an empty object of a compiled class beside it."""

    called = True
    takes_globals = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The object, which gets a state next."""
        if len(arguments) != 1:
            m.refuse("call", f"{rule.name} is called with other arguments than scikit-learn writes", rule.name)
        of = m.rule_for(arguments[0], what="the file makes an object of")
        if of.module != rule.module:
            m.refuse("call", f"{rule.name} makes an object of another module", rule.name)
        return m.remember(self.named(rule)(arguments[0]) if m.real else Made(of.name), of)


class InertForm(Form):
    """A class that training needs and no answer does: the file gets a stand-in, which keeps what the file gives it."""

    called = True
    takes_names = True

    def named(self, rule: Rule) -> Any:
        """The inert class."""
        return stand_in_class(rule.name)

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """A stand-in."""
        return self.new_named(m, rule, arguments, {})

    def new(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """A stand-in."""
        return self.new_named(m, rule, arguments, {})

    def new_named(self, m: Machine, rule: Rule, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """A stand-in."""
        made = self.named(rule)(*arguments, **named) if m.real else Made(rule.name)
        return m.remember(made, rule)

    def fill(self, m: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Keeps the state."""
        if m.real:
            instance.state = state
        else:
            instance.about["kept"] = state


class StandInForm(Form):
    """This package's own functions that make a stand-in again."""

    called = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The stand-in of a name that has a rule of the kind."""
        name = arguments[0] if arguments else None
        of = m.rules.by_name.get(name) if type(name) is str else None
        wanted = FunctionForm if rule.attribute == "named_function" else InertForm
        fits = of is not None and isinstance(of.form, wanted)
        if rule.attribute == "revived":
            fits = (
                fits
                and len(arguments) <= 3
                and all(type(each) is kind for each, kind in zip(arguments[1:], (tuple, dict), strict=False))
            )
        else:
            fits = fits and len(arguments) == 1
        if not fits or of is None:
            return m.refuse("call", f"{rule.name} is called for something that is no stand-in", rule.name)
        if rule.attribute != "revived":
            return of.form.named(of) if m.real else Named(of.name)
        named = arguments[2] if len(arguments) == 3 else {}
        return of.form.new_named(m, of, arguments[1] if len(arguments) > 1 else (), named)


class GrantedForm(Form):
    """What the caller trusts by name: all that a pickle can do with it."""

    called = True
    takes_names = True
    takes_globals = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The result."""
        return m.remember(self.named(rule)(*arguments) if m.real else Made(rule.name), rule)

    def new(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """A new object."""
        return self.new_named(m, rule, arguments, {})

    def new_named(self, m: Machine, rule: Rule, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """A new object."""
        if not m.real:
            return m.remember(Made(rule.name), rule)
        kind = self.named(rule)
        return m.remember(kind.__new__(kind, *arguments, **named), rule)

    def fill(self, m: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets the state."""
        if not m.real:
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


def _texts(count: int) -> Callable[[tuple[Any, ...]], bool]:
    return lambda arguments: len(arguments) == count and all(type(each) is str for each in arguments)


def _is_bytearray(arguments: tuple[Any, ...]) -> bool:
    if len(arguments) == 2:
        return type(arguments[0]) is str and arguments[1] in ("latin-1", "latin1")
    return len(arguments) == 0 or (len(arguments) == 1 and type(arguments[0]) is bytes)


def _is_range(arguments: tuple[Any, ...]) -> bool:
    if not 1 <= len(arguments) <= 3 or not all(type(each) is int for each in arguments):
        return False
    if len(arguments) == 3 and arguments[2] == 0:
        return False
    # A range takes a few bytes in the file, and an array of any size once a library has made one of it.
    return not range(*arguments)[MOST_IN_RANGE:]


def _is_slice(arguments: tuple[Any, ...]) -> bool:
    return len(arguments) == 3 and all(type(each) in (int, str, type(None)) for each in arguments)


def _is_collection(arguments: tuple[Any, ...]) -> bool:
    return len(arguments) == 1 and type(arguments[0]) in (list, tuple)


FORMS: Mapping[str, Form] = {
    "held": HeldForm(),
    "function": FunctionForm(),
    "object": ObjectForm(),
    "mapping": MappingForm(),
    "defaultdict": DefaultDictForm(),
    "reconstructor": ReconstructorForm(),
    "newobj": NewObjectForm(),
    "bytearray": PlainCallForm(_is_bytearray),
    "bytes": PlainCallForm(lambda arguments: not arguments),
    "set": PlainCallForm(_is_collection, keys=lambda arguments: arguments[0]),
    "slice": PlainCallForm(_is_slice),
    "range": PlainCallForm(_is_range),
    "complex": PlainCallForm(lambda arguments: len(arguments) == 2 and all(type(each) is float for each in arguments)),
    "encode": PlainCallForm(lambda arguments: _texts(2)(arguments) and arguments[1] == "latin1"),
    "numbers": NumbersForm(),
    "tuple": TupleForm(),
    "compiled": CompiledForm(),
    "compiled object": CompiledObjectForm(),
    "empty object": EmptyObjectForm(),
    "inert": InertForm(),
    "stand-in": StandInForm(),
    "granted": GrantedForm(),
}


__all__ = ("FORMS", "Form")
