#!/usr/bin/env python3
"""Trains the example: two XGBoost models that tell fraud among simulated card transactions.

`simulated_transactions.py` says what the simulation models and what it does not. The models are trained on the first
weeks, the decision threshold is chosen on later ones, and the metrics come from the last ones, which neither has seen;
between the three lies the week that it takes until a fraud is known.

Written, each file whole or not at all:

    models/xgboost_model.joblib            the model: 100 trees of depth 4
    models/xgboost_model_previous.joblib   the version before it: 40 trees of depth 3
    models/<file>.metrics.json             metrics, threshold, features with their ranges
    models/example_transaction.json        a body for POST /predict
"""

import argparse
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from simulated_transactions import DAYS, LABEL_DELAY_DAYS, Array, Transactions, compute_features, simulate

VARIANTS = {
    "xgboost_model_previous.joblib": {"n_estimators": 40, "max_depth": 3, "learning_rate": 0.15},
    "xgboost_model.joblib": {"n_estimators": 100, "max_depth": 4, "learning_rate": 0.1},
}
_FEWEST_TRANSACTIONS = 2_000
TRAINING_ENDS_DAY = 75
_VALIDATION_ENDS_DAY = 95


def main(arguments: list[str] | None = None) -> int:
    """Trains and writes; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.transactions < _FEWEST_TRANSACTIONS:
        sys.stderr.write(f"error: --transactions {options.transactions}: at least {_FEWEST_TRANSACTIONS} are needed\n")
        return 2
    started = time.monotonic()
    _log(f"simulating {options.transactions} transactions")
    transactions = simulate(options.transactions, options.seed)
    names, values = compute_features(transactions)
    parts = _split(transactions)
    try:
        reports = {
            file: _train(file, parameters, names, values, transactions, parts, options)
            for file, parameters in VARIANTS.items()
        }
        _write_example(options.output, names, values, transactions, parts["test"])
    except OSError as error:
        sys.stderr.write(f"error: {options.output}: cannot be written ({error.strerror})\n")
        return 8
    _log(f"done after {time.monotonic() - started:.1f} s")
    if options.json:
        sys.stdout.write(json.dumps(reports, indent=2) + "\n")
    else:
        for file, report in reports.items():
            metrics = ", ".join(f"{name} {value:.4f}" for name, value in report["performance_metrics"].items())
            sys.stdout.write(f"{options.output / file}: {metrics}\n")
    return 0


def _split(transactions: Transactions) -> dict[str, Array]:
    """Rows by time, with the label delay between the parts."""
    day = transactions.seconds / 86_400
    return {
        "training": day < TRAINING_ENDS_DAY,
        "validation": (day >= TRAINING_ENDS_DAY + LABEL_DELAY_DAYS) & (day < _VALIDATION_ENDS_DAY),
        "test": (day >= _VALIDATION_ENDS_DAY + LABEL_DELAY_DAYS) & (day < DAYS),
    }


def _train(
    file: str,
    parameters: dict[str, Any],
    names: list[str],
    values: Array,
    transactions: Transactions,
    parts: dict[str, Array],
    options: argparse.Namespace,
) -> dict[str, Any]:
    from xgboost import XGBClassifier

    _log(f"training {file} ({parameters['n_estimators']} trees)")
    labels = transactions.is_fraud.astype(int)
    model = XGBClassifier(**parameters, tree_method="hist", n_jobs=2, random_state=options.seed, eval_metric="logloss")
    model.fit(values[parts["training"]], labels[parts["training"]])
    threshold = _best_threshold(model.predict_proba(values[parts["validation"]])[:, 1], labels[parts["validation"]])
    probabilities = model.predict_proba(values[parts["test"]])[:, 1]
    report = {
        "model_name": "fraud_detector",
        "model_type": "XGBoost",
        "description": f"{parameters['n_estimators']} trees of depth {parameters['max_depth']}, simulated transactions",
        "performance_metrics": _metrics(probabilities, labels[parts["test"]], threshold),
        "threshold": threshold,
        "features": _feature_schema(names, values[parts["training"]]),
        "seed": options.seed,
        "training_rows": int(parts["training"].sum()),
        "test_rows": int(parts["test"].sum()),
        "fraud_share": round(float(labels.mean()), 5),
    }
    _write_model(options.output / file, model)
    _write(options.output / f"{file}.metrics.json", (json.dumps(report, indent=2) + "\n").encode())
    return report


def _best_threshold(probabilities: Array, labels: Array) -> float:
    """The threshold with the best F1 score on the validation part."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, thresholds = precision_recall_curve(labels, probabilities)
    scores = 2 * precision[:-1] * recall[:-1] / np.maximum(precision[:-1] + recall[:-1], 1e-9)
    return round(float(thresholds[int(np.argmax(scores))]), 4)


def _metrics(probabilities: Array, labels: Array, threshold: float) -> dict[str, float]:
    from sklearn import metrics

    decisions = (probabilities >= threshold).astype(int)
    values = {
        "accuracy": metrics.accuracy_score(labels, decisions),
        "precision": metrics.precision_score(labels, decisions, zero_division=0),
        "recall": metrics.recall_score(labels, decisions),
        "f1": metrics.f1_score(labels, decisions),
        "roc_auc": metrics.roc_auc_score(labels, probabilities),
        "average_precision": metrics.average_precision_score(labels, probabilities),
    }
    return {name: round(float(value), 5) for name, value in values.items()}


def _feature_schema(names: list[str], values: Array) -> list[dict[str, Any]]:
    lowest, highest = values.min(axis=0), values.max(axis=0)
    return [
        {
            "name": name,
            "type": "number",
            "gaps": False,
            "minimum": float(low),
            "maximum": float(high),
            "bins": _bins(values[:, number]),
        }
        for number, (name, low, high) in enumerate(zip(names, lowest, highest, strict=True))
    ]


def _bins(values: Array) -> dict[str, list[float]]:
    """The distinct deciles, and the share of the values in each bin between them: what drift is measured against."""
    edges = np.unique(np.quantile(values, np.linspace(0.1, 0.9, 9)))
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
    return {"edges": edges.tolist(), "shares": (counts / len(values)).round(6).tolist()}


def _write_example(directory: Path, names: list[str], values: Array, transactions: Transactions, part: Array) -> None:
    """One honest and one fraudulent transaction of the test part."""
    rows = np.flatnonzero(part)
    chosen = [rows[~transactions.is_fraud[rows]][0], rows[transactions.is_fraud[rows]][0]]
    body = {
        "transactions": [
            {name: round(float(value), 4) for name, value in zip(names, values[row], strict=True)} for row in chosen
        ]
    }
    _write(directory / "example_transaction.json", (json.dumps(body, indent=2) + "\n").encode())


def _write_model(path: Path, model: Any) -> None:
    import joblib

    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    _write(path, buffer.getvalue())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.partial")
    staging.write_bytes(content)
    staging.replace(path)


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train_fraud_model.py",
        description=__doc__,
        epilog="example:\n  python examples/train_fraud_model.py --output models --transactions 100000 --seed 7",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, default=Path("models"), help="directory to write to (models)")
    parser.add_argument("--transactions", type=int, default=100_000, help="how many to simulate (100000)")
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same models (7)")
    parser.add_argument("--json", action="store_true", help="print the reports as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
