"""Both cloud stacks on a sandbox of the tests' own: real engine, real providers, real API server."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import SOURCE, TRANSACTIONS, Checkout, make_checkout

IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/fraud-detection@sha256:" + "a" * 64
ENVIRONMENTS = ("staging", "production")


@dataclass(frozen=True)
class Started:
    """A stack as it was when it had come up from nothing."""

    file: str
    """What its config file said."""
    outputs: dict[str, Any]
    model_id: str
    """As the API server had it."""
    resources: int


@dataclass
class Cloud:
    """A checkout whose stacks staging and production are up, and two registered versions."""

    checkout: Checkout
    variables: dict[str, str]
    first: str
    second: str
    seconds: dict[str, float] = field(default_factory=dict)
    """How long what took; printed at the end."""
    started: dict[str, Started] = field(default_factory=dict)

    def note_start(self, stack: str) -> None:
        # Named in the file, so that a reset brings this version back whatever the state has.
        named = f"  fraud-detection:modelVersion: {self.live_model(stack)}\n"
        named += "  fraud-detection:rollout: {strategy: rolling, slot: blue}\n"
        file = self.file(stack)
        file.write_text(file.read_text().replace("config:\n", f"config:\n{named}", 1))
        self.started[stack] = Started(
            self.file(stack).read_text(), self.outputs(stack), self.live_model(stack), len(self.states(stack))
        )

    def file(self, stack: str) -> Path:
        return self.checkout.root / f"Pulumi.{stack}.yaml"

    def reset(self, stack: str) -> None:
        """Makes a stack what it was when it had come up, whatever tests have made of it."""
        start = self.started[stack]
        if self.file(stack).read_text() == start.file and self._lives(stack):
            return
        self.file(stack).write_text(start.file)
        self.checkout.pulumi("up", "--yes", "--skip-preview", "-s", stack)

    def _lives(self, stack: str) -> bool:
        from kubernetes.client import ApiException

        try:
            return self.live_model(stack) == self.started[stack].model_id
        except ApiException:
            return False

    def deploy(self, model_id: str, environment: str, *flags: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = ("deploy", model_id, environment, "--json", *flags)
        return self.checkout.deploy_model(*command, code=code)

    def outputs(self, stack: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.checkout.pulumi("stack", "output", "--json", "-s", stack).stdout)
        return found

    def states(self, stack: str) -> list[dict[str, Any]]:
        """The resources as the stack's state has them."""
        exported = json.loads(self.checkout.pulumi("stack", "export", "-s", stack).stdout)
        found: list[dict[str, Any]] = exported["deployment"]["resources"]
        return found

    def deployment(self, stack: str) -> Any:
        """The Deployment as the API server has it."""
        name = deployment_name(stack)
        return self.kubernetes("AppsV1Api").read_namespaced_deployment(name, f"fraud-detection-{stack}")

    def live_model(self, stack: str) -> str:
        container = self.deployment(stack).spec.template.spec.containers[0]
        return next(str(item.value) for item in container.env if item.name == "MODEL_ID")

    def kubernetes(self, api: str) -> Any:
        from kubernetes import client, config

        configuration = client.Configuration()
        config.load_kube_config(self.variables["KUBECONFIG"], client_configuration=configuration)
        return getattr(client, api)(client.ApiClient(configuration))

    def aws(self, service: str, **changes: Any) -> Any:
        return aws_client(self.variables, service, **changes)


def deployment_name(stack: str) -> str:
    return {"staging": "fraud-detection-staging", "production": "fraud-detection-prod"}[stack]


def timed(cloud: Cloud, what: str, work: Any) -> Any:
    started = time.monotonic()
    try:
        return work()
    finally:
        cloud.seconds[what] = time.monotonic() - started


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that point everything at a fresh sandbox."""
    environment = {**os.environ, "FRAUD_DETECTION_SANDBOX": str(tmp_path_factory.mktemp("cloud") / "sandbox")}
    command = [sys.executable, "-m", "sandbox"]
    try:
        started = subprocess.run(
            [*command, "start", "--json"], cwd=SOURCE, env=environment, capture_output=True, text=True, timeout=1800
        )
        assert started.returncode == 0, started.stderr
        variables: dict[str, str] = json.loads(started.stdout)
        variables["PULUMI_SECRETS_PROVIDER"] = _key_for_secrets(variables)
        yield variables
    finally:
        subprocess.run([*command, "stop"], cwd=SOURCE, env=environment, check=True, capture_output=True, timeout=60)


def _key_for_secrets(variables: dict[str, str]) -> str:
    """A KMS key for the secrets in the stacks' state and config."""
    kms = aws_client(variables, "kms")
    kms.create_alias(AliasName="alias/state", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    return f"awskms://alias/state?region={variables['AWS_REGION']}"


def aws_client(variables: dict[str, str], service: str, **changes: Any) -> Any:
    """A client of the sandbox."""
    import boto3

    settings = {
        "endpoint_url": variables["AWS_ENDPOINT_URL"],
        "verify": variables["AWS_CA_BUNDLE"],
        "region_name": variables["AWS_REGION"],
        "aws_access_key_id": "sandbox",
        "aws_secret_access_key": "sandbox",
    }
    return boto3.client(service, **{**settings, **changes})


def make_cloud_checkout(root: Path) -> Checkout:
    """A checkout with models and keys; it needs no cloud yet."""
    checkout = make_checkout(root)
    (root / ".secrets").mkdir(mode=0o700)
    (root / ".secrets" / "passphrase").write_text("of the tests")
    script = str(SOURCE / "examples" / "train_fraud_model.py")
    checkout.run(sys.executable, script, "--output", "models", "--transactions", TRANSACTIONS)
    checkout.manage_models("keygen", ".secrets/signing.key", "--signing")
    return checkout


def point_at(checkout: Checkout, variables: dict[str, str]) -> None:
    """Makes the stack files fit the sandbox, with an API key in each."""
    checkout.environment |= variables
    public_key = (checkout.root / ".secrets" / "signing.key.pub").read_text().strip()
    for stack in ENVIRONMENTS:
        text = committed(stack).replace('reference: ""', f"reference: {IMAGE}")
        text = text.replace("public_keys: []", f'public_keys: ["{public_key}"]')
        (checkout.root / f"Pulumi.{stack}.yaml").write_text(text)
        issued = json.loads(checkout.deploy_model("api-key", stack, "tests", "--json").stdout)
        (checkout.root / ".secrets" / stack / "tests.key").write_text(issued["api_key"])


def committed(stack: str) -> str:
    """The stack's file as it is committed."""
    lines = (SOURCE / f"Pulumi.{stack}.yaml").read_text().splitlines(keepends=True)
    return "".join(
        line
        for line in lines
        if not re.match(r"encryptionsalt:|secretsprovider:|encryptedkey:|  fraud-detection:modelVersion:", line)
    )


_CHEAPEST = ("test_wrong_input", "test_stacks", "test_rights", "test_serving", "test_rollouts", "test_destroy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order in which tests find the stacks as they need them; in any other they bring them there first."""
    here = Path(__file__).parent
    indices = [index for index, item in enumerate(items) if item.path.parent == here]
    ordered = sorted((items[index] for index in indices), key=lambda item: _rank(item.path.stem))
    for index, item in zip(indices, ordered, strict=True):
        items[index] = item


def _rank(name: str) -> int:
    """Files that are not listed come last."""
    return _CHEAPEST.index(name) if name in _CHEAPEST else len(_CHEAPEST)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Future[tuple[Checkout, list[str]]]"]:
    """A checkout with two model versions, validated and approved; they are made while the sandbox starts."""
    root = tmp_path_factory.mktemp("stacks") / "checkout"

    def prepare() -> tuple[Checkout, list[str]]:
        checkout = make_cloud_checkout(root)
        versions = []
        for file in ("xgboost_model_previous.joblib", "xgboost_model.joblib"):
            command = ("register", f"models/{file}", "fraud_detector", "XGBoost", "--sign-key", ".secrets/signing.key")
            versions.append(json.loads(checkout.manage_models(*command, "--json").stdout)["model_id"])
            checkout.approve(versions[-1])
        return checkout, versions

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(prepare)


@pytest.fixture(scope="session")
def cloud(prepared: "Future[tuple[Checkout, list[str]]]", sandbox: dict[str, str]) -> Iterator[Cloud]:
    """Both stacks brought up from nothing, at the same time."""
    checkout, versions = prepared.result()
    point_at(checkout, sandbox)
    found = Cloud(checkout, sandbox, *versions)
    with ThreadPoolExecutor(len(ENVIRONMENTS)) as pool:
        list(pool.map(lambda each: timed(found, f"up {each}", lambda: found.deploy(found.first, each)), ENVIRONMENTS))
        list(pool.map(found.note_start, ENVIRONMENTS))
    yield found
    lines = [f"{what}: {seconds:.1f} s" for what, seconds in found.seconds.items()]
    (SOURCE / ".run").mkdir(exist_ok=True)
    (SOURCE / ".run" / "sandbox-times.txt").write_text("\n".join(lines) + "\n")
    shutil.rmtree(checkout.root / ".state", ignore_errors=True)
