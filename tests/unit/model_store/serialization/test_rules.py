"""Each rule is abused in the ways that all have in common: nothing that a file can do with a name runs anything.

What the abuse of one form only is, `mechanisms.py` and `number_mechanisms.py` have.
"""

import io
import warnings
from collections.abc import Callable
from typing import Any, cast

import pandas as pd
import pytest

from model_store.errors import ModelStoreError, StructureRefused
from model_store.serialization.formats import SerializationFormat, load_model
from model_store.serialization.stand_ins import NamedFunction, StandInClass
from model_store.serialization.structure.interpreter import run
from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.rules import rules
from tests.fuzz.checks import import_what_rules_name
from tests.fuzz.watch import watched
from tests.unit.model_store.serialization.assembler import (
    BUILD,
    EMPTY_DICT,
    EMPTY_TUPLE,
    NEWOBJ,
    SETITEM,
    attributes,
    call,
    items,
    made,
    name,
    pickled,
    text,
)

_COMMAND = text("touch canary")
_HARMLESS = {"numpy.random.bit_generator.__pyx_unpickle_SeedSequence"}
"""Makes the same new object whatever it is given."""
_HAVE_METHODS_AS_DATA = {
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
}
_ABUSES: dict[str, Callable[[str], bytes]] = {
    "called with a name": lambda of: call(name(of), text("os.system")),
    "called with a name and a command": lambda of: call(name(of), text("os.system"), _COMMAND),
    "called with itself": lambda of: call(name(of), name(of), _COMMAND),
    "made from a command": lambda of: name(of) + items(_COMMAND) + NEWOBJ,
    "its result called": lambda of: call(call(name(of)), _COMMAND),
    "its object called": lambda of: call(name(of) + EMPTY_TUPLE + NEWOBJ, _COMMAND),
    "itself changed": lambda of: name(of) + attributes(fit=_COMMAND) + BUILD,
    "another class": lambda of: made(of, attributes(__class__=_COMMAND)),
    "a method hidden": lambda of: made(of, attributes(predict=_COMMAND)),
    "filled twice": lambda of: made(of, attributes(one=_COMMAND)) + attributes(two=_COMMAND) + BUILD,
    "its object as a key": lambda of: EMPTY_DICT + made(of) + _COMMAND + SETITEM,
}


@pytest.mark.parametrize("abuse", _ABUSES)
def test_no_rule_can_be_abused(abuse: str) -> None:
    import_what_rules_name()
    let_through = []
    for full_name in rules().by_name:
        with warnings.catch_warnings(), watched(deeds=True):
            warnings.simplefilter("ignore")
            try:
                _load(pickled(_ABUSES[abuse](full_name)))
            except ModelStoreError:
                continue
            let_through.append(full_name)
    expected = {
        "called with a name": _HARMLESS,
        "called with a name and a command": _HARMLESS,
        "called with itself": _HARMLESS,
        "a method hidden": _HAVE_METHODS_AS_DATA,
    }
    assert set(let_through) == expected.get(abuse, set())


def test_only_what_a_rule_says_is_held_and_a_function_only_by_its_name() -> None:
    for full_name, rule in rules().by_name.items():
        machine = Machine(cast("Any", io.BytesIO(pickled(name(full_name)))), rules())
        if not rule.held:
            with pytest.raises(StructureRefused):
                run(machine)
            continue
        found = run(machine)
        assert isinstance(found, NamedFunction | StandInClass | type) or found is pd.NA, full_name


def _load(content: bytes) -> Any:
    return load_model(io.BufferedReader(cast("Any", io.BytesIO(content))), SerializationFormat.PICKLE)
