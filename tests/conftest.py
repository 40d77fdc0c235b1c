"""What several kinds of tests start from."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout import SOURCE, TRANSACTIONS, Checkout, Deployed, make_checkout, stop_everything
from tests.service import Service, Setting, listening, make_setting, started


@pytest.fixture(scope="session")
def trained_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's model files, from a smaller simulation."""
    directory = tmp_path_factory.mktemp("trained") / "models"
    script = SOURCE / "examples" / "train_fraud_model.py"
    command = [sys.executable, str(script), "--output", str(directory), "--transactions", TRANSACTIONS]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    return directory


@pytest.fixture
def fresh_checkout(tmp_path: Path, trained_models: Path) -> Iterator[Checkout]:
    """A checkout in which nothing was ever deployed."""
    checkout = make_checkout(tmp_path / "checkout")
    shutil.copytree(trained_models, checkout.root / "models")
    yield checkout
    stop_everything(checkout)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, trained_models: Path) -> Iterator[Deployed]:
    """`make up` done once for a file of tests; each test leaves an endpoint that serves."""
    checkout = make_checkout(tmp_path_factory.mktemp("engine") / "checkout")
    shutil.copytree(trained_models, checkout.root / "models")
    answer = json.loads(checkout.deploy_model("up", "development", "--json").stdout)
    listed = json.loads(checkout.deploy_model("list-models", "--json").stdout)
    other = next(model["model_id"] for model in listed if model["model_id"] != answer["model_id"])
    third = checkout.register("xgboost_model.joblib")
    yield Deployed(checkout, answer["model_id"], other, third)
    stop_everything(checkout)


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    """A registered model and what a service needs beside it."""
    return make_setting(tmp_path_factory.mktemp("serving"))


@pytest.fixture(scope="module")
def service(setting: Setting) -> Iterator[Service]:
    """The service on that model, for a file of tests."""
    with listening() as listener, started(setting, listener) as running:
        yield running
