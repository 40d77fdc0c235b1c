"""A second clone on the same state sees what is deployed, keeps to its gates, and leaves its stack file as it is."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import SOURCE, Checkout, Deployed, make_checkout
from tests.s3_servers import moto_server, s3_client

_OTHER_FEATURES = """
import joblib, pandas
from sklearn.linear_model import LogisticRegression
rows = pandas.DataFrame({"distance": [0.0, 1.0, 2.0, 3.0], "hour": [1.0, 2.0, 3.0, 4.0]})
joblib.dump(LogisticRegression().fit(rows, [0, 1, 0, 1]), "models/other_features.joblib")
"""


@pytest.fixture
def clone(deployed: Deployed, tmp_path: Path) -> Checkout:
    """A clone that has never deployed; state, registry and keys are those of the first checkout."""
    first = deployed.checkout
    found = make_checkout(tmp_path / "clone")
    shutil.copytree(first.root / "models", found.root / "models")
    secrets = first.root / ".secrets"
    return Checkout(
        found.root,
        first.port,
        {
            **found.environment,
            "PULUMI_BACKEND_URL": first.environment["PULUMI_BACKEND_URL"],
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(secrets / "passphrase"),
            "MODEL_REGISTRY_URL": str(first.root / "registry"),
            "MODEL_KEY_FILE": str(secrets / "model.key"),
            "API_KEYS_FILE": str(secrets / "api_keys.json"),
        },
    )


def test_a_deploy_leaves_no_state_in_the_stacks_file(deployed: Deployed) -> None:
    checkout = deployed.checkout
    before = checkout.stack_file.read_text()
    checkout.deploy(deployed.second)
    checkout.deploy(deployed.first)
    assert checkout.stack_file.read_text() == before
    assert not any(word in before for word in ("modelVersion:", "encryptionsalt", "rollout:"))
    checkout.pulumi("preview", "--stack", "dev", "--expect-no-changes")
    assert checkout.served_model() == deployed.first


def test_a_clone_sees_the_version_and_a_model_with_other_features_does_not_pass(
    deployed: Deployed, clone: Checkout
) -> None:
    deployed.checkout.ensure(deployed.first)
    before = clone.stack_file.read_text()
    assert json.loads(clone.deploy_model("status", "development", "--json").stdout)["stable"] == deployed.first
    clone.run(sys.executable, "-c", _OTHER_FEATURES)
    command = ("register", "models/other_features.joblib", "fraud_detector", "LogisticRegression", "--json")
    other = json.loads(clone.manage_models(*command).stdout)["model_id"]
    assert "feature schema" in clone.deploy_model("deploy", other, "development", code=19).stderr
    assert clone.stack_file.read_text() == before
    assert deployed.checkout.served_model() == deployed.first


def test_a_clone_without_the_passphrase_makes_none(deployed: Deployed, clone: Checkout) -> None:
    del clone.environment["PULUMI_CONFIG_PASSPHRASE_FILE"]
    output = clone.deploy_model("deploy", deployed.second, "development", code=6).stderr
    assert f"{clone.root}/.secrets/passphrase is missing" in output
    assert not (clone.root / ".secrets" / "passphrase").exists()
    clone.environment["PULUMI_CONFIG_PASSPHRASE"] = "another"
    output = clone.deploy_model("deploy", deployed.second, "development", code=12).stderr
    assert "is not the one that encrypts the secrets of stack dev" in output
    assert deployed.checkout.predict().status_code == 200


def test_a_state_or_history_that_is_cut_short_is_named_without_a_traceback(deployed: Deployed) -> None:
    checkout = deployed.checkout
    state = checkout.root / ".state" / ".pulumi" / "stacks" / "fraud-detection" / "dev.json"
    history = max((checkout.root / ".state" / ".pulumi" / "history" / "fraud-detection" / "dev").glob("*.history.json"))
    for path in (state, history):
        whole = path.read_bytes()
        path.write_bytes(whole[:100])
        try:
            for command in (("list-deployments",), ("rollback", "development"), ("status", "development")):
                output = checkout.deploy_model(*command, code=4).stderr
                assert f"{path} is not whole JSON" in output
                assert "Traceback" not in output
            if path == state:
                printed = checkout.run(sys.executable, "scripts/preview_stack.py", "dev", code=4)
                assert f"{path} is not whole JSON" in printed.stderr
                assert "the newest whole copy is" in printed.stderr
        finally:
            path.write_bytes(whole)


def test_doctor_names_what_a_clone_lacks_and_init_makes_the_file(deployed: Deployed, clone: Checkout) -> None:
    del clone.environment["MODEL_KEY_FILE"]
    clone.stack_file.unlink()
    found = {row["name"]: row for row in json.loads(_doctor(clone, "--json", code=27))}
    assert found["stack file"]["mend"] == "python scripts/deploy_model.py init development"
    assert "keygen" in found["model key"]["mend"]
    clone.deploy_model("init", "development")
    output = _doctor(clone, code=27)
    assert "LACKS  model key" in output
    assert "1 thing(s) lacking" in output
    clone.environment["MODEL_KEY_FILE"] = str(deployed.checkout.root / ".secrets" / "model.key")
    assert "nothing is lacking" in _doctor(clone, code=0)
    clone.environment["PULUMI_CONFIG_PASSPHRASE"] = "another"
    assert "LACKS  secrets provider  incorrect passphrase" in _doctor(clone, code=27)
    clone.deploy_model("init", "development", code=9)


def _doctor(checkout: Checkout, *flags: str, code: int) -> str:
    return checkout.deploy_model("doctor", "development", *flags, code=code).stdout


def test_the_command_that_doctor_names_mends_a_state_and_a_history_that_are_cut_short(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.deploy(deployed.second)
    checkout.deploy(deployed.first)
    state = checkout.root / ".state" / ".pulumi"
    history = max((state / "history" / "fraud-detection" / "dev").glob("*.history.json"))
    before = history.read_text()
    for path in (state / "stacks" / "fraud-detection" / "dev.json", history):
        path.write_text("{")
        (found,) = [row for row in json.loads(_doctor(checkout, "--json", code=27)) if row["name"] == "state"]
        checkout.run("bash", "-c", found["mend"])
        assert "nothing is lacking" in _doctor(checkout, code=0)
        assert json.loads(checkout.deploy_model("status", "development", "--json").stdout)["stable"] == deployed.first
    history.write_text(before)


def test_a_backend_in_a_bucket_has_the_state(deployed: Deployed, clone: Checkout, tmp_path: Path) -> None:
    checkout, own = deployed.checkout, deployed.checkout.environment["PULUMI_BACKEND_URL"]
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    with moto_server(tmp_path) as url:
        s3_client(url).create_bucket(Bucket="states")
        options = f"endpoint={url.removeprefix('http://')}&disableSSL=true&s3ForcePathStyle=true&region=us-east-1"
        for each in (checkout, clone):
            each.environment |= {**keys, "PULUMI_BACKEND_URL": f"s3://states?{options}"}
        try:
            assert "nothing is deployed" in checkout.deploy_model("status", "development").stdout
            checkout.deploy(deployed.second)
            status = json.loads(clone.deploy_model("status", "development", "--json").stdout)
            assert status["stable"] == deployed.second
            clone.environment["PULUMI_BACKEND_URL"] = f"s3://nowhere?{options}"
            assert "NoSuchBucket" in clone.deploy_model("status", "development", code=12).stderr
            lacking = [row["name"] for row in json.loads(_doctor(clone, "--json", code=27)) if not row["there"]]
            assert lacking == ["state"]
        finally:
            for name in keys:
                del checkout.environment[name]
            checkout.environment["PULUMI_BACKEND_URL"] = own


def test_what_an_incident_changed_survives_the_next_deploy(deployed: Deployed, tmp_path: Path) -> None:
    checkout = deployed.checkout
    before = checkout.stack_file.read_text()
    template = tmp_path / "incident.yaml"
    template.write_text("resource_limits: {cpu: 1500m}\n")
    try:
        command = ("deploy", deployed.second, "development")
        output = checkout.deploy_model(*command, "--config", str(template)).stderr
        assert f"Pulumi.dev.yaml: resource_limits.cpu: 1000m becomes 1500m ({template})" in output
        checkout.deploy_model("deploy", deployed.first, "development")
        assert checkout.stack_file.read_text() == before.replace("cpu: 1000m", "cpu: 1500m")
    finally:
        checkout.stack_file.write_text(before)


def test_a_colleague_who_asks_during_a_deploy_is_answered_or_told_to_wait(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.deploy(deployed.first)
    questions = (
        ("list-deployments",),
        ("rollback", "development", "--to", "never_XGBoost_20200101_000000"),
        ("status", "development"),
    )
    deploy = (sys.executable, "scripts/deploy_model.py", "deploy", deployed.second, "development")
    codes = []
    with subprocess.Popen(deploy, cwd=checkout.root, env=checkout.environment, stderr=subprocess.DEVNULL) as running:
        while running.poll() is None:
            asked = (sys.executable, "scripts/deploy_model.py", *questions[len(codes) % len(questions)])
            done = subprocess.run(asked, cwd=checkout.root, env=checkout.environment, capture_output=True, text=True)
            assert done.returncode in (0, 10, 18), done.stderr
            codes.append(done.returncode)
    assert running.returncode == 0
    assert len(codes) > 1
    assert checkout.served_model() == deployed.second


def test_a_proxy_is_not_asked_about_this_machine(deployed: Deployed) -> None:
    checkout = deployed.checkout
    proxies = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    checkout.environment |= proxies
    try:
        checkout.deploy(deployed.second)
    finally:
        for name in proxies:
            del checkout.environment[name]
    assert checkout.served_model() == deployed.second


def test_commands_about_a_stack_that_was_never_made_make_none(deployed: Deployed) -> None:
    checkout = deployed.checkout
    file = checkout.root / "Pulumi.staging.yaml"
    shutil.copyfile(SOURCE / file.name, file)
    before = file.read_bytes()
    assert "nothing is deployed" in checkout.deploy_model("down", "staging").stdout
    for command, code in (("status", 0), ("rollback", 3), ("history", 0)):
        ended = checkout.deploy_model(command, "staging", code=code)
        assert "Traceback" not in ended.stderr
    assert file.read_bytes() == before
    assert "staging" not in checkout.pulumi("stack", "ls").stdout
