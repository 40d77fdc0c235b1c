"""Forms of what a load replaces by a stand-in: functions, and classes that only training needs."""

from collections.abc import Mapping
from typing import Any

from model_store.serialization.stand_ins import named_function, stand_in_class
from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.rule import Form, Rule
from model_store.serialization.structure.values import Made, Named


class FunctionForm(Form):
    """A function that a model holds: what the file gets is its name."""

    def named(self, rule: Rule) -> Any:
        """A name that cannot be called."""
        return named_function(rule.name)


class InertForm(Form):
    """A class that only training needs: the file gets a stand-in, which stores its arguments and state."""

    called = True
    takes_names = True

    def named(self, rule: Rule) -> Any:
        """The inert class."""
        return stand_in_class(rule.name)

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """A stand-in."""
        return self.new_named(machine, rule, arguments, {})

    def new(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """A stand-in."""
        return self.new_named(machine, rule, arguments, {})

    def new_named(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """A stand-in."""
        made = self.named(rule)(*arguments, **named) if machine.real else Made(rule.name)
        return machine.remember(made, rule)

    def fill(self, machine: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Keeps the state."""
        if machine.real:
            instance.state = state
        else:
            instance.about["kept"] = state


class StandInForm(Form):
    """This package's own functions that make a stand-in again."""

    called = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The stand-in of a name that has a rule of the kind."""
        name = arguments[0] if arguments else None
        of = machine.rules.by_name.get(name) if type(name) is str else None
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
            return machine.refuse("call", f"{rule.name} is called for something that is not a stand-in", rule.name)
        if rule.attribute != "revived":
            return of.form.named(of) if machine.real else Named(of.name)
        named = arguments[2] if len(arguments) == 3 else {}
        return of.form.new_named(machine, of, arguments[1] if len(arguments) > 1 else (), named)


FORMS: Mapping[str, Form] = {
    "function": FunctionForm(),
    "inert": InertForm(),
    "stand-in": StandInForm(),
}
