"""Rollouts on this machine: real engine, real front, real models, real traffic, and not one failed request."""

import json
import os
import signal
import subprocess
import sys
import time
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
from tests.engine.conftest import SOURCE, Checkout, Deployed, wait_until
from tests.engine.load import Answers, constant_load

sys.path.insert(0, str(SOURCE / "examples"))

from simulated_transactions import features_of, simulate

_RATE = 150
_ERRORS_IN_100 = 5
_RARE_DAY = 6.0
pytestmark = pytest.mark.timeout(300)


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
    names, values = features_of(transactions)
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
    stable = registry.load_model(deployed.first)
    schema = [_feature(traffic, number) for number in range(len(traffic.names))]
    moved = [
        _feature(traffic, number, shift=3.0 * float(traffic.values[:, number].std())) for number in range(len(schema))
    ]
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
        "slow": registry.register_model(forest, **about, model_type="Forest", feature_schema=schema),
        "failing": registry.register_model(picky, **about, model_type="Picky", feature_schema=schema),
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
    if _status(checkout)["rollout"].get("candidate"):
        checkout.deploy_model("abort", "development")
    if checkout.served_model() != candidates["stable"]:
        _deploy(checkout, candidates["stable"], "--strategy", "rolling")
    yield checkout
    if _status(checkout)["rollout"].get("candidate"):
        checkout.deploy_model("abort", "development")


def _deploy(checkout: Checkout, model_id: str, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = ("deploy", model_id, "development", "--config", str(checkout.template), *options)
    return checkout.deploy_model(*command, code=code)


def _status(checkout: Checkout) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(checkout.deploy_model("status", "development", "--json").stdout)
    return found


def _load(checkout: Checkout, traffic: Traffic) -> Any:
    return constant_load(checkout.url, checkout.api_key(), None, _RATE, bodies=traffic.bodies)


def _pid(checkout: Checkout, slot: str) -> int:
    path = checkout.root / ".run" / f"fraud-detection-dev-{slot}" / "status.json"
    return int(json.loads(path.read_text())["serving"]["pid"])


def _told(what: str, answers: Answers, seconds: float) -> None:
    print(f"{what}: {answers.total} requests, {answers.failed} failed, {seconds:.1f} s")


def test_a_canary_that_is_as_good_is_promoted_step_by_step_without_a_failed_request(
    endpoint: Checkout, candidates: dict[str, str], traffic: Traffic
) -> None:
    with _load(endpoint, traffic) as answers:
        began = time.monotonic()
        said = _deploy(
            endpoint, candidates["equal"], "--strategy", "canary", "--steps", "50,100", "--interval", "1s"
        ).stderr
        wait_until(lambda: endpoint.served_model() == candidates["equal"])
        candidate = _pid(endpoint, "green")
    _told("canary", answers, time.monotonic() - began)
    assert "candidate" in said
    assert answers.failed == 0, answers.statuses
    status = _status(endpoint)
    assert (status["stable"], status["rollout"]["slot"]) == (candidates["equal"], "green")
    assert _pid(endpoint, "green") == candidate
    messages = [item["message"] for item in endpoint.list_deployments()]
    assert messages[0].startswith(f"deploy {candidates['equal']} (promoted, canary")
    assert any("at 50 %" in message for message in messages)
    endpoint.pulumi("preview", "--stack", "dev", "--expect-no-changes")


@pytest.mark.parametrize("which", ["failing", "slow", "drifted"])
def test_a_candidate_that_is_worse_is_withdrawn_within_the_first_step(
    endpoint: Checkout, candidates: dict[str, str], traffic: Traffic, which: str
) -> None:
    with _load(endpoint, traffic) as answers:
        began = time.monotonic()
        options = ("--strategy", "canary", "--steps", "50,100", "--interval", "1s", "--force", "--reason", "test")
        said = _deploy(endpoint, candidates[which], *options, code=22).stderr
        seconds = time.monotonic() - began
        wait_until(lambda: answers.total > 0)
    _told(f"withdrawn {which}", answers, seconds)
    reason = {"failing": "errors:", "slow": "latency:", "drifted": "drift:"}[which]
    assert f"was withdrawn at 50 %: {reason}" in said
    assert candidates[which] in answers.by_model
    assert endpoint.served_model() == candidates["stable"]
    expected_failures = ("500",) if which == "failing" else ()
    assert set(answers.statuses) <= {"200", *expected_failures}, answers.statuses
    status = _status(endpoint)
    assert "candidate" not in status["rollout"]
    assert "withdrawn" in endpoint.list_deployments()[0]["message"]


def test_a_blue_green_switch_and_the_way_back_are_switches(
    endpoint: Checkout, candidates: dict[str, str], traffic: Traffic
) -> None:
    with _load(endpoint, traffic) as answers:
        _deploy(endpoint, candidates["equal"], "--strategy", "blue_green", "--keep-minutes", "30")
        wait_until(lambda: endpoint.served_model() == candidates["equal"])
        status = _status(endpoint)
        assert status["rollout"]["kept"] == candidates["stable"]
        kept = _pid(endpoint, "blue")
        began = time.monotonic()
        back = endpoint.rollback()
        seconds = time.monotonic() - began
        assert endpoint.served_model() == candidates["stable"]
    _told("blue-green and back", answers, seconds)
    assert answers.failed == 0, answers.statuses
    assert seconds < 10
    assert back["model_id"] == candidates["stable"]
    assert _pid(endpoint, "blue") == kept, "the version before went on in its process"
    # Nothing is kept for ever: resume drops what was kept long enough, and nothing before.
    assert "nothing to resume" in endpoint.deploy_model("resume", "development").stdout


def test_by_hand_weights_promote_and_abort(endpoint: Checkout, candidates: dict[str, str], traffic: Traffic) -> None:
    """The weights are what was asked for, and every step is an update of the stack's config."""
    with _load(endpoint, traffic) as answers:
        # Decides nothing by itself: a step lasts an hour.
        command = [sys.executable, "scripts/deploy_model.py", "deploy", candidates["equal"], "development"]
        command += ["--config", str(endpoint.template), "--strategy", "canary", "--steps", "30,100", "--interval", "1h"]
        killed = subprocess.Popen(
            command,
            cwd=endpoint.root,
            env=endpoint.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(lambda: _front(endpoint).get("weight") == 30, 60)
        wait_until(lambda: not _status(endpoint)["held_by"], 30)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
        answers.by_model.clear()
        wait_until(lambda: sum(answers.by_model.values()) >= 600, 30)
        share = answers.by_model[candidates["equal"]] / sum(answers.by_model.values())
        status = _status(endpoint)
        refused = _deploy(endpoint, candidates["slow"], code=21).stderr
        endpoint.deploy_model("promote", "development")
        wait_until(lambda: endpoint.served_model() == candidates["equal"])
    print(f"asked for 30 %, answered {share:.2%}")
    assert abs(share - 0.30) <= 0.02
    assert (status["in_force"], status["rollout"]["weight"], status["interrupted"]) == (30, 30, "")
    assert status["numbers"]["candidate"]["requests"] > 0
    assert "promote|abort|resume" in refused
    assert answers.failed == 0, answers.statuses
    assert endpoint.deploy_model("abort", "development", code=21).stderr.count("no candidate") == 1


def test_killed_at_any_moment_status_tells_the_truth_and_resume_finishes(
    endpoint: Checkout, candidates: dict[str, str], traffic: Traffic
) -> None:
    with _load(endpoint, traffic) as answers:
        for moment in (1.5, 3.0, 5.0):
            command = [sys.executable, "scripts/deploy_model.py", "deploy", candidates["equal"], "development"]
            command += ["--config", str(endpoint.template), "--strategy", "canary", "--steps", "40,100"]
            command += ["--interval", "1s"]
            with subprocess.Popen(
                command,
                cwd=endpoint.root,
                env=endpoint.environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            ) as running:
                time.sleep(moment)
                os.killpg(running.pid, signal.SIGKILL)
            status = _status(endpoint)
            asked, in_force = status["rollout"].get("weight", 0), status["in_force"]
            # Either they are the same, or the status says that they are not.
            assert asked == (in_force or 0) or status["interrupted"], status
            if status["rollout"].get("candidate"):
                endpoint.deploy_model("abort", "development")
            else:
                endpoint.deploy_model("resume", "development")
            assert _status(endpoint)["interrupted"] == ""
            assert not (endpoint.root / ".run" / "fraud-detection-dev-green" / "supervisor.pid").exists()
            assert endpoint.served_model() == candidates["stable"]
        command = ("deploy", candidates["equal"], "development", "--config", str(endpoint.template))
        with subprocess.Popen(
            [sys.executable, "scripts/deploy_model.py", *command, "--strategy", "canary", "--steps", "40,100"],
            cwd=endpoint.root,
            env=endpoint.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as running:
            wait_until(lambda: _front(endpoint).get("weight") == 40, 60)
            os.killpg(running.pid, signal.SIGKILL)
        endpoint.pulumi("config", "set", "--stack", "dev", "--path", "rollout.interval_seconds", "1")
        endpoint.deploy_model("resume", "development")
        assert endpoint.served_model() == candidates["equal"]
    _told("killed and resumed", answers, 0.0)
    assert answers.failed == 0, answers.statuses


def test_what_cannot_be_is_refused_before_anything_changes(endpoint: Checkout, candidates: dict[str, str]) -> None:
    before = endpoint.stack_file.read_text()
    said = _deploy(endpoint, candidates["equal"], "--strategy", "canary", "--steps", "50,20", code=9).stderr
    assert "steps that grow and end with 100" in said
    assert "Traceback" not in said
    said = _deploy(endpoint, candidates["equal"], "--strategy", "rolling", "--shadow", code=9).stderr
    assert "--shadow" in said
    assert endpoint.stack_file.read_text() == before


def test_a_shadow_answers_nobody_and_is_compared(
    endpoint: Checkout, candidates: dict[str, str], traffic: Traffic
) -> None:
    with _load(endpoint, traffic) as answers:
        options = ("--strategy", "blue_green", "--shadow", "--interval", "1s", "--force", "--reason", "test")
        said = _deploy(endpoint, candidates["failing"], *options, code=22).stderr
    assert "was withdrawn at 0 %" in said
    assert answers.failed == 0, answers.statuses
    assert set(answers.by_model) == {candidates["stable"]}


def _front(checkout: Checkout) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((checkout.root / ".run" / "fraud-detection-dev" / "front.json").read_text())
    except (OSError, ValueError):
        return {}
    return found
