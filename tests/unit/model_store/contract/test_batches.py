"""Rows of several callers are answered in one call: a model that compares the rows of a call cannot be served so."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import NMF
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - makes the next import possible
from sklearn.impute import IterativeImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from xgboost import XGBClassifier

from model_store.contract.proving import Claims, prove
from model_store.errors import InvalidInput


class _Ranks(ClassifierMixin, BaseEstimator):
    """Its answer is a row's rank among the rows of the call."""

    def fit(self, rows: Any, target: Any) -> "_Ranks":
        self.classes_, self.n_features_in_ = np.array([0, 1]), rows.shape[1]
        return self

    def predict_proba(self, rows: Any) -> Any:
        share = np.argsort(np.argsort(rows[:, 0])) / max(1, len(rows) - 1)
        return np.column_stack([1 - share, share])


def _data() -> tuple[Any, Any]:
    rows = np.random.default_rng(0).lognormal(size=(80, 3))
    rows[:, 1] = rows[:, 0] ** 2 + 0.1 * rows[:, 1]
    return rows, (rows[:, 0] > 1).astype(int)


def test_a_model_that_compares_the_rows_of_a_call_is_refused() -> None:
    rows, target = _data()
    with pytest.raises(InvalidInput, match="depends on the other rows of the same call"):
        prove(_Ranks().fit(rows, target), Claims())


def test_a_row_without_any_value_is_answered_as_alone() -> None:
    rows, target = _data()
    with_gaps = np.where(np.random.default_rng(1).random(rows.shape) < 0.2, np.nan, rows)
    model = make_pipeline(IterativeImputer(max_iter=3, random_state=0), LogisticRegression()).fit(with_gaps, target)
    empty, other = [np.nan] * 3, [1.0, -0.5, 0.25]
    # In one call the library itself gives the empty row another answer.
    alone, together = (model.predict_proba(np.array(asked))[0, 1] for asked in ([empty], [empty, other]))
    assert abs(alone - together) > 1e-6
    own = prove(model, Claims()).contract.own(model)
    assert own.scores([empty, other]).tolist() == [alone, model.predict_proba(np.array([other]))[0, 1]]


def test_factors_of_a_row_are_those_that_it_has_alone() -> None:
    rows, target = _data()
    steps = (MinMaxScaler(clip=True), NMF(2, init="nndsvda", tol=0.01, random_state=0), LogisticRegression())
    model = make_pipeline(*steps).fit(rows, target)
    alone = [model.predict_proba(rows[[number]])[0, 1] for number in range(80)]
    assert np.abs(model.predict_proba(rows)[:, 1] - alone).max() > 1e-8
    assert prove(model, Claims()).contract.own(model).scores(rows.tolist()).tolist() == alone


@pytest.mark.parametrize("kind", ["lightgbm", "lightgbm with flags", "xgboost", "xgboost without categories"])
def test_whole_numbers_past_64_bits_change_no_other_rows_answer(tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "amount": random.gamma(2, 50, 400),
            "merchant": random.choice(["a", "b", "c"], 400),
            "hour": random.integers(0, 24, 400),
        }
    )
    if "flags" in kind:
        frame["flag"] = random.random(400) < 0.4
    if "without" in kind:
        del frame["merchant"]
    sample = tmp_path / "sample.csv"
    frame.to_csv(sample, index=False)
    target = ((frame["amount"] > 100) ^ (frame["hour"] > 12)).astype(int)
    typed = frame.astype({"merchant": "category"}) if "merchant" in frame else frame
    model: Any = (
        LGBMClassifier(n_estimators=10, verbose=-1)
        if kind.startswith("lightgbm")
        else XGBClassifier(n_estimators=10, enable_categorical=True)
    )
    model.fit(typed, target)
    proven = prove(model, Claims(sample=sample))
    column = list(frame.columns).index("hour")
    far = [number for number, row in enumerate(proven.golden.rows) if row[column] in (1e39, -1e39)]
    assert far
    assert all(proven.golden.scores[number] is not None for number in far)
    if kind.startswith("xgboost"):
        assert proven.form is not None, proven.reason
    own = proven.contract.own(model)
    rows = [tuple(row) for row in frame.head(3).itertuples(index=False)]
    asked = typed.head(3).astype({"hour": float})
    asked.loc[0, "hour"] = 1e39
    changed = [(*rows[0][:column], 10**39, *rows[0][column + 1 :]), *rows[1:]]
    expected = model.predict_proba(asked)[:, 1]
    np.testing.assert_allclose(own.scores(changed), expected, atol=1e-12)
    np.testing.assert_allclose([own.scores([row])[0] for row in changed], expected, atol=1e-12)
