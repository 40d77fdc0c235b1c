"""Releases as an inbox holds them: the example's models, a holdout of the simulation, and release.yaml."""

import shutil
from pathlib import Path

from examples.simulated_transactions import compute_features, simulate
from tests.checkout import TRANSACTIONS

_SEED, _TEST_BEGINS_DAY = 7, 102
"""Of the training: rows from this day on were not trained on."""


def write_holdout(path: Path) -> None:
    """Labelled rows as a CSV file."""
    transactions = simulate(int(TRANSACTIONS), _SEED)
    names, values = compute_features(transactions)
    late = transactions.seconds / 86_400 >= _TEST_BEGINS_DAY
    rows = [
        ",".join([*(repr(float(value)) for value in row), str(int(fraud))])
        for row, fraud in zip(values[late], transactions.is_fraud[late], strict=True)
    ]
    path.write_text("\n".join([",".join([*names, "is_fraud"]), *rows]) + "\n")


def write_release(inbox: Path, model: Path, holdout: Path, accept: str = "{roc_auc: 0.7}") -> Path:
    """A release of a model's file; returns its directory."""
    inbox.mkdir(parents=True)
    shutil.copyfile(model, inbox / model.name)
    shutil.copyfile(model.with_name(f"{model.name}.metrics.json"), inbox / f"{model.name}.metrics.json")
    shutil.copyfile(holdout, inbox / "holdout.csv")
    (inbox / "release.yaml").write_text(
        f"file: {model.name}\nname: fraud_detector\ntype: XGBoost\ndescription: of {inbox.name}\n"
        f"holdout: {{file: holdout.csv, label: is_fraud, accept: {accept}}}\n"
    )
    return inbox
