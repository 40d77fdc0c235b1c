"""What a file may name, in parts, for those who ask for names only; the rules are in `structure/rules.json`."""

from functools import cache

from model_store.serialization.names import Global
from model_store.serialization.structure.rules import rules


@cache
def _of_form(form: str) -> frozenset[Global]:
    from model_store.serialization.structure.forms import FORMS

    return frozenset((rule.module, rule.attribute) for rule in rules().values() if rule.form is FORMS[form])


def stand_in_classes() -> frozenset[Global]:
    """Needed to train a model, never to ask it: a file gets an inert class of the same name."""
    return _of_form("inert")


def stand_in_functions() -> frozenset[Global]:
    """Held by a model as data: a file gets their names, and cannot call them."""
    return _of_form("function")


@cache
def trusted_globals() -> frozenset[str]:
    """Full names of everything that a file may name by default."""
    return frozenset(rules())
