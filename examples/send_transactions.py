#!/usr/bin/env python3
"""Sends simulated card transactions to an endpoint that serves the example model, at a steady rate.

A rollout is decided on live requests; this script makes some on a machine that has no callers yet. The transactions are
those of the simulation that the model was trained on, in a random order, so that no feature drifts.

    python examples/send_transactions.py --seconds 60 --per-second 50
"""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from simulated_transactions import DAYS, compute_features, simulate
from train_fraud_model import TRAINING_ENDS_DAY

_BODIES = 5000


def main(arguments: list[str] | None = None) -> int:
    """Sends transactions; returns 0 when each one was answered 200."""
    options = _parser().parse_args(arguments)
    try:
        bodies = _bodies(json.loads(options.report.read_text(encoding="utf-8")))
        headers = {"X-API-Key": options.api_key_file.read_text(encoding="utf-8").strip()}
    except OSError as error:
        sys.stderr.write(f"error: {error.filename}: {error.strerror}; run this in a checkout after `make up`\n")
        return 2
    except (KeyError, ValueError):
        sys.stderr.write(f"error: {options.report}: not a report of train_fraud_model.py; name one with --report\n")
        return 2
    answers: Counter[str] = Counter()
    started = time.monotonic()
    with httpx.Client(base_url=options.url, headers=headers, timeout=10, trust_env=False) as client:
        for number in range(int(options.seconds * options.per_second)):
            time.sleep(max(0.0, started + number / options.per_second - time.monotonic()))
            answers[_answer(client, bodies[number % len(bodies)])] += 1
    for answer, count in answers.most_common():
        print(f"{count:>7}  {answer}")
    return 0 if set(answers) <= {"200"} else 1


def _bodies(report: dict[str, Any]) -> list[dict[str, dict[str, float]]]:
    """Requests from the training period of the simulation that a training report tells of."""
    count = 1000 * round(report["training_rows"] * DAYS / TRAINING_ENDS_DAY / 1000)
    transactions = simulate(count, report["seed"])
    names, values = compute_features(transactions)
    rows = np.flatnonzero(transactions.seconds < TRAINING_ENDS_DAY * 86_400)
    chosen = np.random.default_rng(report["seed"]).permutation(rows)[:_BODIES]
    return [{"transaction": dict(zip(names, map(float, values[row]), strict=True))} for row in chosen]


def _answer(client: httpx.Client, body: dict[str, dict[str, float]]) -> str:
    try:
        return str(client.post("/predict", json=body).status_code)
    except httpx.HTTPError as error:
        return type(error).__name__


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="address of the endpoint")
    parser.add_argument("--api-key-file", type=Path, default=Path(".secrets/api_key"), help="key with scope predict")
    report = Path("models/xgboost_model.joblib.metrics.json")
    parser.add_argument(
        "--report", type=Path, default=report, help="what the example's training wrote beside the model"
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long")
    parser.add_argument("--per-second", type=float, default=50, help="requests per second")
    return parser


if __name__ == "__main__":
    sys.exit(main())
