"""A rule, and what every form of a rule has."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_store.serialization.names import present_name

if TYPE_CHECKING:
    from model_store.serialization.structure.machine import Machine


class Form:
    """The form of a global that can be named and held, and nothing else."""

    called = False
    """Whether it can stand where something is called or made."""
    takes_globals = False
    """Whether its arguments can be classes that a model cannot hold."""
    takes_names = False
    """Whether it is made with named arguments."""
    mapping = False
    """Whether items can be set in what it makes."""
    needs_state = False
    """Whether what it makes is unsafe before it has got a state."""

    def named(self, rule: "Rule") -> Any:
        """What the name stands for."""
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
        because: why it is there.
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
        """The rule for what a caller trusts by name: everything that a pickle can do with it."""
        return Rule(module, name, self.granted, held=True, because="the caller trusts it")
