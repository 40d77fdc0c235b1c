"""Forms of compiled classes that Cython's own functions make."""

from collections.abc import Mapping
from typing import Any

from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.rule import Form, Rule
from model_store.serialization.structure.values import Made


class NumbersForm(Form):
    """A small compiled object that is made from numbers, such as a loss."""

    called = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The object."""
        if len(arguments) > 3 or not all(type(each) in (int, float, bool) for each in arguments):
            machine.refuse("call", f"{rule.name} is made from values that are not numbers", rule.name)
        return self.named(rule)(*arguments) if machine.real else Made(rule.name)


class CompiledForm(Form):
    """`__pyx_unpickle_…`: how Cython makes an object of the class that the function is named after."""

    called = True
    takes_globals = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The object."""
        name = rule.attribute.removeprefix("__pyx_unpickle_")
        fits = len(arguments) == 3 and type(arguments[1]) is int and arguments[2] in (None, ())
        if not fits:
            machine.refuse("call", f"{rule.name} is called with arguments that Cython does not write", rule.name)
        of = machine.rule_for(arguments[0], what="the file makes an object of")
        if of.attribute.rpartition(".")[2] != name and not of.form.made_by(rule):
            machine.refuse("call", f"{rule.name} makes an object of another class", rule.name)
        made = self.named(rule)(*arguments) if machine.real else Made(of.name)
        return machine.remember(made, of)


class CompiledObjectForm(Form):
    """A compiled class that `__pyx_unpickle_…` makes, without a state."""

    called = True


class EmptyObjectForm(Form):
    """scikit-learn's `newObj`: makes an empty object of a compiled class beside it."""

    called = True
    takes_globals = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The object, which gets a state next."""
        if len(arguments) != 1:
            machine.refuse("call", f"{rule.name} is called with arguments that scikit-learn does not write", rule.name)
        of = machine.rule_for(arguments[0], what="the file makes an object of")
        if of.module != rule.module:
            machine.refuse("call", f"{rule.name} makes an object of another module", rule.name)
        return machine.remember(self.named(rule)(arguments[0]) if machine.real else Made(of.name), of)


FORMS: Mapping[str, Form] = {
    "numbers": NumbersForm(),
    "compiled": CompiledForm(),
    "compiled object": CompiledObjectForm(),
    "empty object": EmptyObjectForm(),
}
