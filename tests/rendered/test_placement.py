"""Nodes, priority and local storage of every pod: the service's, and the backup's."""

import json
from typing import Any

import pytest
import yaml

from components.pod_placement import ephemeral_storage
from infra.cloud_config import KubernetesConfig, parse_object
from infra.errors import ConfigError
from infra.settings import CHECKOUT
from tests.rendered.conftest import Rendered, rendered_stack

_PLACED = {
    "architecture": "arm64",
    "node_selector": {"eks.amazonaws.com/nodegroup": "fraud"},
    "tolerations": [{"key": "dedicated", "value": "fraud", "effect": "NoSchedule"}],
    "image_pull_secrets": ["registry"],
    "priority_class": "payments",
}


def _committed(key: str) -> dict[str, Any]:
    config = yaml.safe_load((CHECKOUT / "Pulumi.production.yaml").read_text())["config"]
    return dict(config[f"fraud-detection:{key}"])


def _pods(stack: Rendered) -> list[dict[str, Any]]:
    job = stack.one("batch/v1:CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return [stack.pod, dict(job)]


def test_every_pod_is_on_a_node_of_the_images_architecture() -> None:
    for pod in _pods(rendered_stack("production")):
        assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
        assert not {"tolerations", "imagePullSecrets", "priorityClassName"} & set(pod)


def test_nodes_priority_and_pull_secrets_of_the_config_are_those_of_every_pod() -> None:
    stack = rendered_stack("production", kubernetes=json.dumps({**_committed("kubernetes"), **_PLACED}))
    for pod in _pods(stack):
        assert pod["nodeSelector"]["eks.amazonaws.com/nodegroup"] == "fraud"
        assert pod["nodeSelector"]["kubernetes.io/arch"] == "arm64"
        assert pod["tolerations"] == [
            {"key": "dedicated", "operator": "Equal", "value": "fraud", "effect": "NoSchedule"}
        ]
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
        assert pod["priorityClassName"] == "payments"
    assert stack.one("image:Image")["build"]["platform"] == "linux/arm64"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "riscv"}, "kubernetes.architecture: 'riscv' is not allowed"),
        ({"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}, "operator Exists without a value"),
        ({"tolerations": [{"key": "a", "for": "b"}]}, "unknown key; allowed: key, operator, value, effect"),
        ({"node_selector": {"a b": "c"}}, "kubernetes.node_selector.a b"),
        ({"image_pull_secrets": ["A"]}, "kubernetes.image_pull_secrets.0: 'A' is not allowed"),
    ],
)
def test_what_a_cluster_would_refuse_is_refused_by_its_key(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_object(
            {**_committed("kubernetes"), **changes}, "fraud-detection:kubernetes", KubernetesConfig, "Pulumi.x.yaml"
        )
    assert words in str(caught.value)


@pytest.mark.parametrize(("directory", "storage"), [("4Gi", "4608Mi"), ("512Mi", "1024Mi"), ("1Ti", "1049088Mi")])
def test_the_storage_of_a_pod_holds_its_full_directory_and_its_logs(directory: str, storage: str) -> None:
    assert ephemeral_storage(directory) == storage


def test_no_pod_is_evicted_for_a_directory_that_is_within_its_limit() -> None:
    for pod in _pods(rendered_stack("production")):
        (directory,) = (each["emptyDir"]["sizeLimit"] for each in pod["volumes"] if "emptyDir" in each)
        (container,) = pod["containers"]
        assert container["resources"]["limits"]["ephemeral-storage"] == ephemeral_storage(directory)


def test_a_backup_that_hangs_is_ended_before_the_next_one_is_due() -> None:
    job = rendered_stack("production").one("batch/v1:CronJob")["spec"]["jobTemplate"]["spec"]
    assert job["activeDeadlineSeconds"] == 4 * 3600


def test_the_heartbeats_alarm_watches_the_slot_of_the_stable_version() -> None:
    """A candidate's replicas would hide that the stable version's are gone."""
    rollout = {"strategy": "blue_green", "slot": "green"}
    stack = rendered_stack("production", rollout=json.dumps(rollout))
    alarms = {item["name"]: item for item in stack.all("metricAlarm:MetricAlarm")}
    assert alarms["fraud-detection-prod-heartbeat"]["dimensions"] == {
        "Environment": "production",
        "Deployment": "fraud-detection-prod",
        "Slot": "green",
    }
    told = {item["name"]: item["value"] for item in stack.container["env"]}
    assert told["METRICS_SLOT"] == "green"
