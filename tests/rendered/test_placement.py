"""Nodes, priority and local storage of every pod: the service's, and the backup's."""

import json
from typing import Any

import pytest
import yaml

from components.pod_placement import ephemeral_storage
from components.pod_rules import egress_to
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


def _stack(**changes: Any) -> Rendered:
    return rendered_stack("production", kubernetes=json.dumps({**_committed("kubernetes"), **changes}))


def _way_in(stack: Rendered) -> list[Any]:
    (policy,) = (each for each in stack.all(":NetworkPolicy") if "ingress" in each["spec"])
    (rule,) = policy["spec"]["ingress"]
    return [each.get("ipBlock") or each["namespaceSelector"]["matchLabels"] for each in rule["from"]]


@pytest.mark.parametrize(
    ("controller", "further", "namespaces"),
    [
        ("contour", {}, ["gateways", "projectcontour"]),
        ("envoy-gateway", {}, ["gateways", "envoy-gateway-system"]),
        ("istio", {}, ["gateways"]),
        ("aws-load-balancer", {"gateway_addresses": ["10.0.64.0/18"]}, ["gateways"]),
    ],
)
def test_the_pods_of_a_gateways_controller_may_connect(
    controller: str, further: dict[str, Any], namespaces: list[str]
) -> None:
    blocks = [{"cidr": each} for each in further.get("gateway_addresses", ())]
    expected = [*({"kubernetes.io/metadata.name": name} for name in namespaces), *blocks]
    assert _way_in(_stack(gateway_controller=controller, **further)) == expected


def test_a_load_balancer_whose_addresses_are_not_named_is_refused() -> None:
    config = {**_committed("kubernetes"), "gateway_controller": "aws-load-balancer"}
    with pytest.raises(ConfigError, match="gateway_addresses with gateway_controller aws-load-balancer"):
        parse_object(config, "fraud-detection:kubernetes", KubernetesConfig, "Pulumi.x.yaml")


@pytest.mark.parametrize(
    ("families", "policy", "host"),
    [
        ([], None, "0.0.0.0"),
        (["IPv4"], "SingleStack", "0.0.0.0"),
        (["IPv6"], "SingleStack", "::"),
        (["IPv4", "IPv6"], "RequireDualStack", "::"),
    ],
)
def test_a_service_and_its_pods_have_the_clusters_address_families(
    families: list[str], policy: str | None, host: str
) -> None:
    stack = _stack(ip_families=families)
    service = stack.one(":Service")["spec"]
    assert (service.get("ipFamilies", []), service.get("ipFamilyPolicy")) == (families, policy)
    assert {item["name"]: item["value"] for item in stack.container["env"]}["API_HOST"] == host


def test_a_destination_of_ipv6_is_opened_by_its_address() -> None:
    (_, _, rule) = egress_to([("2001:db8::7", 6379)])
    assert rule["to"] == [{"ip_block": {"cidr": "2001:db8::7/128"}}]
