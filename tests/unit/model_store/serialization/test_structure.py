"""Opening a file runs nothing: each way to abuse one is refused by its rule, its near twin loads."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store.errors import ModelStoreError, StructureRefused, UnreadableModel, UntrustedType
from model_store.serialization.structure.rule import Form
from model_store.serialization.structure.rules import FORMS, rules
from model_store.serialization.trust import inspect_pickle, load_pickle
from tests.unit.model_store.serialization.assembler import (
    APPEND,
    BUILD,
    EMPTY_DICT,
    EMPTY_LIST,
    SETITEM,
    call,
    items,
    name,
    of,
    pickled,
    text,
)
from tests.unit.model_store.serialization.mechanisms import MECHANISMS, Mechanism
from tests.unit.model_store.serialization.number_mechanisms import NUMBERS, Numbers, content_of, twin_of


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda each: each.name)
def test_a_mechanism_is_refused_by_its_rule_and_runs_nothing(mechanism: Mechanism, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    content = mechanism.bad(f"touch {canary}")
    with pytest.raises(UntrustedType) as refused:
        load_pickle(io.BufferedReader(io.BytesIO(content)))
    assert refused.value.rule == mechanism.rule, str(refused.value)
    assert "none of it was run" in str(refused.value)
    found = inspect_pickle(io.BufferedReader(io.BytesIO(content)))
    assert found["refused"] is not None
    assert found["refused"]["rule"] == mechanism.rule
    assert not canary.exists()


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda each: each.name)
def test_its_near_twin_loads(mechanism: Mechanism) -> None:
    load_pickle(io.BufferedReader(io.BytesIO(mechanism.good)))
    assert inspect_pickle(io.BufferedReader(io.BytesIO(mechanism.good)))["refused"] is None


@pytest.mark.parametrize("field", [(np.dtype("O"), 0), [np.dtype("i8"), 0]])
def test_a_type_keeps_the_fields_that_were_looked_at(field: Any) -> None:
    """The stream changes the dictionary of a type's fields once the type is filled: memory as an object's address."""
    fields = EMPTY_DICT + b"q\xf1" + text("a") + of((np.dtype("i8"), 0)) + SETITEM
    state = items(of(3), text("|"), of(None), of(("a",)), fields, of(8), of(1), of(16))
    typed = call(name("numpy.dtype"), text("V8"), b"\x89", b"\x88") + state + BUILD
    later = b"h\xf1" + text("a") + of(field) + SETITEM + b"0"
    content = pickled(EMPTY_LIST, typed, b"q\xf2", b"0", later, b"h\xf2", APPEND)
    (loaded,) = load_pickle(io.BufferedReader(io.BytesIO(content)))
    assert not loaded.hasobject
    assert loaded == np.dtype([("a", "<i8")])


def test_mechanism_names_are_unique() -> None:
    assert len({each.name for each in MECHANISMS}) == len(MECHANISMS) >= 60


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"\x80\x04X\xff\x00\x00\x00abc", b"\x80\x04]q"])
def test_a_truncated_pickle_is_reported_as_truncated(content: bytes) -> None:
    with pytest.raises(UnreadableModel):
        load_pickle(io.BufferedReader(io.BytesIO(content)))


def test_arbitrary_bytes_raise_a_typed_error() -> None:
    import random

    generator = random.Random(0)
    for _ in range(3000):
        content = bytearray(generator.choice(MECHANISMS).good)
        for _ in range(generator.randint(1, 4)):
            content[generator.randrange(len(content))] = generator.randrange(256)
        try:
            load_pickle(io.BufferedReader(io.BytesIO(bytes(content))))
        except (ModelStoreError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
            continue


def test_every_rule_says_why_and_has_a_form() -> None:
    for rule in rules().by_name.values():
        assert isinstance(rule.form, Form)
        assert len(rule.because) > 10, rule.name
    assert "granted" in FORMS
    assert not any(rule.form is FORMS["granted"] for rule in rules().by_name.values())


@pytest.mark.parametrize("numbers", NUMBERS, ids=lambda each: each.name)
def test_a_number_that_is_used_as_a_place_is_looked_at(numbers: Numbers) -> None:
    content = content_of(numbers)
    with pytest.raises(StructureRefused) as refused:
        load_pickle(io.BufferedReader(io.BytesIO(content)))
    assert refused.value.rule == numbers.rule, str(refused.value)
    found = inspect_pickle(io.BufferedReader(io.BytesIO(content)))
    assert found["refused"] is not None
    assert found["refused"]["rule"] == refused.value.rule


@pytest.mark.parametrize("numbers", NUMBERS, ids=lambda each: each.name)
def test_the_model_as_it_was_loads(numbers: Numbers) -> None:
    content = twin_of(numbers)
    load_pickle(io.BufferedReader(io.BytesIO(content)))
    assert inspect_pickle(io.BufferedReader(io.BytesIO(content)))["refused"] is None


def test_a_pickle_of_too_many_instructions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_store.serialization.structure.machine.MOST_INSTRUCTIONS", 1000)
    content = pickled(b"](", b"]" * 1000, b"e")
    assert inspect_pickle(io.BufferedReader(io.BytesIO(content)))["refused"]["rule"] == "size"
    assert inspect_pickle(io.BufferedReader(io.BytesIO(content.replace(b"]" * 900, b"]" * 800))))["refused"] is None
