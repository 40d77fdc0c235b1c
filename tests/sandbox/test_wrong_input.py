"""A mistake gets one clear line and changes nothing, in cloud and cluster either."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import Checkout
from tests.sandbox.conftest import aws_client, make_cloud_checkout, point_at


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, sandbox: dict[str, str]) -> Checkout:
    """A checkout with nothing deployed: a version with all that is required, an unsigned one and one without more."""
    checkout = make_cloud_checkout(tmp_path_factory.mktemp("other") / "checkout")
    point_at(checkout, sandbox)
    for file, flags in (
        ("xgboost_model.joblib", ("--sign-key", ".secrets/signing.key")),
        ("xgboost_model_previous.joblib", ()),
        ("xgboost_model_previous.joblib", ("--sign-key", ".secrets/signing.key")),
    ):
        checkout.manage_models("register", f"models/{file}", "fraud_detector", "XGBoost", *flags)
    for model_id in _models(checkout):
        checkout.approve(model_id)
    return checkout


def _models(checkout: Checkout) -> tuple[str, str]:
    signed, unsigned, _ = json.loads(checkout.manage_models("list", "--json").stdout)
    return signed["model_id"], unsigned["model_id"]


def _refused(checkout: Checkout, stack: str, model_id: str, **environment: str) -> str:
    """Deploys, requires that it fails and that the stack stays empty; returns the error's lines."""
    completed = subprocess.run(
        [sys.executable, "scripts/deploy_model.py", "deploy", model_id, stack],
        cwd=checkout.root,
        env={**checkout.environment, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert completed.returncode in (9, 12, 19), completed.stdout + completed.stderr
    lines = completed.stderr.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("error: "))
    output = "\n".join(lines[first:])
    assert "Traceback" not in output
    _require_nothing_deployed(checkout, stack)
    return output


def _require_nothing_deployed(checkout: Checkout, stack: str) -> None:
    if (checkout.root / ".state").exists():
        exported = json.loads(checkout.pulumi("stack", "export", "-s", stack).stdout)
        types = {item["type"] for item in exported["deployment"].get("resources", [])}
        assert types <= {"pulumi:pulumi:Stack"}, types


def _with(checkout: Checkout, stack: str, old: str, new: str) -> Path:
    file = checkout.root / f"Pulumi.{stack}.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return file


def test_no_credentials(other: Checkout) -> None:
    signed, _ = _models(other)
    nothing = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
    # Where a key of KMS encrypts the stack's secrets, there is not even a stack without credentials.
    output = other.fails(sys.executable, "scripts/deploy_model.py", "deploy", signed, "staging", **nothing)
    assert "stack staging cannot be opened: could not create secrets manager" in output
    assert "Traceback" not in output
    by_passphrase = {**nothing, "PULUMI_SECRETS_PROVIDER": ""}
    assert "there are no AWS credentials" in _refused(other, "staging", signed, **by_passphrase)


def test_no_cluster(other: Checkout, tmp_path: Path) -> None:
    signed, _ = _models(other)
    assert "names no usable cluster" in _refused(other, "staging", signed, KUBECONFIG=str(tmp_path / "none"))


def test_an_expired_kubeconfig(other: Checkout, sandbox: dict[str, str], tmp_path: Path) -> None:
    signed, _ = _models(other)
    text = Path(sandbox["KUBECONFIG"]).read_text()
    token = next(line for line in text.splitlines() if "token:" in line)
    expired = tmp_path / "kubeconfig"
    expired.write_text(text.replace(token, "    token: expired"))
    assert "expired or lacks rights" in _refused(other, "staging", signed, KUBECONFIG=str(expired))


def test_a_cluster_that_does_not_answer(other: Checkout, sandbox: dict[str, str], tmp_path: Path) -> None:
    signed, _ = _models(other)
    gone = tmp_path / "kubeconfig"
    text = Path(sandbox["KUBECONFIG"]).read_text()
    server = next(line for line in text.splitlines() if "server:" in line)
    gone.write_text(text.replace(server, "    server: https://127.0.0.1:1"))
    assert "cannot be reached" in _refused(other, "staging", signed, KUBECONFIG=str(gone))


def test_a_namespace_that_is_there_already_is_not_adopted(other: Checkout, sandbox: dict[str, str]) -> None:
    from kubernetes import client, config

    signed, _ = _models(other)
    configuration = client.Configuration()
    config.load_kube_config(sandbox["KUBECONFIG"], client_configuration=configuration)
    core = client.CoreV1Api(client.ApiClient(configuration))
    core.create_namespace({"metadata": {"name": "fraud-detection-staging"}})
    try:
        assert "'fraud-detection-staging' is in the cluster and is not this stack's" in _refused(
            other, "staging", signed
        )
    finally:
        core.delete_namespace("fraud-detection-staging")


def test_an_identity_provider_of_another_cluster(other: Checkout) -> None:
    signed, _ = _models(other)
    file = other.root / "Pulumi.staging.yaml"
    before = file.read_text()
    try:
        _with(other, "staging", "/id/EXAMPLED", "/id/ANOTHER")
        assert "it is another cluster, or another cluster's provider" in _refused(other, "staging", signed)
    finally:
        file.write_text(before)


def test_a_missing_key_file(other: Checkout) -> None:
    signed, _ = _models(other)
    output = _refused(other, "staging", signed, API_KEYS_FILE="/nowhere/api_keys.json")
    assert "/nowhere/api_keys.json cannot be read" in output
    assert "API_KEYS_FILE" in output


@pytest.mark.parametrize(
    ("stack", "old", "new", "words"),
    [
        (
            "staging",
            "    region: eu-central-1",
            "    region: eu-central-9",
            "cloud.region: 'eu-central-9' does not have",
        ),
        ("staging", "    gateway: public", "    gatway: public", "kubernetes.gatway: unknown key; allowed: namespace"),
        ("staging", "registry_bucket: fraud", "registry_bucket: Fraud", "cloud.registry_bucket: 'Fraud"),
        ("staging", "@sha256:", ":v1#", "image.reference"),
        ("production", "https://api", "http://api", "deployment.api_endpoint: 'http://api"),
        ("production", "min_replicas: 3", "min_replicas: 1", "scaling_config.min_replicas: 1 is not allowed"),
        (
            "production",
            "    alarm_subscribers:\n      - {protocol: email, address: fraud-oncall@example.com}\n",
            "",
            "cloud.alarm_subscribers: is empty",
        ),
        ("production", "platform: kubernetes", "platform: local", "platform: 'local' is not allowed"),
        ("production", "policy: require", "policy: warn", "signing.policy: 'warn' is not allowed"),
    ],
)
def test_a_config_that_is_not_fit(other: Checkout, stack: str, old: str, new: str, words: str) -> None:
    signed, _ = _models(other)
    file = other.root / f"Pulumi.{stack}.yaml"
    before = file.read_text()
    try:
        _with(other, stack, old, new)
        template = _template_of(other, stack)
        assert words in _refused_with(other, stack, signed, template)
    finally:
        file.write_text(before)


def test_an_unsigned_model_and_one_that_was_never_validated(other: Checkout) -> None:
    _, unsigned = _models(other)
    new = json.loads(other.manage_models("list", "--json").stdout)[-1]["model_id"]
    assert "not signed" in _refused(other, "production", unsigned)
    refused = _refused(other, "production", new)
    assert f"{new} is trained; production serves what was validated" in refused
    assert f"approve {new} --evidence FILE" in refused


def test_a_bucket_name_that_is_taken(other: Checkout, sandbox: dict[str, str]) -> None:
    signed, _ = _models(other)
    bucket = "somebody-elses-bucket"
    theirs = aws_client(sandbox, "sts").assume_role(
        RoleArn="arn:aws:iam::999999999999:role/other", RoleSessionName="other"
    )["Credentials"]
    aws_client(
        sandbox,
        "s3",
        aws_access_key_id=theirs["AccessKeyId"],
        aws_secret_access_key=theirs["SecretAccessKey"],
        aws_session_token=theirs["SessionToken"],
    ).create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    file = other.root / "Pulumi.staging.yaml"
    before = file.read_text()
    try:
        _with(other, "staging", "registry_bucket: fraud-detection-registry-staging", f"registry_bucket: {bucket}")
        assert "is taken by another account" in _refused(other, "staging", signed)
    finally:
        file.write_text(before)


def _template_of(checkout: Checkout, stack: str) -> Path:
    """A template that says what the stack's file says, so that the mistake is in both."""
    import yaml

    config = yaml.safe_load((checkout.root / f"Pulumi.{stack}.yaml").read_text())["config"]
    path = checkout.root / "template.yaml"
    path.write_text(yaml.safe_dump(config["fraud-detection:deployment"]))
    return path


def _refused_with(checkout: Checkout, stack: str, model_id: str, template: Path) -> str:
    output = checkout.fails(
        sys.executable, "scripts/deploy_model.py", "deploy", model_id, stack, "--config", str(template)
    )
    assert "Traceback" not in output
    _require_nothing_deployed(checkout, stack)
    return output
