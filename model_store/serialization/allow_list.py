"""The names that a file may hold (`structure/rules.json`); `structure/rules.py` says how each may be used."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from model_store.serialization.names import Global

RULES_FILE = Path(__file__).with_name("structure") / "rules.json"


class Listed(NamedTuple):
    """One name of the file.

    Attributes:
        module: where it is.
        attribute: its name there.
        form: the name of the form that it may be used in.
        held: whether a model may hold the class or function itself.
        because: the reason for the rule.
    """

    module: str
    attribute: str
    form: str
    held: bool
    because: str


@cache
def listed() -> Mapping[str, Listed]:
    """Everything that the file lists, by the full name."""
    return {f"{each.module}.{each.attribute}": each for each in _listed()}


def _listed() -> Iterator[Listed]:
    for heading, group in json.loads(RULES_FILE.read_text(encoding="utf-8")).items():
        form = heading.removesuffix(", held")
        for module, names in group["names"].items():
            for name in names:
                yield Listed(module, name, form, group["held"], group["because"])


@cache
def _form_globals(form: str) -> frozenset[Global]:
    return frozenset((each.module, each.attribute) for each in listed().values() if each.form == form)


def stand_in_classes() -> frozenset[Global]:
    """Classes that only training needs: a file gets an inert class of the same name."""
    return _form_globals("inert")


def stand_in_functions() -> frozenset[Global]:
    """Functions that a model holds as data: a file gets their names and cannot call them."""
    return _form_globals("function")
