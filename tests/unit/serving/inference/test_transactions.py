"""Bodies with gaps: missing keys and `null` are the same gap, in one transaction and in several."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.contract.features import Feature
from serving.inference.transactions import InvalidRequest, TransactionReader

FEATURES = {
    "numbers only": (Feature("a", gaps=True), Feature("b", gaps=True), Feature("c", gaps=False)),
    "another value for a gap": (Feature("a", gaps=True, written=-999.0), Feature("b", gaps=True, written=0.0)),
    "texts": (Feature("a", "text", gaps=True), Feature("b", gaps=True)),
    "categories that are refused otherwise": (
        Feature("a", "category", gaps=True, categories=("x", "null"), unknown="refused"),
        Feature("b", "category", gaps=True, categories=(1, 2), unknown="refused"),
        Feature("c", gaps=True),
    ),
    "times": (Feature("a", "time", gaps=True), Feature("b", gaps=True)),
}
GAP = object()
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "text": st.sampled_from(("shop", "null", "", "a null b")),
    "time": st.just("2026-10-09T14:00:00Z"),
}


def _sent(feature: Feature) -> st.SearchStrategy[Any]:
    """A value, `None` for a `null` in the body, `GAP` for a missing key."""
    values = st.sampled_from(feature.categories) if feature.categories else _VALUES[feature.kind]
    return st.one_of(values, st.none(), st.just(GAP)) if feature.gaps else values


def _expected(feature: Feature, sent: Any) -> Any:
    """What the estimator is given, from what the contract says of gaps."""
    if sent is not None and sent is not GAP:
        return sent
    if feature.written is not None:
        return feature.written
    return None if feature.kind in ("text", "time") or isinstance((*feature.categories, 0)[0], str) else math.nan


@pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES)
@given(data=st.data())
def test_a_gap_is_what_the_contract_writes_however_it_is_sent(features: tuple[Feature, ...], data: Any) -> None:
    rows = data.draw(st.lists(st.tuples(*map(_sent, features)), min_size=1, max_size=4))
    transactions = [
        {each.name: sent for each, sent in zip(features, row, strict=True) if sent is not GAP} for row in rows
    ]
    expected = [[_expected(each, sent) for each, sent in zip(features, row, strict=True)] for row in rows]
    reader = TransactionReader(features, 10)
    together = reader.rows(json.dumps({"transactions": transactions}).encode())
    alone = [reader.rows(json.dumps({"transaction": each}).encode())[0] for each in transactions]
    for found in (together, alone):
        assert repr([list(row) for row in found]) == repr(expected)


@pytest.mark.parametrize("value", ["elsewhere", "", "NULL"])
def test_an_unknown_category_beside_a_gap_is_still_refused(value: str) -> None:
    reader = TransactionReader(FEATURES["categories that are refused otherwise"], 10)
    with pytest.raises(InvalidRequest, match="the model knows x, null"):
        reader.rows(json.dumps({"transaction": {"a": value}}).encode())


@pytest.mark.parametrize("kind", ["number", "integer", "category"])
@pytest.mark.parametrize("digits", [19, 20, 39, 309, 400, 4000])
def test_a_whole_number_past_floats_is_not_finite_in_every_kind_of_column(kind: Any, digits: int) -> None:
    features = (Feature("a", kind, gaps=False, categories=(1, 2) if kind == "category" else ()), Feature("b"))
    body = b'{"transaction": {"a": ' + b"9" * digits + b', "b": 1}}'
    reader = TransactionReader(features, 10)
    if digits < 309:
        assert float(reader.rows(body)[0][0]) == float("9" * digits)
        return
    with pytest.raises(InvalidRequest, match="a is not a finite number") as refused:
        reader.rows(body)
    assert refused.value.code == "not_finite"
