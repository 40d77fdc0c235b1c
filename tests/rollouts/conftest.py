"""An endpoint with traffic, and candidates that are as good or worse in one way each."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from model_store import Keyring, ModelRegistry
from tests.checkout import SOURCE, Checkout, Deployed
from tests.engine.load import Answers, constant_load

sys.path.insert(0, str(SOURCE / "examples"))

from simulated_transactions import compute_features, simulate

_RATE = 250
_ERRORS_IN_100 = 5
_RARE_DAY = 6.0


@dataclass
class Traffic:
    """Transactions as callers send them, and the same as a model is trained on them."""

    names: list[str]
    values: Any
    fraud: Any

    @property
    def bodies(self) -> list[object]:
        rows = self.values[np.random.default_rng(1).permutation(len(self.values))[:4000]]
        return [{"transactions": [dict(zip(self.names, map(float, row), strict=True))]} for row in rows]


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    """Five in a hundred are of a day of the week that one of the models does not know."""
    transactions = simulate(8000, 5)
    names, values = compute_features(transactions)
    day = names.index("day_of_week")
    values[:, day] = np.arange(len(values)) % _RARE_DAY
    values[:: 100 // _ERRORS_IN_100, day] = _RARE_DAY
    return Traffic(names, values.astype(np.float64).round(4), transactions.is_fraud)


@pytest.fixture(scope="module")
def candidates(deployed: Deployed, traffic: Traffic) -> dict[str, str]:
    """Model ids: one as good as what serves, and three that are worse."""
    root = deployed.checkout.root
    keys = Keyring.from_files(root / ".secrets" / "model.key")
    registry = ModelRegistry(root / "registry", keys=keys)
    stable, _ = registry.load_model(deployed.first)
    schema = [_feature(traffic, number) for number in range(len(traffic.names))]
    moved = [
        _feature(traffic, number, shift=3.0 * float(traffic.values[:, number].std())) for number in range(len(schema))
    ]
    # What it refuses would be missed in the column's distribution: errors shall decide, not drift.
    without_drift = [each if each["name"] != "day_of_week" else {**each, "bins": None} for each in schema]
    without_drift = [{key: value for key, value in each.items() if value is not None} for each in without_drift]
    about: dict[str, Any] = {"model_name": "fraud_detector"}
    forest = RandomForestClassifier(n_estimators=300, n_jobs=1, max_depth=4, random_state=0)
    forest.fit(traffic.values, traffic.fraud)
    others = [number for number, name in enumerate(traffic.names) if name != "day_of_week"]
    known = OneHotEncoder(categories=[list(np.arange(_RARE_DAY))], handle_unknown="error")
    picky = make_pipeline(
        ColumnTransformer([("day", known, [traffic.names.index("day_of_week")]), ("rest", StandardScaler(), others)]),
        LogisticRegression(max_iter=2000),
    )
    usual = traffic.values[:, traffic.names.index("day_of_week")] != _RARE_DAY
    picky.fit(traffic.values[usual], traffic.fraud[usual])
    return {
        "stable": registry.register_model(stable, **about, model_type="XGBoost", runtime=True, feature_schema=schema),
        "equal": registry.register_model(stable, **about, model_type="Twin", runtime=True, feature_schema=schema),
        "drifted": registry.register_model(stable, **about, model_type="Moved", runtime=True, feature_schema=moved),
        "slow": registry.register_model(forest, **about, model_type="Forest", runtime=False, feature_schema=schema),
        "failing": registry.register_model(picky, **about, model_type="Picky", feature_schema=without_drift),
    }


def _feature(traffic: Traffic, number: int, shift: float = 0.0) -> dict[str, Any]:
    column = traffic.values[:, number] + shift
    edges = np.unique(np.quantile(column, np.linspace(0.1, 0.9, 9)))
    shares = np.bincount(np.searchsorted(edges, column), minlength=len(edges) + 1) / len(column)
    return {
        "name": traffic.names[number],
        "type": "number",
        "bins": {"edges": edges.tolist(), "shares": shares.tolist()},
    }


@pytest.fixture
def endpoint(deployed: Deployed, candidates: dict[str, str]) -> Iterator[Checkout]:
    """An endpoint that serves the stable version, with no candidate."""
    checkout = deployed.checkout
    if status_of(checkout)["rollout"].get("candidate"):
        checkout.deploy_model("abort", "development")
    if checkout.served_model() != candidates["stable"]:
        deploy(checkout, candidates["stable"], "--strategy", "rolling")
    yield checkout
    if status_of(checkout)["rollout"].get("candidate"):
        checkout.deploy_model("abort", "development")


def deploy(checkout: Checkout, model_id: str, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = ("deploy", model_id, "development", "--config", str(checkout.template), *options)
    return checkout.deploy_model(*command, code=code)


def status_of(checkout: Checkout) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(checkout.deploy_model("status", "development", "--json").stdout)
    return found


def load(checkout: Checkout, traffic: Traffic) -> Any:
    return constant_load(checkout.url, checkout.api_key(), None, _RATE, bodies=traffic.bodies)


def process_of(checkout: Checkout, slot: str) -> int:
    path = checkout.root / ".run" / f"fraud-detection-dev-{slot}" / "status.json"
    return int(json.loads(path.read_text())["serving"]["pid"])


def told(what: str, answers: Answers, seconds: float) -> None:
    print(f"{what}: {answers.total} requests, {answers.failed} failed, {seconds:.1f} s")


def traffic_splitter_of(checkout: Checkout) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((checkout.root / ".run" / "fraud-detection-dev" / "front.json").read_text())
    except (OSError, ValueError):
        return {}
    return found
