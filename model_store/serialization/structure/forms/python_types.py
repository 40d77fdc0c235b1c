"""Forms of Python's own types and constructors: builtins, `collections`, `copyreg`, named tuples."""

from collections.abc import Callable, Mapping
from typing import Any

from model_store.serialization.structure.forms.objects import ObjectForm, is_named
from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.rule import Form, Rule
from model_store.serialization.structure.values import Made

MOST_IN_RANGE = 1_000_000


class MappingForm(ObjectForm):
    """A dictionary of a class of its own."""

    mapping = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """Empty, or from a list of pairs, as protocols 0 to 2 write it."""
        made = self.empty(machine, rule)
        if arguments:
            (pairs,) = arguments if len(arguments) == 1 else (None,)
            if type(pairs) is not list or not all(type(each) in (list, tuple) and len(each) == 2 for each in pairs):
                machine.refuse("call", f"{rule.name} is called with items that are not pairs", rule.name)
            machine.require_keys(key for key, _ in pairs)
            if machine.real:
                made.update(pairs)
        return machine.remember(made, rule)

    def empty(self, machine: Machine, rule: Rule) -> Any:
        """An empty one."""
        return self.named(rule)() if machine.real else Made(rule.name)


class DefaultDictForm(Form):
    """`defaultdict` of a class that makes an empty value."""

    called = True
    takes_globals = True
    mapping = True
    factories = ("builtins.list", "builtins.int", "builtins.float", "builtins.dict", "builtins.set",
                 "builtins.str", "collections.OrderedDict")  # fmt: skip

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """An empty one."""
        if len(arguments) != 1 or not any(is_named(arguments[0], name) for name in self.factories):
            machine.refuse("call", "a defaultdict has a factory that does not make an empty value", rule.name)
        return machine.remember(self.named(rule)(arguments[0]) if machine.real else Made(rule.name), rule)


class ReconstructorForm(Form):
    """`copyreg._reconstructor`: how protocols 0 and 1 make an object."""

    called = True
    takes_globals = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """An object of a class that a rule lets the file make."""
        if len(arguments) != 3:
            machine.refuse("call", f"{rule.name} is called with arguments that Python does not write", rule.name)
        kind, base, value = arguments
        of = machine.rule_for(kind, what="the file makes an object of")
        if is_named(base, "builtins.object") and value is None:
            return of.form.new(machine, of, ())
        if of.form.mapping and is_named(base, "builtins.dict") and type(value) is dict:
            made = of.form.call(machine, of, ())
            if machine.real:
                made.update(value)
            return made
        if isinstance(of.form, TupleForm) and is_named(base, "builtins.tuple") and type(value) is tuple:
            return of.form.new(machine, of, value)
        return machine.refuse("call", f"{rule.name} starts from a value that is not an empty object", rule.name)


class NewObjectForm(Form):
    """`copyreg.__newobj__`: how protocol 2 makes an object where the instruction is not used."""

    called = True
    takes_globals = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """An object of a class that a rule lets the file make."""
        if not arguments:
            machine.refuse("call", f"{rule.name} is called with arguments that Python does not write", rule.name)
        of = machine.rule_for(arguments[0], what="the file makes an object of")
        machine.require_held(arguments[1:])
        return of.form.new(machine, of, arguments[1:])


class PlainCallForm(Form):
    """A constructor of plain values; each argument is checked."""

    called = True

    def __init__(self, check: Callable[[tuple[Any, ...]], bool], keys: Callable[[Any], Any] | None = None) -> None:
        self._check = check
        self._keys = keys

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The value."""
        if not self._check(arguments):
            machine.refuse("call", f"{rule.name} is called with arguments that Python does not write", rule.name)
        if self._keys is not None:
            machine.require_keys(self._keys(arguments))
        return Form.named(self, rule)(*arguments)


class TupleForm(Form):
    """A named tuple."""

    called = True

    def new(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The tuple."""
        if not machine.real:
            return Made(rule.name, items=arguments)
        kind = self.named(rule)
        if len(arguments) != len(kind._fields):
            machine.refuse("make", f"a {rule.name} has a wrong number of fields", rule.name)
        return kind(*arguments)


def _takes_texts(count: int) -> Callable[[tuple[Any, ...]], bool]:
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
    # A range takes a few bytes in the file; a library can turn it into an array of any size.
    return not range(*arguments)[MOST_IN_RANGE:]


def _is_slice(arguments: tuple[Any, ...]) -> bool:
    return len(arguments) == 3 and all(type(each) in (int, str, type(None)) for each in arguments)


def _is_collection(arguments: tuple[Any, ...]) -> bool:
    return len(arguments) == 1 and type(arguments[0]) in (list, tuple)


FORMS: Mapping[str, Form] = {
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
    "encode": PlainCallForm(lambda arguments: _takes_texts(2)(arguments) and arguments[1] == "latin1"),
    "tuple": TupleForm(),
}
