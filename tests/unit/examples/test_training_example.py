"""The example trains honestly and gives the same models for the same seed."""

import json
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest

from tests.checkout import SOURCE

SCRIPT = SOURCE / "examples" / "train_fraud_model.py"
sys.path.insert(0, str(SCRIPT.parent))

from simulated_transactions import DAYS, compute_features, simulate  # noqa: E402


def _train(directory: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--output", str(directory), "--transactions", "5000", *arguments]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert completed.returncode == code, completed.stderr
    return completed


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("trained")
    _train(directory)
    return directory


def _example(directory: Path) -> np.ndarray:  # type: ignore[type-arg]
    body = json.loads((directory / "example_transaction.json").read_text())
    return np.array([list(item.values()) for item in body["transactions"]], dtype=np.float32)


def test_the_same_seed_gives_the_same_predictions_and_another_seed_others(trained: Path, tmp_path: Path) -> None:
    _train(tmp_path / "again")
    _train(tmp_path / "other", "--seed", "8")
    rows = _example(trained)
    first, again, other = (
        joblib.load(directory / "xgboost_model.joblib").predict_proba(rows)
        for directory in (trained, tmp_path / "again", tmp_path / "other")
    )
    assert (first == again).all()
    assert not (first == other).all()


@pytest.mark.parametrize("file", ["xgboost_model.joblib", "xgboost_model_previous.joblib"])
def test_each_model_has_metrics_threshold_and_features_in_its_order(trained: Path, file: str) -> None:
    report = json.loads((trained / f"{file}.metrics.json").read_text())
    metrics = report["performance_metrics"]
    assert metrics.keys() == {
        "accuracy", "precision", "recall", "f1", "roc_auc", "average_precision",
    }  # fmt: skip
    assert all(0 <= value <= 1 for value in metrics.values())
    names = [feature["name"] for feature in report["features"]]
    body = json.loads((trained / "example_transaction.json").read_text())
    assert all(list(item) == names for item in body["transactions"])
    assert joblib.load(trained / file).n_features_in_ == len(names)


def test_about_one_in_a_hundred_transactions_is_fraud() -> None:
    transactions = simulate(100_000, seed=7)
    assert 0.007 < transactions.is_fraud.mean() < 0.015


def test_features_know_nothing_of_the_future_nor_of_young_labels() -> None:
    transactions = simulate(20_000, seed=1)
    names, values = compute_features(transactions)
    cut = DAYS // 2 * 86_400
    later = transactions.seconds >= cut
    changed = simulate(20_000, seed=1)
    changed.amount[later] = 999.0
    young = transactions.seconds >= cut - 7 * 86_400
    changed.is_fraud[young] = ~changed.is_fraud[young]
    _, again = compute_features(changed)
    assert len(names) == values.shape[1]
    # Running sums over all groups round differently in their last digits; a leak would change whole numbers.
    assert np.allclose(values[~later], again[~later], rtol=1e-4, atol=1e-4)


def test_rolling_features_are_those_of_a_plain_loop() -> None:
    transactions = simulate(3_000, seed=3)
    names, values = compute_features(transactions)
    counts = values[:, names.index("customer_count_7d")]
    means = values[:, names.index("customer_amount_mean_7d")]
    for row in range(0, 3_000, 97):
        age = transactions.seconds[row] - transactions.seconds
        window = (transactions.customer == transactions.customer[row]) & (age > 0) & (age <= 7 * 86_400)
        assert counts[row] == window.sum()
        expected = transactions.amount[window].mean() if window.any() else 0
        assert means[row] == pytest.approx(expected, rel=1e-4)


def test_too_few_transactions_are_refused(tmp_path: Path) -> None:
    refused = _train(tmp_path, "--transactions", "10", code=2)
    assert "at least 2000" in refused.stderr
    assert list(tmp_path.iterdir()) == []
