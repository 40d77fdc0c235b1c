"""Metrics on a holdout: its categories are the model's, and every row has a label that the model knows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from model_store.contract.contract import Contract
from model_store.contract.proving import Claims, prove
from model_store.contract.sample import holdout_metrics, with_sample
from model_store.errors import InvalidInput

COUNTRIES = ("NA", "DE", "None", "nan", "null", "N/A")


def _frame(seed: int) -> Any:
    random = np.random.default_rng(seed)
    return pd.DataFrame({"amount": random.gamma(2, 50, 300), "country": random.choice(COUNTRIES, 300)})


@pytest.fixture(scope="module")
def made() -> tuple[Contract, Any]:
    frame = _frame(0)
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["country"]), remainder="passthrough")
    model = make_pipeline(columns, LogisticRegression(max_iter=5000)).fit(frame, _label(frame))
    return prove(model, Claims(), form=False).contract, model


def _label(frame: Any) -> Any:
    return np.where(frame["country"].isin(["NA", "null"]), "fraud", "legit")


def test_a_category_that_pandas_reads_as_a_gap_is_a_category(made: tuple[Contract, Any], tmp_path: Path) -> None:
    contract, model = made
    path, frame = tmp_path / "holdout.csv", _frame(1)
    frame.assign(label=_label(frame)).to_csv(path, index=False)
    found = holdout_metrics(contract, model, path, "label")
    truth = _label(frame)
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, model.predict(frame)), abs=1e-6)
    assert found["recall"] == pytest.approx(recall_score(truth, model.predict(frame), pos_label="fraud"), abs=1e-6)
    assert found["recall"] == 1
    frame.to_csv(path, index=False)
    country = next(each for each in with_sample(contract, path).features if each.name == "country")
    assert country.bins is not None
    assert country.bins["gaps"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: None}, "1 of 300 rows have no label; label them or remove them"),
        ({0: "", 1: "unknown"}, "1 of 300 rows have no label"),
        ({0: "FRAUD"}, "label is FRAUD in a row; the model's classes are fraud, legit"),
        ({0: "-1"}, "label is -1 in a row; the model's classes are fraud, legit"),
    ],
)
def test_a_row_without_a_label_of_the_model_is_refused(
    made: tuple[Contract, Any], tmp_path: Path, change: dict[int, Any], message: str
) -> None:
    contract, model = made
    path, frame = tmp_path / "holdout.csv", _frame(1)
    labels = pd.Series(_label(frame), dtype=object)
    for row, value in change.items():
        labels[row] = value
    frame.assign(label=labels).to_csv(path, index=False)
    with pytest.raises(InvalidInput, match=message):
        holdout_metrics(contract, model, path, "label")


def test_labels_of_other_words_name_the_classes(made: tuple[Contract, Any], tmp_path: Path) -> None:
    contract, model = made
    path, frame = tmp_path / "holdout.csv", _frame(1)
    frame.assign(label=(_label(frame) == "fraud").astype(int)).to_csv(path, index=False)
    with pytest.raises(InvalidInput, match=r"label is [01] in a row; the model's classes are fraud, legit"):
        holdout_metrics(contract, model, path, "label")


@pytest.mark.parametrize("words", [(1, 0), ("true", "false"), ("1.0", "0.0"), (1, -1)])
def test_a_detector_takes_labels_of_one_and_zero(tmp_path: Path, words: tuple[Any, Any]) -> None:
    rows = np.random.default_rng(0).normal(size=(200, 2))
    model = IsolationForest(n_estimators=10, random_state=0).fit(rows)
    path = tmp_path / "holdout.csv"
    truth = model.predict(rows) == -1
    labels = np.where(truth, str(words[0]), str(words[1]))
    contract = prove(model, Claims(), form=False).contract
    frame = pd.DataFrame(rows, columns=[each.name for each in contract.features])
    frame.assign(label=labels).to_csv(path, index=False)
    assert holdout_metrics(contract, model, path, "label")["recall"] > 0.9
