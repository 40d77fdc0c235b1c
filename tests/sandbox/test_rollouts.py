"""Rollouts on the cluster: the route at each step, pods that are not restarted, and a backup that restores."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from model_store.artifact.reader import measure_digest
from tests.sandbox.conftest import Cloud, deployment_name, timed

_STACK = "production"
_NAME = deployment_name(_STACK)
_PUBLISH_SECONDS = 2.0


@dataclass
class _Canary:
    """What a canary did, from the command to its end."""

    code: int
    output: str
    routes: list[dict[str, int]]
    """Percent of the requests by slot, each time that the route was changed."""
    stable_pods: set[str]
    candidate_pods: set[str]
    ready: int
    """Candidate's pods that were ready when the route was first changed."""
    seconds: float


def _route(cloud: Cloud, stack: str = _STACK) -> dict[str, int]:
    """Percent of the requests by Service."""
    api, name = cloud.kubernetes("CustomObjectsApi"), deployment_name(stack)
    route = ("gateway.networking.k8s.io", "v1", _namespace(stack), "httproutes", name)
    found = api.get_namespaced_custom_object(*route)
    (rule,) = [rule for rule in found["spec"]["rules"] if not rule["matches"][0].get("headers")]
    return {each["name"].removeprefix(name) or "-blue": each["weight"] for each in rule["backendRefs"]}


def _pods(cloud: Cloud, slot: str, stack: str = _STACK) -> set[str]:
    name = deployment_name(stack) + slot.replace("-blue", "")
    listed = cloud.kubernetes("CoreV1Api").list_namespaced_pod(
        _namespace(stack), label_selector=f"app.kubernetes.io/name={name}"
    )
    return {pod.metadata.name for pod in listed.items if pod.metadata.deletion_timestamp is None}


def _namespace(stack: str) -> str:
    return f"fraud-detection-{stack}"


def _rollout(cloud: Cloud) -> dict[str, Any]:
    output = cloud.checkout.deploy_model("status", _STACK, "--json").stdout
    found: dict[str, Any] = json.loads(output)
    return found


def _publish(cloud: Cloud, stack: str, model_id: str, requests: int, errors: int) -> None:
    """What pods of this version would publish; the latency of each tenth request: 4 ms, or 8 of one in ten."""
    dimensions = {"Environment": stack, "Deployment": deployment_name(stack), "ModelVersion": model_id}
    counts = {"Requests": requests, "Errors": errors, "Decisions": requests - errors, "Frauds": requests // 50}
    latency = {"Values": [4.0, 8.0], "Counts": [requests * 9 // 100, requests // 100], "Unit": "Milliseconds"}
    data = {name: {"Value": value} for name, value in counts.items()} | {"Latency": latency, "Drift": {"Value": 0.05}}
    cloud.aws("cloudwatch").put_metric_data(
        Namespace="FraudDetection",
        MetricData=[
            {
                "MetricName": name,
                "Timestamp": datetime.now(UTC),
                "Dimensions": [{"Name": key, "Value": text} for key, text in dimensions.items()],
                **values,
            }
            for name, values in data.items()
        ],
    )


def _run_canary(cloud: Cloud, stack: str, steps: str, errors_in_300: int) -> _Canary:
    """Deploys the second version over the first one while both publish."""
    began, published, ready = time.monotonic(), 0.0, 0
    routes, stable_pods, candidate_pods = [_route(cloud, stack)], _pods(cloud, "-blue", stack), set[str]()
    command = [sys.executable, "scripts/deploy_model.py", "deploy", cloud.second, stack, "--strategy", "canary"]
    with subprocess.Popen(
        [*command, "--steps", steps, "--interval", "1s"],
        cwd=cloud.checkout.root,
        env=cloud.checkout.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        while running.poll() is None:
            assert time.monotonic() < began + 200, f"it does not end: {routes}"
            if (now := _route(cloud, stack)) != routes[-1]:
                routes.append(now)
                if now.get("-green"):
                    candidate_pods = candidate_pods or _pods(cloud, "-green", stack)
                    ready = ready or _ready(cloud, stack)
            if time.monotonic() - published > _PUBLISH_SECONDS:
                published = time.monotonic()
                _publish(cloud, stack, cloud.first, 1000, 1)
                _publish(cloud, stack, cloud.second, 300, errors_in_300)
            time.sleep(0.2)
        output = running.communicate()[1]
    seconds = time.monotonic() - began
    return _Canary(running.returncode, output, routes, stable_pods, candidate_pods, ready, seconds)


def _ready(cloud: Cloud, stack: str) -> int:
    candidate = f"{deployment_name(stack)}-green"
    found = cloud.kubernetes("AppsV1Api").read_namespaced_deployment(candidate, _namespace(stack))
    return int(found.status.ready_replicas or 0)


@pytest.fixture(scope="module")
def canaries(cloud: Cloud) -> dict[str, _Canary]:
    """One as good as stable, on staging, and one that answers errors, on production, at the same time."""
    for stack in ("staging", _STACK):
        cloud.reset(stack)
    with ThreadPoolExecutor(2) as pool:
        good = pool.submit(_run_canary, cloud, "staging", "5,50,100", 0)
        bad = pool.submit(_run_canary, cloud, _STACK, "25,100", 18)
        found = {"as good": good.result(), "errors": bad.result()}
    cloud.seconds["canary 5, 50, 100 % until promoted"] = found["as good"].seconds
    cloud.seconds["canary until withdrawn"] = found["errors"].seconds
    return found


def test_a_canary_that_is_as_good_is_taken_through_every_step_and_promoted_without_a_restart(
    cloud: Cloud, canaries: dict[str, _Canary]
) -> None:
    canary = canaries["as good"]
    assert canary.code == 0, canary.output
    steps = [{"-blue": stable, "-green": 100 - stable} for stable in (100, 95, 50, 0)]
    assert canary.routes == [{"-blue": 100}, *steps], canary.output
    assert canary.ready == len(canary.candidate_pods) == 2, "at full size before it has traffic"
    assert _pods(cloud, "-green", "staging") == canary.candidate_pods, "they are the stable ones now"
    assert _pods(cloud, "-blue", "staging") == canary.stable_pods, "kept for a rollback"


def test_a_canary_that_answers_errors_is_withdrawn_and_the_route_is_as_before(
    cloud: Cloud, canaries: dict[str, _Canary]
) -> None:
    canary = canaries["errors"]
    assert canary.code == 22, canary.output
    assert f"{cloud.second} was withdrawn at 25 %: errors: 6.00% of " in canary.output
    assert "against stable's 0.10%" in canary.output
    assert canary.ready == len(canary.candidate_pods) == 3, "at full size before it has traffic"
    assert {"-blue": 75, "-green": 25} in canary.routes
    assert _route(cloud) == {"-blue": 100}
    assert not _pods(cloud, "-green")
    assert _pods(cloud, "-blue") == canary.stable_pods, "stable's pods went on"


def test_a_switch_moves_the_route_alone_and_the_way_back_is_a_switch(cloud: Cloud) -> None:
    cloud.reset(_STACK)
    timed(cloud, "blue-green", lambda: cloud.deploy(cloud.second, _STACK, "--strategy", "blue_green"))
    assert _route(cloud) == {"-green": 100, "-blue": 0}, "the gateway keeps both, for the way back"
    status = _rollout(cloud)
    assert (status["stable"], status["rollout"]["slot"]) == (cloud.second, "green")
    assert status["rollout"]["kept"] == cloud.first
    before = (_pods(cloud, "-blue"), _pods(cloud, "-green"))
    assert len(before[0]) == len(before[1]) == 3
    timed(cloud, "switch back", lambda: cloud.checkout.deploy_model("rollback", _STACK))
    assert _route(cloud) == {"-blue": 100, "-green": 0}
    assert (_pods(cloud, "-blue"), _pods(cloud, "-green")) == before, "no pod was restarted"


def test_the_scheduled_backup_copies_the_registry_with_the_jobs_own_command_and_restores(
    cloud: Cloud, tmp_path: Path
) -> None:
    cloud.reset(_STACK)
    bucket = cloud.outputs(_STACK)["registryBucket"]
    kept = cloud.aws("s3").list_objects_v2(Bucket=bucket, Prefix=f"models/fraud_detector/{cloud.second}/")
    if not kept["KeyCount"]:
        cloud.deploy(cloud.second, _STACK)
    job = cloud.kubernetes("BatchV1Api").read_namespaced_cron_job(f"{_NAME}-backup", _namespace(_STACK))
    assert job.spec.schedule == "17 3 * * *"
    (container,) = job.spec.job_template.spec.template.spec.containers
    variables = {item.name: item.value for item in container.env if not item.name.startswith(("AWS_", "TMP"))}
    command = [sys.executable, *container.command[1:], *container.args]
    # The storage's library trusts what this names; pods meet certificates that everybody trusts.
    trust = {"SSL_CERT_FILE": cloud.variables["AWS_CA_BUNDLE"]}
    environment = {**cloud.checkout.environment, **variables, **trust}
    done = subprocess.run(
        command, cwd=cloud.checkout.root, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["copied"] > 0
    elsewhere = {**cloud.checkout.environment, **trust, "MODEL_REGISTRY_URL": str(tmp_path / "restored")}
    restored = subprocess.run(
        [sys.executable, "scripts/manage_models.py", "restore", container.args[0]],
        cwd=cloud.checkout.root,
        env=elsewhere,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert restored.returncode == 0, restored.stderr
    # The stack puts files of model versions into the bucket; statuses stay in the registry that they come from.
    for model_id in (cloud.first, cloud.second):
        directory = tmp_path / "restored" / "models" / "fraud_detector" / model_id
        manifest = json.loads((directory / "manifest.json").read_text())
        assert measure_digest(directory / "artifact") == manifest["digest"]
        assert (directory / "signature.json").exists()
