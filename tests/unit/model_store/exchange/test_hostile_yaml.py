"""YAML from outside, and the values in it, may be of any kind and size."""

import json
import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.errors import (
    ModelStoreError,
    UnreadableModel,
)
from model_store.registry.exchange.mlmodel import model_file, parse_mlmodel
from model_store.registry.exchange.signature import features_of_signature
from model_store.serialization.plain_yaml import read_yaml
from tests.unit.model_store.exchange.spoiled import BOMB


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BOMB.encode(), "an anchor or an alias"),
        (b"flavors: &x [*x]\n", "an anchor or an alias"),
        (b"flavors: !!python/object/apply:os.system ['touch /tmp/ran']\n", "a tag"),
        (b"flavors: !!binary aGVsbG8=\n", "a tag"),
        (b"a: " + b"[" * 200 + b"]" * 200, "nested more than"),
        (b"a: " + b"[" * 200_000, "nested more than"),
        (b"a: " + b"{a: " * 40 + b"}" * 40, "nested more than"),
        (b"[" + b"1," * 200_000 + b"]", "more than 100000 values"),
        (b"flavors: {}\nflavors: {}\n", "'flavors' twice"),
        (b"? [a, b]\n: 1\n", "a key that is not a text"),
        (b"a: 1\n---\nb: 2\n", "several documents"),
        (b"", "is empty"),
        (b"# nothing\n", "is empty"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"a: [1, 2\n", "is not YAML (line"),
        (b"a: b: c\n", "is not YAML (line 1)"),
        (b"a: \x00", "is not YAML"),
        (b"x" * (5 << 20), "more than 4 MiB"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value[:30],
)
def test_yaml_with_aliases_tags_or_bad_syntax_is_refused(content: bytes, reason: str) -> None:
    started = time.monotonic()
    with pytest.raises(ModelStoreError) as caught:
        read_yaml(content, "MLmodel")
    assert reason in str(caught.value)
    assert time.monotonic() - started < 5


def test_plain_values_are_read_as_mlflow_writes_them() -> None:
    values = {
        "text": "a: b", "version": "1.10", "number": 1.5, "whole": -3, "none": None, "yes": True, "list": [1, "2"],
        "date": "2026-11-26 21:13:15.25", "empty": {}, "lines": "one\ntwo\n", "uuid": "1e10", "digits": "0123",
    }  # fmt: skip
    assert read_yaml(yaml.safe_dump(values).encode(), "MLmodel") == values


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = ("run_id", "signature", "metadata", "utc_time_created", "mlflow_version", "saved_input_example_info")
_OF_A_FLAVOUR = ("pickled_model", "data", "serialization_format", "model_class", "code", "xgb_version")
_FLAVOURS = st.dictionaries(
    st.sampled_from(("sklearn", "xgboost", "lightgbm", "python_function")),
    st.dictionaries(st.sampled_from(_OF_A_FLAVOUR), _PLAIN | st.just("model.pkl"), max_size=5) | _PLAIN,
    max_size=3,
)


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries({"flavors": _FLAVOURS | _PLAIN}, optional=dict.fromkeys(_FIELDS, _PLAIN)))
def test_wrong_kinds_in_every_field_are_errors_of_this_package(document: Any) -> None:
    try:
        found = parse_mlmodel(document)
        model_file(found)
        features_of_signature(found.signature)
    except ModelStoreError:
        return


@settings(max_examples=300, deadline=None)
@given(_PLAIN, st.sampled_from(("type", "name", "tensor-spec")))
def test_wrong_kinds_in_a_signature_are_errors_of_this_package(value: Any, key: str) -> None:
    for inputs in (value, [value], [{"type": "double", "name": "a", key: value}]):
        try:
            features_of_signature({"inputs": json.dumps(inputs)})
        except UnreadableModel:
            continue
