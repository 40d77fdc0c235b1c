"""Forms of numpy's random generators: their states lie within the generators' bounds."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.rule import Form, Rule

_TWISTER_WORDS = 624


class BitGeneratorForm(Form):
    """`__bit_generator_ctor`: a random generator's source."""

    called = True
    takes_globals = True
    kinds: Mapping[str, Any] = {"MT19937": np.random.MT19937, "PCG64": np.random.PCG64}

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """A new source."""
        kind = arguments[0] if arguments else None
        name = kind if type(kind) is str else getattr(kind, "__name__", getattr(kind, "name", "")).rpartition(".")[2]
        if name not in self.kinds or len(arguments) > 2:
            machine.refuse("random", "an unknown kind of random generator", rule.name)
        return machine.remember(self.kinds[name](0), rule)

    def fill(self, machine: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets numbers within the generator's bounds."""
        state = state[0] if type(state) is tuple and len(state) == 2 else state
        require_random_state(machine, rule, state, type(instance).__name__)
        _set_random_state(machine, rule, lambda: setattr(instance, "state", state))


def require_random_state(machine: Machine, rule: Rule, state: Any, kind: str) -> None:
    """Raises StructureRefused unless a random generator's state lies within its bounds."""
    inner = state.get("state") if type(state) is dict else None
    if type(inner) is not dict or state.get("bit_generator") != kind:
        machine.refuse("random", "a random generator's state is not what numpy writes", rule.name)
    if kind == "MT19937":
        key: Any = inner.get("key")
        place: Any = inner.get("pos")
        fits = isinstance(key, np.ndarray) and key.shape == (_TWISTER_WORDS,) and key.dtype == np.uint32
        if not fits or not _is_integer(place) or not 0 <= place <= _TWISTER_WORDS:
            machine.refuse("random", "a random generator's position lies outside its state", rule.name)
    elif not all(_is_integer(inner.get(name)) for name in ("state", "inc")):
        machine.refuse("random", "a random generator's state is not what numpy writes", rule.name)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


class GeneratorForm(Form):
    """`__randomstate_ctor` and `__generator_ctor`: a random generator around its source."""

    called = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The generator."""
        if not arguments or not isinstance(arguments[0], np.random.BitGenerator) or len(arguments) > 2:
            machine.refuse("random", "a random generator is made without a bit generator", rule.name)
        legacy = "randomstate" in rule.attribute
        made = np.random.RandomState(arguments[0]) if legacy else np.random.Generator(arguments[0])
        return machine.remember(made, rule)

    def fill(self, machine: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets the state of a `RandomState`."""
        if not isinstance(instance, np.random.RandomState):
            machine.refuse("state", f"a {rule.name} takes no state", rule.name)
        require_random_state(machine, rule, state, "MT19937")
        if state.get("has_gauss", 0) not in (0, 1) or not isinstance(state.get("gauss", 0.0), int | float):
            machine.refuse("random", "a random generator's state is not what numpy writes", rule.name)
        _set_random_state(machine, rule, lambda: instance.__setstate__(state))


def _set_random_state(machine: Machine, rule: Rule, set_state: Callable[[], None]) -> None:
    try:
        set_state()
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        machine.refuse("random", f"a random generator refuses its state ({error})", rule.name)


class SeedForm(Form):
    """The seed of a random generator; predictions do not use it."""

    called = True
    takes_globals = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """A seed of its own."""
        return machine.remember(np.random.SeedSequence(0), rule)

    def fill(self, machine: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Checks the state, and keeps the seed."""
        if type(state) is not tuple or len(state) > 6:
            machine.refuse("state", "a seed's state is not what numpy writes", rule.name)


FORMS: Mapping[str, Form] = {
    "bit generator": BitGeneratorForm(),
    "random generator": GeneratorForm(),
    "seed": SeedForm(),
}
