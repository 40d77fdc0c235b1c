"""What a pickle may name: exact globals, as data that one can read (`trusted_globals.json`).

The list has three parts. `scripts/list_trusted_globals.py` writes it and says how.

- `loaded`: classes, and the few functions that make them again from a state. The unpickler gets the real ones.
- `stand_in_classes`: needed to train a model, never to ask it (scorers, distributions of a search). The unpickler gets
  an inert class of the same name.
- `stand_in_functions`: held by a model as data. The unpickler gets their names; none of them can be called by a pickle.
"""

import json
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from functools import cache
from pathlib import Path

TRUSTED_GLOBALS_FILE = Path(__file__).with_name("trusted_globals.json")

Global = tuple[str, str]
"""Module and name within it."""


@cache
def _part(part: str) -> frozenset[Global]:
    by_module: dict[str, list[str]] = json.loads(TRUSTED_GLOBALS_FILE.read_text(encoding="utf-8"))[part]
    return frozenset((module, name) for module, names in by_module.items() for name in names)


def loaded() -> frozenset[Global]:
    """What the unpickler gets as it is."""
    return _part("loaded")


def stand_in_classes() -> frozenset[Global]:
    """What the unpickler gets an inert class for."""
    return _part("stand_in_classes")


def stand_in_functions() -> frozenset[Global]:
    """What the unpickler gets the name of."""
    return _part("stand_in_functions")


@cache
def trusted_globals() -> frozenset[str]:
    """Full names of everything that a file may name by default."""
    return frozenset(f"{module}.{name}" for module, name in loaded() | stand_in_classes() | stand_in_functions())


def present_name(module: str, name: str) -> Global:
    """A global by the name that the list has: pickles of protocols 0 to 2 use names of Python 2."""
    if module == "model_store.serialization.stand_ins":  # written by one version for a short time
        module = "model_store.stand_ins"
    return NAME_MAPPING.get((module, name)) or (IMPORT_MAPPING.get(module, module), name)
