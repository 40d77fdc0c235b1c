"""The two slots of a rollout on a cluster: workloads, rights, route and size."""

import json
import math

from tests.rendered.conftest import rendered_stack
from tests.rendered.render import MODEL_ID, OTHER_ID
from tests.rendered.test_controls import _as_list as as_list
from tests.rendered.test_controls import _policy as policy_of


def test_two_slots_have_a_workload_each_and_the_route_divides_between_them() -> None:
    """Least privilege per slot: each reads its own version; a promotion changes the route and renames nothing."""
    rollout = {"strategy": "canary", "candidate": OTHER_ID, "weight": 25}
    canary = rendered_stack("production", rollout=json.dumps(rollout))
    name = "fraud-detection-prod"
    deployments = {item["metadata"]["name"]: item for item in canary.all("apps/v1:Deployment")}
    assert set(deployments) == {name, f"{name}-green"}
    for kind in (":Service", ":HorizontalPodAutoscaler", ":PodDisruptionBudget"):
        assert {item["metadata"]["name"] for item in canary.all(kind)} == {name, f"{name}-green"}
    for deployment in deployments.values():
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert selector == {"app.kubernetes.io/name": deployment["metadata"]["name"]}
    readers = {item["role"]: item for item in canary.all(":RolePolicy") if item["name"] == "serving"}
    assert len(readers) == 2
    for policy, model_id in zip(readers.values(), (OTHER_ID, MODEL_ID), strict=True):
        read = next(item for item in policy_of(policy) if "s3:GetObject" in as_list(item["Action"]))
        versions = [resource for resource in read["Resource"] if "/models/" in resource]
        assert versions
        assert all(model_id in resource for resource in versions)
        assert [each.split("/", 1)[1] for each in read["Resource"] if each not in versions] == [
            f"overrides/{name}.json"
        ]
    https = next(item for item in canary.all(":HTTPRoute") if item["metadata"]["name"] == name)
    named, divided = https["spec"]["rules"]
    assert {item["name"]: item["weight"] for item in divided["backendRefs"]} == {name: 75, f"{name}-green": 25}
    assert named["matches"][0]["headers"] == [{"name": "X-Model-Id", "type": "Exact", "value": OTHER_ID}]
    assert [item["name"] for item in named["backendRefs"]] == [f"{name}-green"]


def test_the_other_slot_has_as_many_pods_as_served_when_it_was_filled_and_the_quota_room_for_both() -> None:
    rollout = {"strategy": "blue_green", "candidate": OTHER_ID, "capacity": 7}
    stack = rendered_stack("production", rollout=json.dumps(rollout))
    name = "fraud-detection-prod"
    scalers = {item["metadata"]["name"]: item["spec"] for item in stack.all(":HorizontalPodAutoscaler")}
    assert {each: spec["minReplicas"] for each, spec in scalers.items()} == {name: 3, f"{name}-green": 7}
    most = scalers[name]["maxReplicas"]
    for deployment in stack.all("apps/v1:Deployment"):
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 0}
    # Kubernetes counts a pod until it has ended: each old pod of a slot may still end beside each new one.
    assert int(stack.one("ResourceQuota")["spec"]["hard"]["pods"]) >= 2 * 2 * most + 2 * math.ceil(most / 4)
    beyond = rendered_stack("production", rollout=json.dumps({**rollout, "capacity": 1000}))
    assert max(item["spec"]["minReplicas"] for item in beyond.all(":HorizontalPodAutoscaler")) == most


def test_a_kept_version_stays_in_the_route_without_requests_so_that_a_switch_back_is_a_change_of_weights() -> None:
    rollout = {"strategy": "blue_green", "slot": "green", "kept": OTHER_ID, "kept_until": "2030-01-01T00:00:00Z"}
    stack = rendered_stack("production", rollout=json.dumps(rollout))
    name = "fraud-detection-prod"
    https = next(item for item in stack.all(":HTTPRoute") if item["metadata"]["name"] == name)
    (divided,) = https["spec"]["rules"]
    assert {item["name"]: item["weight"] for item in divided["backendRefs"]} == {f"{name}-green": 100, name: 0}
