"""What a pipeline does to its columns, row by row and many at once, beside scikit-learn's own transformers."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from model_store.contract.columns import Columns, NeedsOwnLibrary
from model_store.contract.pipeline_steps import read_columns

_TEXTS = ("shop", "travel", "food")


@pytest.fixture(scope="module")
def fitted() -> ColumnTransformer:
    """Every kind of operation: gaps filled, scaled, looked up as ranks and as one column a category."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "amount": np.where(random.random(200) < 0.2, np.nan, random.lognormal(3, 1, 200)),
            "shop": random.choice(_TEXTS, 200),
            "bin": random.choice([400_001, 510_002, 16_777_217], 200),
        }
    ).astype({"shop": object})
    return ColumnTransformer(
        [
            ("amount", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), ["amount"]),
            ("shop", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["shop"]),
            ("bin", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["bin"]),
            ("same", "passthrough", ["amount"]),
        ],
        sparse_threshold=0,
    ).fit(frame)


_rows = st.lists(
    st.tuples(
        st.none() | st.floats(allow_nan=True, allow_infinity=False) | st.integers(-(1 << 53), 1 << 53),
        st.sampled_from((*_TEXTS, "elsewhere", "")),
        st.sampled_from((400_001, 510_002, 16_777_217, 400_001.0, 7)) | st.floats(1, 1e300),
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(rows=_rows)
def test_many_rows_at_once_come_out_as_the_transformers_make_them(
    fitted: ColumnTransformer, rows: list[tuple[float | None, str, float]]
) -> None:
    columns, _ = read_columns([fitted], 3)
    found, own = columns.many(rows)
    for number, row in enumerate(rows):
        try:
            alone = columns.one(row)
        except NeedsOwnLibrary:
            assert own[number]
            continue
        assert not own[number]
        np.testing.assert_array_equal(found[number], alone)
        frame = pd.DataFrame([row], columns=["amount", "shop", "bin"]).astype({"amount": float, "shop": object})
        np.testing.assert_array_equal(found[number], fitted.transform(frame)[0])


def test_a_category_that_only_the_library_treats_leaves_the_others_as_they_are() -> None:
    encoder = OneHotEncoder(sparse_output=False).fit(np.array([["a"], ["b"]], dtype=object))
    columns, _ = read_columns([encoder], 1)
    found, own = columns.many([("b",), ("c",), ("a",)])
    assert own.tolist() == [False, True, False]
    np.testing.assert_array_equal(found[[0, 2]], encoder.transform(np.array([["b"], ["a"]], dtype=object)))


def test_zeros_become_gaps_where_the_last_step_takes_them_for_gaps() -> None:
    encoder = OneHotEncoder(sparse_output=False).fit(np.array([["a"], ["b"]], dtype=object))
    columns = Columns(read_columns([encoder], 1)[0].parts, zero_is_gap=True)
    found, _ = columns.many([("b",)])
    assert math.isnan(found[0, 0])
    assert found[0, 1] == 1.0
