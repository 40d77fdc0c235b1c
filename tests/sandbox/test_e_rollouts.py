"""Rollouts on the cluster: the route at each step, pods that are not restarted, and a backup that restores."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model_store.artifact_reader import measure_digest
from tests.sandbox.conftest import Cloud, deployment_name, timed

_STACK = "production"
_NAMESPACE = "fraud-detection-production"
_NAME = deployment_name(_STACK)


def _route(cloud: Cloud) -> dict[str, int]:
    """Percent of the requests by Service."""
    api = cloud.kubernetes("CustomObjectsApi")
    found = api.get_namespaced_custom_object("gateway.networking.k8s.io", "v1", _NAMESPACE, "httproutes", _NAME)
    (rule,) = [rule for rule in found["spec"]["rules"] if not rule["matches"][0].get("headers")]
    return {each["name"]: each["weight"] for each in rule["backendRefs"]}


def _pods(cloud: Cloud, name: str) -> set[str]:
    selector = f"app.kubernetes.io/name={name}"
    return {
        pod.metadata.name
        for pod in cloud.kubernetes("CoreV1Api").list_namespaced_pod(_NAMESPACE, label_selector=selector).items
        if pod.metadata.deletion_timestamp is None
    }


def _rollout(cloud: Cloud) -> dict[str, Any]:
    said = cloud.checkout.deploy_model("status", _STACK, "--json").stdout
    found: dict[str, Any] = json.loads(said)
    return found


def _publish(cloud: Cloud, model_id: str, requests: int, errors: int) -> None:
    """What pods of this version would publish."""
    dimensions = {"Environment": _STACK, "Deployment": _NAME, "ModelVersion": model_id}
    counts = {"Requests": requests, "Errors": errors, "Decisions": requests - errors, "Frauds": requests // 50}
    cloud.aws("cloudwatch").put_metric_data(
        Namespace="FraudDetection",
        MetricData=[
            {
                "MetricName": name,
                "Value": value,
                "Timestamp": datetime.now(UTC),
                "Dimensions": [{"Name": key, "Value": text} for key, text in dimensions.items()],
            }
            for name, value in counts.items()
        ],
    )


def _ensure_first(cloud: Cloud) -> None:
    if cloud.live_model(_STACK) != cloud.first:
        cloud.deploy(cloud.first, _STACK)


def test_a_canary_that_answers_errors_is_withdrawn_and_the_route_is_as_before(cloud: Cloud) -> None:
    _ensure_first(cloud)
    stable_pods = _pods(cloud, _NAME)
    command = [sys.executable, "scripts/deploy_model.py", "deploy", cloud.second, _STACK, "--strategy", "canary"]
    with subprocess.Popen(
        [*command, "--steps", "25,100", "--interval", "1s"],
        cwd=cloud.checkout.root,
        env=cloud.checkout.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        deadline = time.monotonic() + 120
        while _route(cloud) != {_NAME: 75, f"{_NAME}-green": 25}:
            assert time.monotonic() < deadline, _route(cloud)
            assert running.poll() is None, running.communicate()[1]
            time.sleep(0.5)
        candidate = cloud.kubernetes("AppsV1Api").read_namespaced_deployment(f"{_NAME}-green", _NAMESPACE)
        assert candidate.status.ready_replicas == 3, "at full size before it has traffic"
        _publish(cloud, cloud.first, requests=5000, errors=5)
        _publish(cloud, cloud.second, requests=1000, errors=60)
        said = running.communicate(timeout=120)[1]
    assert running.returncode == 22, said
    assert f"{cloud.second} was withdrawn at 25 %: " in said
    assert "errors: 6.00% of 1000 requests, against stable's 0.10%" in said
    assert _route(cloud) == {_NAME: 100}
    assert not _pods(cloud, f"{_NAME}-green")
    assert _pods(cloud, _NAME) == stable_pods, "stable's pods went on"


def test_a_switch_moves_the_route_alone_and_the_way_back_is_a_switch(cloud: Cloud) -> None:
    _ensure_first(cloud)
    timed(cloud, "blue-green", lambda: cloud.deploy(cloud.second, _STACK, "--strategy", "blue_green"))
    assert _route(cloud) == {f"{_NAME}-green": 100}
    status = _rollout(cloud)
    assert (status["stable"], status["rollout"]["slot"]) == (cloud.second, "green")
    assert status["rollout"]["kept"] == cloud.first
    before = (_pods(cloud, _NAME), _pods(cloud, f"{_NAME}-green"))
    assert len(before[0]) == len(before[1]) == 3
    timed(cloud, "switch back", lambda: cloud.checkout.deploy_model("rollback", _STACK))
    assert _route(cloud) == {_NAME: 100}
    assert (_pods(cloud, _NAME), _pods(cloud, f"{_NAME}-green")) == before, "no pod was restarted"


def test_the_scheduled_backup_copies_the_registry_with_the_jobs_own_command_and_restores(
    cloud: Cloud, tmp_path: Path
) -> None:
    job = cloud.kubernetes("BatchV1Api").read_namespaced_cron_job(f"{_NAME}-backup", _NAMESPACE)
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
