"""Drift is of the values that come in: rows like the training rows have none, in whatever precision they are kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from model_store.contract.contract import Contract, build_contract
from model_store.contract.features import Feature
from model_store.contract.sample import with_sample
from model_store.errors import InvalidInput
from serving.inference.transactions import parse_rows
from serving.observability.drift import DriftWatch

ROWS = 4000


def _frame(seed: int) -> Any:
    """Prices that repeat, as 32 bits keep them; a category with gaps; truth values; a number with gaps."""
    random = np.random.default_rng(seed)
    amounts = random.choice([0.1, 1.1, 2.3, 9.99, 19.95, 49.9], ROWS).astype(np.float32)
    countries = random.choice(["DE", "FR", "PL"], ROWS, p=[0.7, 0.2, 0.1]).astype(object)
    countries[random.random(ROWS) < 0.1] = None
    limits = random.normal(100, 10, ROWS)
    limits[random.random(ROWS) < 0.2] = np.nan
    return pandas.DataFrame(
        {"amount": amounts, "country": countries, "known": random.random(ROWS) < 0.5, "limit": limits}
    )


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    path: Path = tmp_path_factory.mktemp("drift") / "sample.parquet"
    frame = _frame(0)
    frame.to_parquet(path)
    encoder = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["country"]), ("passthrough", ["amount", "known"])
    )
    model = make_pipeline(encoder, LogisticRegression()).fit(frame, np.arange(ROWS) % 2)
    return with_sample(build_contract(model), path)


def _indexes(contract: Contract, frame: Any) -> dict[str, float]:
    """The drift of a frame's rows after their way through JSON."""
    watch = DriftWatch([each.to_dict() for each in contract.features])
    body = frame.to_json(orient="records", double_precision=15)
    body = ('{"transactions": ' + body + "}").encode()
    watch.add([parse_rows(body, contract.features, ROWS)])
    return watch.by_feature()


def test_rows_like_those_of_the_training_have_not_drifted(contract: Contract) -> None:
    frame = _frame(1)
    # As a client writes them: the shortest decimals, not the digits of 32 bits.
    frame["amount"] = [float(str(each)) for each in frame["amount"]]
    indexes = _indexes(contract, frame)
    assert set(indexes) == {"amount", "country", "known", "limit"}
    assert max(indexes.values()) < 0.02, indexes


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("amount", lambda values: values * 3),
        ("country", lambda values: values.where(values != "DE", "FR")),
        ("country", lambda values: values.where(values != "DE", "XX")),
        ("country", lambda values: values.where(values != "DE", None)),
        ("known", lambda values: values | (np.arange(ROWS) % 3 > 0)),
        ("limit", lambda values: values.where(np.arange(ROWS) % 2 > 0)),
        ("limit", lambda values: values.fillna(100.0)),
    ],
)
def test_a_moved_column_is_seen_alone(contract: Contract, column: str, change: Any) -> None:
    frame = _frame(1)
    frame["amount"] = [float(str(each)) for each in frame["amount"]]
    frame[column] = change(frame[column])
    indexes = _indexes(contract, frame)
    assert indexes[column] > 0.1, indexes
    assert max(value for name, value in indexes.items() if name != column) < 0.02, indexes


def test_a_written_gap_is_a_gap() -> None:
    bins = {"edges": [1.0, 2.0], "shares": [0.2, 0.3, 0.5], "gaps": 0.5}
    watch = DriftWatch([{"name": "a", "type": "number", "written": -999.0, "bins": bins}])
    values = [-999.0] * 1000 + [0.5] * 200 + [1.5] * 300 + [3.0] * 500
    watch.add([[[value] for value in values]])
    assert watch.by_feature()["a"] == pytest.approx(0, abs=1e-9)


def test_bins_of_versions_before_count_no_gaps() -> None:
    watch = DriftWatch([{"name": "a", "type": "number", "bins": {"edges": [1.0], "shares": [0.5, 0.5]}}])
    watch.add([[[value] for value in [0.5, 1.5, float("nan")] * 500]])
    assert watch.by_feature()["a"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "bins",
    [
        {"edges": [1.0]},
        {"categories": ["a"], "shares": [1.0]},
        {"categories": ["a"], "edges": [1.0], "shares": [0.5, 0.5]},
        {"edges": [1.0], "shares": [0.5, 0.5], "gaps": 2},
        {"edges": [1.0], "shares": [0.5, "x"]},
        {"categories": [None], "shares": [0.5, 0.5]},
        [1.0],
    ],
)
def test_bins_of_another_kind_are_refused_with_the_features_name(bins: Any) -> None:
    with pytest.raises(InvalidInput, match="'amount' has bins of another kind"):
        Feature.from_dict({"name": "amount", "bins": bins})
