"""The stack staging on a sandbox with real nodes of the tests' own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sandbox.docker_build import service_image
from sandbox.images import push
from sandbox.nodes.addresses import GATEWAY_PODS, registry_name
from sandbox.nodes.capability import what_hinders
from sandbox.nodes.control_groups import group_name
from tests.checkout import SOURCE, Checkout
from tests.cluster.traffic import Gateway, Traffic
from tests.sandbox.conftest import Cloud, committed, make_cloud_checkout

STACK = "staging"
HOST = "staging.api.fraud-detection.com"
_ROLLOUT_SECONDS = 300
_COMMAND_SECONDS = 1500


@dataclass
class RealCloud(Cloud):
    """A checkout whose stack staging runs in real pods."""

    gateway: Gateway | None = None
    fraud: str = ""
    """A version that decides everything as fraud."""
    told: list[str] = field(default_factory=list)

    def traffic(self) -> Traffic:
        assert self.gateway is not None
        body = json.loads((self.checkout.root / "models" / "example_transaction.json").read_text())
        return Traffic(self.gateway, {"transactions": body["transactions"][:1]})

    def tell(self, what: str, began: float, traffic: Traffic) -> None:
        self.told.append(f"{what}: {time.monotonic() - began:.0f} s, {traffic.told}")


@pytest.fixture(scope="session")
def real_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables of a sandbox with real nodes: the running one that the environment names, or a fresh one.

    One line where this machine cannot have it.
    """
    here = Path(os.environ.get("FRAUD_DETECTION_SANDBOX") or tmp_path_factory.mktemp("cluster") / "sandbox")
    environment = {**os.environ, "FRAUD_DETECTION_SANDBOX": str(here)}
    if _sandbox("status", environment).returncode == 0:
        yield json.loads(_sandbox("env", environment).stdout)
        return
    if hindrance := what_hinders(here):
        pytest.skip(f"no real nodes here: {hindrance}")
    try:
        started = _sandbox("start", environment, "--nodes", "real")
        assert started.returncode == 0, "its messages are above"
        yield json.loads(started.stdout)
    finally:
        _sandbox("stop", environment)
        assert not here.exists()
        assert not list(Path("/sys/fs/cgroup").glob(f"*/{group_name(here, '')}*"))


def _sandbox(command: str, environment: dict[str, str], *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox", command, *flags, "--json"],
        cwd=SOURCE,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=3600,
        check=False,
    )


@pytest.fixture(scope="session")
def image_reference(real_sandbox: dict[str, str]) -> str:
    """The service's image of this checkout, in the sandbox's registry."""
    image = service_image(print)
    repository = "fraud-detection/staging"
    authority = Path(real_sandbox["AWS_CA_BUNDLE"])
    digest = push(image, real_sandbox["SANDBOX_IMAGES"], authority, repository, "tests")
    return f"{registry_name(real_sandbox['AWS_REGION'])}/{repository}@{digest}"


@pytest.fixture(scope="session")
def cloud(
    tmp_path_factory: pytest.TempPathFactory, real_sandbox: dict[str, str], image_reference: str
) -> Iterator[RealCloud]:
    """A checkout with three registered versions and nothing deployed."""
    checkout = make_cloud_checkout(tmp_path_factory.mktemp("stacks") / "checkout")
    checkout.environment |= real_sandbox
    checkout.timeout_seconds = _COMMAND_SECONDS
    _write_stack_file(checkout, image_reference)
    issued = json.loads(checkout.deploy_model("api-key", STACK, "tests", "--json").stdout)
    (checkout.root / ".secrets" / STACK / "tests.key").write_text(issued["api_key"])
    versions = [
        _register(checkout, "xgboost_model_previous.joblib"),
        _register(checkout, "xgboost_model.joblib"),
        _register(checkout, "xgboost_model.joblib", "--threshold", "0.000001"),
    ]
    found = RealCloud(checkout, real_sandbox, *versions[:2], fraud=versions[2])
    authority = Path(real_sandbox["AWS_CA_BUNDLE"])
    found.gateway = Gateway(real_sandbox["SANDBOX_GATEWAY"], HOST, authority, issued["api_key"])
    yield found
    for line in found.told:
        print(line)
    (SOURCE / ".run").mkdir(exist_ok=True)
    (SOURCE / ".run" / "cluster-times.txt").write_text("\n".join(found.told) + "\n")


def _register(checkout: Checkout, file: str, *more: str) -> str:
    command = ("register", f"models/{file}", "fraud_detector", "XGBoost", "--sign-key", ".secrets/signing.key")
    return str(json.loads(checkout.manage_models(*command, *more, "--json").stdout)["model_id"])


def _write_stack_file(checkout: Checkout, image: str) -> None:
    """Staging as it is committed, with the image, the signer and the gateway's pods of the sandbox."""
    public_key = (checkout.root / ".secrets" / "signing.key.pub").read_text().strip()
    text = committed(STACK).replace('reference: ""', f"reference: {image}")
    text = text.replace("public_keys: []", f'public_keys: ["{public_key}"]')
    cluster = f"    gateway_pod_namespaces: [{GATEWAY_PODS}]\n    rollout_seconds: {_ROLLOUT_SECONDS}\n"
    text = text.replace("    gateway_namespace: gateways\n", f"    gateway_namespace: gateways\n{cluster}")
    # Two cores carry everything: latencies tell of the machine, not of a version.
    text += "  fraud-detection:rollout: {strategy: rolling, checks: {latency_ratio: 50.0, max_wait_seconds: 600}}\n"
    (checkout.root / f"Pulumi.{STACK}.yaml").write_text(text)


def pods(cloud: Cloud, slot: str = "") -> list[Any]:
    """The pods of a slot that are not ending."""
    name = f"fraud-detection-{STACK}{slot}"
    listed = cloud.kubernetes("CoreV1Api").list_namespaced_pod(
        f"fraud-detection-{STACK}", label_selector=f"app.kubernetes.io/name={name}"
    )
    return [pod for pod in listed.items if pod.metadata.deletion_timestamp is None]
