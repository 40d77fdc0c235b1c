"""A gap of a text column reaches the model as it was in the training rows, or the model is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from model_store.contract.proving import Claims, Proven, prove
from model_store.errors import InvalidInput

_RANDOM = np.random.default_rng(3)
_ROWS = 400
_TEXTS = np.where(_RANDOM.random(_ROWS) < 0.2, None, _RANDOM.choice(["a", "b", "c"], _ROWS))
_AMOUNTS = _RANDOM.gamma(2, 50, _ROWS)
_LABELS = ((_TEXTS == "a") | (_RANDOM.random(_ROWS) < 0.2)).astype(int)
_COLUMNS = {
    "None": pd.Series(_TEXTS, dtype=object),
    "NaN": pd.Series(np.where(pd.isna(_TEXTS), np.nan, _TEXTS), dtype=object),
    "str": pd.Series(_TEXTS, dtype="str"),
}


def _ordinal(*gap: Any) -> Any:
    categories = [["c", "a", "b", *gap]]
    return OrdinalEncoder(categories=categories, handle_unknown="use_encoded_value", unknown_value=99)


def _imputed(**arguments: Any) -> Any:
    return make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing", **arguments), OneHotEncoder(handle_unknown="ignore")
    )


def _fitted(encoder: Any, column: Any, final: Any) -> tuple[Any, pd.DataFrame]:
    table = pd.DataFrame({"m": column, "amount": _AMOUNTS})
    prepared = ColumnTransformer([("m", encoder, ["m"]), ("rest", "passthrough", ["amount"])])
    return make_pipeline(prepared, final).fit(table, _LABELS), table


def _difference(proven: Proven, model: Any, table: pd.DataFrame) -> float:
    """The largest difference from the estimator's own answers to the rows with a gap, as callers send them."""
    gaps = table[table["m"].isna()]
    found = proven.contract.own(model).scores([(None, amount) for amount in gaps["amount"]])
    return float(np.abs(found - model.predict_proba(gaps)[:, 1]).max())


@pytest.mark.parametrize("column", ["NaN", "str", "None"])
@pytest.mark.parametrize("final", [HistGradientBoostingClassifier(max_iter=5), LogisticRegression(max_iter=300)])
def test_a_learned_gap_is_that_of_the_training_rows(column: str, final: Any) -> None:
    model, table = _fitted(OneHotEncoder(handle_unknown="ignore", sparse_output=False), _COLUMNS[column], final)
    assert _difference(prove(model, Claims()), model, table) < 1e-9


@pytest.mark.parametrize("framed", [True, False])
def test_a_learned_gap_reaches_a_model_of_arrays_too(framed: bool) -> None:
    table = pd.DataFrame({"m": _COLUMNS["NaN"], "k": _COLUMNS["NaN"]})
    rows = table if framed else table.to_numpy()
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression(max_iter=300)).fit(rows, _LABELS)
    found = prove(model, Claims()).contract.own(model).scores([(None, None), ("a", None)])
    own = model.predict_proba(
        pd.DataFrame({"m": [np.nan, "a"], "k": [np.nan, np.nan]}, dtype=object)
        if framed
        else np.array([[np.nan, np.nan], ["a", np.nan]], dtype=object)
    )
    assert found == pytest.approx(own[:, 1], abs=1e-9)


@pytest.mark.parametrize(
    ("encoder", "column"),
    [(_imputed(missing_values=None), "None"), (_imputed(), "NaN"), (_imputed(), "str"), (_ordinal(np.nan), "str")],
)
def test_the_gap_that_a_step_fills_is_the_gap(encoder: Any, column: str) -> None:
    model, table = _fitted(encoder, _COLUMNS[column], HistGradientBoostingClassifier(max_iter=5))
    proven = prove(model, Claims())
    assert proven.contract.features[0].gaps
    assert _difference(proven, model, table) < 1e-9


@pytest.mark.parametrize("column", ["NaN", "None", "str"])
def test_a_gap_that_nothing_tells_is_asked_for(column: str, tmp_path: Path) -> None:
    model, table = _fitted(_ordinal(None), _COLUMNS[column], LogisticRegression(max_iter=300))
    with pytest.raises(InvalidInput, match=r"'m'.*None otherwise than one as NaN.*metrics\.json"):
        prove(model, Claims())
    table.to_csv(tmp_path / "sample.csv", index=False)
    with pytest.raises(InvalidInput, match="'m'"):
        prove(model, Claims(sample=tmp_path / "sample.csv"))
    told = "object" if column == "None" else "str"
    claims = Claims(features=({"name": "m", "dtype": told}, {"name": "amount"}))
    assert _difference(prove(model, claims), model, table) < 1e-9
