"""A rule, and the interface of a rule's form."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_store.serialization.names import present_name

if TYPE_CHECKING:
    from model_store.serialization.structure.machine import Machine


class Form:
    """The form of a global that can only be named and held."""

    called = False
    """Whether a file can call it or make objects of it."""
    takes_globals = False
    """Whether its arguments can be classes that a model cannot hold."""
    takes_names = False
    """Whether it is made with named arguments."""
    mapping = False
    """Whether items can be set in what it makes."""
    needs_state = False
    """Whether its objects are unsafe before they get a state."""

    def named(self, rule: "Rule") -> Any:
        """The class, function or constant of the name."""
        found: Any = importlib.import_module(rule.module)
        for part in rule.attribute.split("."):
            found = getattr(found, part)
        return found

    def made_by(self, _rule: "Rule") -> bool:
        """Whether a function of Cython that is not named after the class makes it."""
        return False

    def call(self, machine: "Machine", rule: "Rule", arguments: tuple[Any, ...]) -> Any:
        """The result of a call."""
        return machine.refuse("call", f"{rule.name} is called", rule.name)

    def new(self, machine: "Machine", rule: "Rule", arguments: tuple[Any, ...]) -> Any:
        """A new object of a class, without a state."""
        return machine.refuse("make", f"an object of {rule.name} is made", rule.name)

    def new_named(self, machine: "Machine", rule: "Rule", arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """A new object of a class from named arguments."""
        return machine.refuse("make", f"an object of {rule.name} is made", rule.name)

    def fill(self, machine: "Machine", rule: "Rule", instance: Any, state: Any) -> Any:
        """Sets a state; returns what takes the instance's place, or None."""
        return machine.refuse("state", f"a {rule.name} takes no state", rule.name)


@dataclass(frozen=True)
class Rule:
    """What a pickle may do with one class or function.

    Attributes:
        module: where it is.
        attribute: its name there.
        form: how it is called, made and filled.
        held: whether a model may hold the class or function itself.
        because: the reason for the rule.
    """

    module: str
    attribute: str
    form: Form
    held: bool
    because: str

    @property
    def name(self) -> str:
        """The full name."""
        return f"{self.module}.{self.attribute}"


@dataclass(frozen=True)
class Rulebook:
    """The rules that a pickle is read by.

    Attributes:
        by_name: every rule by the full name.
        granted: the form of what a caller trusts by name.
    """

    by_name: Mapping[str, Rule]
    granted: Form

    def of(self, module: str, name: str) -> Rule | None:
        """The rule of a global as a pickle names it; names of Python 2 and of earlier versions are known."""
        module, name = present_name(module, name)
        return self.by_name.get(f"{module}.{name}")

    def grant(self, module: str, name: str) -> Rule:
        """The rule for a name that the caller trusts: a pickle can use it in every way."""
        return Rule(module, name, self.granted, held=True, because="the caller trusts it")
