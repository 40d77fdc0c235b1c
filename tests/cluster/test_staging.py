"""Staging's life on real nodes, in this order: each test leaves the stack as the next one needs it."""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.cluster.conftest import STACK, RealCloud, pods
from tests.sandbox.conftest import deployment_name

_NAMESPACE = f"fraud-detection-{STACK}"
_NAME = deployment_name(STACK)
_SAME = 1e-6


def _wait(true: Any, seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, what
        time.sleep(1)


def _ready(cloud: RealCloud, slot: str = "") -> int:
    conditions = [each for pod in pods(cloud, slot) for each in pod.status.conditions or []]
    return sum(each.type == "Ready" and each.status == "True" for each in conditions)


def test_staging_comes_up_and_answers_as_the_estimator_does(cloud: RealCloud) -> None:
    began = time.monotonic()
    cloud.deploy(cloud.first, STACK)
    assert cloud.gateway is not None
    golden = _golden_rows(cloud, cloud.first)
    _wait(lambda: _ready(cloud) == 2, 180, "two pods are ready")
    _wait(lambda: _answers(cloud), 60, "the gateway answers")
    with cloud.traffic() as traffic:
        answers = cloud.gateway.predict(golden)["predictions"]
    cloud.tell("up", began, traffic)
    assert not traffic.failures
    own = _own_answers(cloud, "xgboost_model_previous.joblib", golden)
    differences = np.abs(np.array([each["fraud_probability"] for each in answers]) - own)
    assert differences.max() <= _SAME
    assert {pod.status.phase for pod in pods(cloud)} == {"Running"}
    _wait(lambda: _measures(cloud), 90, "the autoscaler has measurements")


def _measures(cloud: RealCloud) -> bool:
    found = cloud.kubernetes("AutoscalingV2Api").read_namespaced_horizontal_pod_autoscaler(_NAME, _NAMESPACE)
    return any(each.type == "ScalingActive" and each.status == "True" for each in found.status.conditions or [])


def _answers(cloud: RealCloud) -> bool:
    assert cloud.gateway is not None
    body = json.loads((cloud.checkout.root / "models" / "example_transaction.json").read_text())
    with cloud.gateway.client() as client:
        return bool(cloud.gateway.post(client, body).status_code == 200)


def _golden_rows(cloud: RealCloud, model_id: str) -> list[dict[str, Any]]:
    from model_store import Keyring, ModelRegistry
    from model_store.registry.measuring.proofs import read_golden_rows
    from stacks.checks.golden import choose_rows

    root = cloud.checkout.root
    registry = ModelRegistry(root / "registry", keys=Keyring.from_files(root / ".secrets" / "model.key"))
    found = read_golden_rows(registry, model_id)
    assert found is not None
    rows = [asked.transaction for asked in choose_rows(*found) if asked.score is not None]
    assert len(rows) >= 20
    return rows


def _own_answers(cloud: RealCloud, file: str, rows: list[dict[str, Any]]) -> Any:
    import joblib
    import pandas as pd

    model = joblib.load(cloud.checkout.root / "models" / file)
    return model.predict_proba(pd.DataFrame(rows))[:, 1]


def test_no_change_changes_nothing(cloud: RealCloud) -> None:
    before = {pod.metadata.name for pod in pods(cloud)}
    began = time.monotonic()
    with cloud.traffic() as traffic:
        cloud.checkout.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes", "-s", STACK)
    cloud.tell("no change", began, traffic)
    assert not traffic.failures
    assert {pod.metadata.name for pod in pods(cloud)} == before


def test_a_rolling_update_fails_no_request(cloud: RealCloud) -> None:
    began = time.monotonic()
    with cloud.traffic() as traffic:
        cloud.deploy(cloud.second, STACK)
        _wait(lambda: traffic.answered[cloud.second] > 0, 60, "the new version answers")
        time.sleep(3)
    cloud.tell("rolling update", began, traffic)
    cloud.told.append(f"  first answer of the new version after {traffic.first_by[cloud.second] - began:.0f} s")
    assert not traffic.failures


def test_a_rollback_fails_no_request(cloud: RealCloud) -> None:
    began = time.monotonic()
    with cloud.traffic() as traffic:
        cloud.checkout.deploy_model("rollback", STACK, "--reason", "tests")
        _wait(lambda: traffic.answered[cloud.first] > 0, 60, "the version before answers")
    cloud.tell("rollback of a rolling update", began, traffic)
    assert not traffic.failures


def test_blue_green_and_its_way_back_fail_no_request(cloud: RealCloud) -> None:
    began = time.monotonic()
    with cloud.traffic() as traffic:
        cloud.deploy(cloud.second, STACK, "--strategy", "blue_green")
        _wait(lambda: traffic.answered[cloud.second] > 0, 60, "the new version answers")
    cloud.tell("blue-green", began, traffic)
    assert not traffic.failures
    began = time.monotonic()
    with cloud.traffic() as traffic:
        cloud.checkout.deploy_model("rollback", STACK, "--reason", "tests")
        _wait(lambda: traffic.answered[cloud.first] > 0, 60, "the version before answers")
    cloud.tell("rollback by switch", began, traffic)
    cloud.told.append(f"  first answer of the version before after {traffic.first_by[cloud.first] - began:.1f} s")
    assert not traffic.failures


def test_a_canary_that_decides_everything_as_fraud_is_withdrawn(cloud: RealCloud) -> None:
    began = time.monotonic()
    flags = ("--strategy", "canary", "--steps", "50,100", "--interval", "1s")
    with cloud.traffic() as traffic:
        done = cloud.deploy(cloud.fraud, STACK, *flags, code=22)
    cloud.tell("canary until withdrawn", began, traffic)
    assert f"{cloud.fraud} was withdrawn at 50 %" in done.stderr
    assert traffic.answered[cloud.fraud] > 0
    assert not traffic.failures


def test_a_canary_that_is_as_good_is_promoted(cloud: RealCloud) -> None:
    began = time.monotonic()
    flags = ("--strategy", "canary", "--steps", "50,100", "--interval", "1s")
    with cloud.traffic() as traffic:
        cloud.deploy(cloud.second, STACK, *flags)
    cloud.tell("canary until promoted", began, traffic)
    assert traffic.answered[cloud.first] > 0
    assert traffic.answered[cloud.second] > 0
    assert not traffic.failures


def test_a_drain_of_a_node_fails_no_request(cloud: RealCloud) -> None:
    core = cloud.kubernetes("CoreV1Api")
    slot = "" if pods(cloud, "") and cloud.outputs(STACK)["rollout"]["slot"] == "blue" else "-green"
    node = pods(cloud, slot)[0].spec.node_name
    began = time.monotonic()
    with cloud.traffic() as traffic:
        core.patch_node(node, {"spec": {"unschedulable": True}})
        _wait(lambda: _evict_all(cloud, node), 180, f"{node} is empty")
        _wait(lambda: _ready(cloud, slot) >= 2, 180, "two pods are ready")
        time.sleep(3)
        core.patch_node(node, {"spec": {"unschedulable": None}})
    cloud.tell("drain of a node", began, traffic)
    assert not traffic.failures


def _evict_all(cloud: RealCloud, node: str) -> bool:
    """Asks for the eviction of a node's pods, as `kubectl drain` does; whether none is left."""
    from kubernetes.client import ApiException

    core = cloud.kubernetes("CoreV1Api")
    listed = core.list_namespaced_pod(_NAMESPACE, field_selector=f"spec.nodeName={node}")
    for pod in listed.items:
        if pod.metadata.deletion_timestamp is None:
            name = {"name": pod.metadata.name, "namespace": _NAMESPACE}
            # The disruption budget may refuse it for now.
            with contextlib.suppress(ApiException):
                core.create_namespaced_pod_eviction(pod.metadata.name, _NAMESPACE, {"metadata": name})
    return not listed.items


def test_a_deploy_that_fails_returns_and_fails_no_request(cloud: RealCloud) -> None:
    core = cloud.kubernetes("CoreV1Api")
    file = cloud.file(STACK)
    before = file.read_text()
    count = len(core.list_namespaced_pod(_NAMESPACE).items)
    limit = {"metadata": {"name": "full"}, "spec": {"hard": {"pods": str(count)}}}
    core.create_namespaced_resource_quota(_NAMESPACE, limit)
    file.write_text(before.replace("rollout_seconds: 300", "rollout_seconds: 30"))
    began = time.monotonic()
    try:
        with cloud.traffic() as traffic:
            command = ("deploy", cloud.first, STACK, "--json")
            said = cloud.checkout.fails(sys.executable, "scripts/deploy_model.py", *command)
    finally:
        core.delete_namespaced_resource_quota("full", _NAMESPACE)
        file.write_text(before)
    cloud.tell("a deploy that fails, and the return", began, traffic)
    assert "exceeded quota" in said or "full" in said, said
    assert set(traffic.answered) == {cloud.second}
    assert not traffic.failures


def test_a_gateway_that_refuses_the_routes_fails_the_deploy_with_its_reason(cloud: RealCloud) -> None:
    objects = cloud.kubernetes("CustomObjectsApi")
    gateway = ("gateway.networking.k8s.io", "v1", "gateways", "gateways", "public")
    listeners = objects.get_namespaced_custom_object(*gateway)["spec"]["listeners"]
    own = {"namespaces": {"from": "Same"}}
    refusing = {"spec": {"listeners": [{**each, "allowedRoutes": own} for each in listeners]}}
    objects.patch_namespaced_custom_object(*gateway, refusing)
    try:
        command = ("deploy", cloud.second, STACK, "--json")
        said = cloud.checkout.fails(sys.executable, "scripts/deploy_model.py", *command)
    finally:
        objects.patch_namespaced_custom_object(*gateway, {"spec": {"listeners": listeners}})
    assert "the Gateway gateways/public refuses the route fraud-detection-staging (NotAllowedByListeners" in said, said
    assert "set allowedRoutes of its listeners" in said


def test_the_network_policy_admits_the_gateways_pods_and_nobody_else(cloud: RealCloud) -> None:
    here = Path(cloud.variables["KUBECONFIG"]).parent
    pod = next(each for slot in ("", "-green") for each in pods(cloud, slot))
    assert _connects(here / "control-plane.pid", pod.status.pod_ip) is False, "the machine beside the nodes"
    # That the gateway's own pods may connect is what every other test here shows.


def _connects(pid_file: Path, address: str) -> bool:
    script = f"import socket; socket.create_connection(('{address}', 8000), timeout=4)"
    command = ["nsenter", "--target", pid_file.read_text(), "--net", sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_end_leaves_nothing_in_the_cluster(cloud: RealCloud) -> None:
    began = time.monotonic()
    cloud.checkout.deploy_model("down", STACK)
    cloud.told.append(f"destroy: {time.monotonic() - began:.0f} s")
    names = {item.metadata.name for item in cloud.kubernetes("CoreV1Api").list_namespace().items}
    assert _NAMESPACE not in names
