"""The guide's calls that need a stack, each as it is written, in a shell without variables; in `development`."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.checkout import Deployed
from tests.guide import EXAMPLE_DEPLOYMENT, EXAMPLE_ID, commands, python_block

_OF_A_SHELL = ("HOME", "PATH", "PYTHONPATH")


def _run(deployed: Deployed, *command: str) -> str:
    """Runs a command with the variables that every shell has, and the path of the copied checkout."""
    environment = deployed.checkout.environment
    of_the_tests = {name: value for name, value in environment.items() if name.startswith(("FRAUD_DETECTION_", "GOGC"))}
    done = subprocess.run(
        command,
        cwd=deployed.checkout.root,
        env={**of_the_tests, **{name: environment[name] for name in _OF_A_SHELL}},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _here(text: str) -> str:
    """The words of another environment in those of this machine's."""
    text = re.sub(r"\bPRODUCTION\b", "DEVELOPMENT", text).replace("fraud-detection-prod", "fraud-detection-dev")
    return re.sub(r"\b(production|staging)\b", "development", text)


def test_a_deployment_and_a_rollback_by_python(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    block = _here(python_block("deployment")).replace("fraud_detector_20241009_123456", deployed.second)
    asked = """
import json
newest, before = deployment.list_deployments("development")[:2]
print(json.dumps({"ids": [deployment_id, rollback_id], "healthy": health_status.healthy,
                  "deployments": [item.to_dict() for item in (before, newest)]}))"""
    found = json.loads(_run(deployed, sys.executable, "-c", f"{block}\n{asked}").splitlines()[-1])
    assert found["healthy"] is True
    assert found["ids"] == [item["deployment_id"] for item in found["deployments"]]
    assert [item["model_id"] for item in found["deployments"]] == [deployed.second, deployed.first]
    assert [item["intent"] for item in found["deployments"]] == ["deploy", "rollback"]
    assert checkout.served_model() == deployed.first
    checkout.pulumi("preview", "--stack", "dev", "--expect-no-changes")


def test_every_command_for_deployments(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    output = {}
    for command in commands("deploy_model"):
        words = [_here(word).replace(EXAMPLE_ID, deployed.third) for word in command]
        if EXAMPLE_DEPLOYMENT in command:
            words = [*command[:-1], checkout.list_deployments()[0]["deployment_id"]]
        output[command[2]] = _run(deployed, *words)
    assert deployed.third in output["deploy"]
    assert "healthy" in output["deploy"], "the health check's report follows"
    assert deployed.third not in output["list-models"], "it is deployed, not trained"
    assert deployed.third in output["list-deployments"]
    assert "healthy" in output["health"]
    assert deployed.first in output["rollback"]
    assert checkout.served_model() == deployed.first


def test_a_release_goes_from_its_tag_to_an_endpoint(deployed: Deployed, tmp_path: Path) -> None:
    checkout = deployed.checkout
    # The file, and the description beside it.
    for file in (checkout.root / "models").glob("xgboost_model.joblib*"):
        shutil.copyfile(file, file.with_name(file.name.replace("xgboost", "latest")))
    register, *_ = commands("workflow")
    told = tmp_path / "github_env"
    checkout.run(*register, GITHUB_ENV=str(told))
    model_id = told.read_text().strip().removeprefix("MODEL_ID=")
    _, staging, production = commands("workflow", MODEL_ID=model_id)
    for command in (staging, production):
        _run(deployed, *(_here(word) if word != model_id else word for word in command))
    assert checkout.served_model() == model_id
    assert "_model-v1.2.3_XGBoost_" in model_id
    answer = checkout.predict()
    assert (answer.status_code, answer.json()["model_id"]) == (200, model_id)
    checkout.pulumi("preview", "--stack", "dev", "--expect-no-changes")


def test_a_name_that_the_stack_trusts_lets_its_model_serve(deployed: Deployed) -> None:
    """An estimator of nobody's list: refused by the service until the stack's config trusts its name."""
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    # A module that the service's process finds, as one that is installed beside it.
    (checkout.root / "own_estimators.py").write_text(
        "from sklearn.linear_model import LogisticRegression\n\n\nclass Own(LogisticRegression):\n    pass\n"
    )
    code = """
import json
import numpy as np
from model_store import ModelRegistry
from own_estimators import Own
registry = ModelRegistry()
schema = registry.get_metadata(FIRST).feature_schema
rows = np.random.default_rng(0).normal(size=(80, len(schema)))
model = Own().fit(rows, (rows[:, 0] > 0).astype(int))
print(registry.register_model(model, "fraud_detector", model_type="Own", feature_schema=schema))""".replace(
        "FIRST", repr(deployed.first)
    )
    model_id = _run(deployed, sys.executable, "-c", code).splitlines()[-1]
    refused = checkout.deploy_model("deploy", model_id, "development", code=12).stderr
    assert "own_estimators.Own" in refused
    assert checkout.served_model() == deployed.first
    try:
        checkout.pulumi("config", "set", "--stack", "dev", "--path", "trusted_types[0]", "own_estimators.Own")
        checkout.deploy(model_id)
        assert checkout.served_model() == model_id
        assert checkout.predict().status_code == 200
    finally:
        checkout.pulumi("config", "rm", "--stack", "dev", "trusted_types")
        checkout.deploy(deployed.first)
