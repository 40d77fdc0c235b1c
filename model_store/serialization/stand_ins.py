"""Inert stand-ins for objects that a loaded model holds but never needs for an answer.

A search wrapper holds its scorer and its distributions, an XGBoost estimator its callbacks: functions and objects that
an unpickler could call. The unpickler makes a stand-in instead, which holds the name and the state, can be pickled
again, and does nothing.
"""

import copyreg
import importlib
import inspect
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from model_store.errors import UntrustedType
from model_store.serialization.allow_list import stand_in_classes, stand_in_functions


class NamedFunction:
    """The name of a function. `held_functions` puts known ones back where a model really calls them.

    Args:
        full_name: such as `numpy.log1p`.
    """

    __slots__ = ("full_name",)

    def __init__(self, full_name: str) -> None:
        self.full_name = full_name

    def __call__(self, *_arguments: object, **_named: object) -> None:
        """Always raises `UntrustedType`: a file cannot call what it only names."""
        raise UntrustedType(self.full_name, "a function that it may hold but not call")

    def __repr__(self) -> str:
        return f"<the name of {self.full_name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return named_function, (self.full_name,)


class StandInClass(type):
    """Class of the inert classes: they can be pickled although no module holds them."""

    full_name: str


class StandIn(metaclass=StandInClass):
    """An object of an inert class: keeps what a pickle gives it."""

    full_name = ""
    arguments: tuple[Any, ...] = ()
    named: Mapping[str, Any] = MappingProxyType({})
    state: Any = None

    def __new__(cls, *arguments: Any, **named: Any) -> "StandIn":
        """Keeps the arguments."""
        self = super().__new__(cls)
        self.arguments, self.named = arguments, named
        return self

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __repr__(self) -> str:
        return f"<stand-in for a {self.full_name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return revived, (self.full_name, self.arguments, dict(self.named)), self.state


class ScorerStandIn(StandIn):
    """A stand-in for a scorer; `TunedThresholdClassifierCV.predict` asks it for the positive class."""

    def _get_pos_label(self) -> Any:
        state = self.state if isinstance(self.state, Mapping) else {}
        if "pos_label" in state.get("_kwargs", {}):
            return state["_kwargs"]["pos_label"]
        function = state.get("_score_func")
        if not isinstance(function, NamedFunction):
            return None
        parameters = inspect.signature(real_function(function.full_name)).parameters
        return parameters["pos_label"].default if "pos_label" in parameters else None


def named_function(full_name: str) -> NamedFunction:
    """What a pickle gets for a function of the list, or names to make such a name again.

    Raises:
        UntrustedType: it is not on the list.
    """
    if full_name not in _names(functions=True):
        raise UntrustedType(full_name)
    return NamedFunction(full_name)


@cache
def stand_in_class(full_name: str) -> StandInClass:
    """The inert class for a class of the list.

    Raises:
        UntrustedType: it is not on the list.
    """
    if full_name not in _names(functions=False):
        raise UntrustedType(full_name)
    base = ScorerStandIn if full_name.startswith("sklearn.metrics._scorer.") else StandIn
    return StandInClass(full_name.rpartition(".")[2], (base,), {"full_name": full_name, "__module__": __name__})


def revived(full_name: str, arguments: tuple[Any, ...] = (), named: Mapping[str, Any] | None = None) -> StandIn:
    """What a pickle of a stand-in names to make it again.

    Raises:
        UntrustedType: it stands for nothing on the list.
    """
    made: StandIn = stand_in_class(full_name)(*arguments, **(named or {}))
    return made


def real_function(full_name: str) -> Any:
    """A function of the list, imported.

    Raises:
        UntrustedType: it is not on the list.
    """
    if full_name not in _names(functions=True):
        raise UntrustedType(full_name)
    module, _, name = full_name.rpartition(".")
    return getattr(importlib.import_module(module), name)


for _written in (named_function, stand_in_class, revived):
    _written.__module__ = "model_store.stand_ins"  # what artifacts name; it stays, wherever this file goes


def _class_reduction(inert: StandInClass) -> tuple[Any, ...]:
    return stand_in_class, (inert.full_name,)


copyreg.pickle(StandInClass, _class_reduction)


@cache
def _names(*, functions: bool) -> frozenset[str]:
    listed = stand_in_functions() if functions else stand_in_classes()
    return frozenset(f"{module}.{name}" for module, name in listed)
