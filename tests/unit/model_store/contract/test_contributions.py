"""Contributions are the libraries' own, and add up to the margin of the answer."""

from typing import Any

import lightgbm
import numpy as np
import pandas
import pytest
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from model_store.contract.contract import build_contract
from model_store.contract.contributions import Contributions, Explained
from model_store.contract.conversion import through
from model_store.contract.own import RowRefused
from model_store.errors import InvalidInput
from model_store.serialization.formats import SerializationFormat

_ROWS = 300
_RANDOM = np.random.default_rng(0)
NUMBERS = pandas.DataFrame({"amount": _RANDOM.exponential(50, _ROWS), "hour": _RANDOM.integers(0, 24, _ROWS) * 1.0})
TABLE = NUMBERS.assign(kind=_RANDOM.choice(["card", "cash", "wire"], _ROWS))
CATEGORIES = TABLE.assign(kind=TABLE["kind"].astype("category"))
LABELS = ((TABLE["amount"] > 60) ^ (TABLE["kind"] == "cash")).astype(int)
THREE = LABELS + (TABLE["hour"] > 12)


def _steps() -> Any:
    return make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["kind"]), (StandardScaler(), ["hour", "amount"])
    )


def _lightgbm(**more: Any) -> Any:
    return lightgbm.LGBMClassifier(n_estimators=8, verbose=-1, **more)


def _explained(model: Any, table: pandas.DataFrame, fraud: Any = 1) -> tuple[Explained, Any]:
    contract = build_contract(model, positive_class=fraud)
    rows = [tuple(row) for row in table.head(40).astype(object).itertuples(index=False)]
    return Contributions.of(model, contract).calculate(rows), contract.own(model).scores(rows)


def _sigmoid(margins: Any) -> Any:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-margins))


BINARY = [
    pytest.param(xgboost.XGBClassifier(n_estimators=8), NUMBERS, id="xgboost"),
    pytest.param(xgboost.XGBClassifier(n_estimators=8, enable_categorical=True), CATEGORIES, id="xgboost-categories"),
    pytest.param(xgboost.XGBClassifier(n_estimators=8, booster="dart", rate_drop=0.3), NUMBERS, id="xgboost-dart"),
    pytest.param(xgboost.XGBClassifier(n_estimators=8, booster="gblinear"), NUMBERS, id="xgboost-linear"),
    pytest.param(make_pipeline(_steps(), xgboost.XGBClassifier(n_estimators=8)), TABLE, id="xgboost-pipeline"),
    pytest.param(_lightgbm(), NUMBERS, id="lightgbm"),
    pytest.param(_lightgbm(), CATEGORIES, id="lightgbm-categories"),
    pytest.param(make_pipeline(_steps(), _lightgbm()), TABLE, id="lightgbm-pipeline"),
    pytest.param(LogisticRegression(), NUMBERS, id="logistic"),
    pytest.param(make_pipeline(_steps(), LogisticRegression()), TABLE, id="logistic-pipeline"),
    pytest.param(LinearSVC(), NUMBERS, id="svc"),
    pytest.param(SGDClassifier(random_state=0), NUMBERS, id="sgd"),
]


@pytest.mark.parametrize(("model", "table"), BINARY)
@pytest.mark.parametrize("fraud", [1, 0])
def test_contributions_and_base_add_up_to_the_margin_of_the_answer(
    model: Any, table: pandas.DataFrame, fraud: int
) -> None:
    found, scores = _explained(model.fit(table, LABELS), table, fraud)
    assert found.contributions.shape == (40, len(table.columns))
    assert np.abs(found.contributions.sum(axis=1) + found.bases - found.margins).max() < 1e-5
    assert np.abs(_sigmoid(found.margins) - scores).max() < 1e-6


@pytest.mark.parametrize("model", [xgboost.XGBClassifier(n_estimators=8), _lightgbm(), LogisticRegression()])
def test_of_several_classes_the_margin_is_that_of_fraud(model: Any) -> None:
    model.fit(NUMBERS, THREE)
    found, scores = _explained(model, NUMBERS, 2)
    others = np.stack([_explained(model, NUMBERS, each)[0].margins for each in (0, 1, 2)], axis=1)
    powers = np.exp(others)
    assert np.abs(powers[:, 2] / powers.sum(axis=1) - scores).max() < 1e-6
    assert np.abs(found.contributions.sum(axis=1) + found.bases - found.margins).max() < 1e-5


def test_xgboosts_are_those_of_pred_contribs() -> None:
    model = xgboost.XGBClassifier(n_estimators=8).fit(NUMBERS, LABELS)
    own = model.get_booster().predict(xgboost.DMatrix(NUMBERS.head(40)), pred_contribs=True)
    found, _ = _explained(model, NUMBERS)
    assert np.array_equal(found.contributions, own[:, :-1].astype(np.float64))
    assert np.array_equal(found.bases, own[:, -1].astype(np.float64))


def test_of_xgboost_stopped_early_only_the_rounds_count_that_answer() -> None:
    model = xgboost.XGBClassifier(n_estimators=60, early_stopping_rounds=2, learning_rate=1.0)
    noise = np.random.default_rng(1).integers(0, 2, _ROWS)
    model.fit(NUMBERS[:150], noise[:150], eval_set=[(NUMBERS[150:], noise[150:])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    found, scores = _explained(model, NUMBERS)
    assert np.abs(_sigmoid(found.margins) - scores).max() < 1e-6


def test_lightgbms_are_those_of_pred_contrib() -> None:
    model = _lightgbm().fit(NUMBERS, LABELS)
    own = model.predict(NUMBERS.head(40), pred_contrib=True)
    found, _ = _explained(model, NUMBERS)
    assert np.array_equal(found.contributions, own[:, :-1])
    assert np.array_equal(found.bases, own[:, -1])


def test_a_model_in_lightgbms_own_format_has_the_same_contributions() -> None:
    model = _lightgbm().fit(NUMBERS, LABELS)
    converted = through(model, SerializationFormat.LIGHTGBM)
    assert type(converted) is not type(model)
    assert np.array_equal(_explained(converted, NUMBERS)[0].contributions, _explained(model, NUMBERS)[0].contributions)


def test_the_columns_of_one_feature_are_summed() -> None:
    model = make_pipeline(_steps(), _lightgbm()).fit(TABLE, LABELS)
    own = model[-1].predict(model[0].transform(TABLE.head(40)), pred_contrib=True)
    own = own.toarray() if hasattr(own, "toarray") else own
    found, _ = _explained(model, TABLE)
    # The pipeline makes three columns of `kind` first, then one of `hour` and one of `amount`.
    assert np.allclose(found.contributions[:, 2], own[:, :3].sum(axis=1), atol=1e-12)
    assert np.allclose(found.contributions[:, :2], own[:, [4, 3]], atol=0)


def test_linear_models_give_weight_times_value() -> None:
    model = LogisticRegression().fit(NUMBERS, LABELS)
    found, _ = _explained(model, NUMBERS)
    assert np.array_equal(found.contributions, NUMBERS.head(40).to_numpy() * model.coef_[0])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (RandomForestClassifier(3), "the library of RandomForestClassifier gives no exact contributions"),
        (make_pipeline(KBinsDiscretizer(3), LogisticRegression()), "KBinsDiscretizer has no exact"),
        (_lightgbm(linear_tree=True), "not implemented for linear trees"),
    ],
)
def test_a_model_without_exact_contributions_says_why(model: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        _explained(model.fit(NUMBERS, LABELS), NUMBERS)


def test_an_anomaly_detector_has_no_contributions() -> None:
    model = IsolationForest(n_estimators=5).fit(NUMBERS)
    with pytest.raises(InvalidInput, match="anomaly detector"):
        Contributions.of(model, build_contract(model))


def test_a_row_that_the_library_refuses_is_refused() -> None:
    model = LogisticRegression().fit(NUMBERS, LABELS)
    with pytest.raises(RowRefused):
        Contributions.of(model, build_contract(model)).calculate([("text", 1.0)])
