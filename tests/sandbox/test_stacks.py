"""Staging and production on real providers: up, no change, update, rollback both ways, drift, failure."""

import json
import sys
from collections import Counter
from typing import Any

import pytest

from tests.sandbox.conftest import ENVIRONMENTS, Cloud, deployment_name, timed

RESOURCES = {"staging": 72, "production": 99}


@pytest.mark.parametrize("stack", ENVIRONMENTS)
def test_a_stack_comes_up_from_nothing_with_its_outputs(cloud: Cloud, stack: str) -> None:
    start = cloud.started[stack]
    outputs = start.outputs
    assert outputs["modelVersion"] == start.model_id == cloud.first
    assert outputs["modelPath"] == f"s3://{outputs['registryBucket']}/models/fraud_detector/{cloud.first}"
    assert outputs["url"].startswith("https://")
    assert set(outputs) >= {"modelDigest", "alarmTopic", "dashboard", "registryBucket", "registryRoles", "image"}
    assert start.resources == RESOURCES[stack]


@pytest.mark.parametrize("stack", ENVIRONMENTS)
def test_the_bucket_of_a_stack_is_a_registry(cloud: Cloud, stack: str) -> None:
    location = f"s3://{cloud.outputs(stack)['registryBucket']}"

    def asked(*command: str) -> Any:
        script = (sys.executable, "scripts/manage_models.py")
        return json.loads(cloud.checkout.run(*script, *command, "--json", MODEL_REGISTRY_URL=location).stdout)

    (listed,) = [each for each in asked("list") if each["model_id"] == cloud.first]
    assert listed["status"] in ("validated", "deployed")
    assert all(each["intact"] for each in asked("verify", "--policy", "off"))
    records = [each for each in asked("audit") if each["model_id"] == cloud.first]
    assert [each["action"] for each in records[:2]] == ["import", "status"]
    assert records[0]["details"]["promoted_from"] == str(cloud.checkout.root / "registry")
    public_key = (cloud.checkout.root / ".secrets" / "signing.key.pub").read_text().strip()
    assert all(each["intact"] for each in asked("verify", cloud.first, "--public-key", public_key))


@pytest.mark.parametrize("stack", ENVIRONMENTS)
def test_the_plain_preview_shows_no_change(cloud: Cloud, stack: str) -> None:
    cloud.reset(stack)
    cloud.checkout.pulumi("preview", "--expect-no-changes", "-s", stack)


def test_no_secret_is_in_the_state_in_clear(cloud: Cloud) -> None:
    exported = json.loads(cloud.checkout.pulumi("stack", "export", "-s", "production").stdout)["deployment"]
    assert exported["secrets_providers"]["type"] == "cloud"
    assert exported["secrets_providers"]["state"]["url"].startswith("awskms://alias/state")
    text = json.dumps(exported)
    key = (cloud.checkout.root / ".secrets" / "model.key").read_text().strip()
    hashes = json.loads((cloud.checkout.root / ".secrets" / "production" / "api_keys.json").read_text())
    assert key not in text
    assert hashes["keys"][0]["sha256"] not in text


def test_production_updates_and_goes_back_by_the_tool(cloud: Cloud) -> None:
    cloud.reset("production")
    before = _uploads(cloud)
    unchanged = json.loads(timed(cloud, "no change", lambda: cloud.deploy(cloud.first, "production")).stdout)
    assert unchanged["changed"] is False
    updated = json.loads(timed(cloud, "update", lambda: cloud.deploy(cloud.second, "production")).stdout)
    assert updated["model_id"] == cloud.live_model("production") == cloud.second
    timed(cloud, "rollback", lambda: cloud.checkout.deploy_model("rollback", "production", "--json"))
    assert cloud.live_model("production") == cloud.first
    listed = json.loads(cloud.checkout.deploy_model("list-deployments", "--environment", "production", "--json").stdout)
    assert [item["model_id"] for item in listed[:3]] == [cloud.first, cloud.second, cloud.first]
    assert [item["intent"] for item in listed[:2]] == ["rollback", "deploy"]
    # What left the stack is kept in the bucket; the second version came once and was uploaded once.
    after = _uploads(cloud)
    assert after[cloud.second] == before[cloud.second] + 1
    assert after[cloud.first] >= 1


def _uploads(cloud: Cloud) -> Counter[str]:
    """How often each version's artifact was put into production's bucket."""
    bucket = cloud.outputs("production")["registryBucket"]
    keys = [item["Key"] for item in cloud.aws("s3").list_object_versions(Bucket=bucket)["Versions"]]
    return Counter(key.split("/")[2] for key in keys if key.endswith("/artifact"))


def test_staging_goes_back_by_plain_pulumi_on_the_prior_config(cloud: Cloud) -> None:
    cloud.reset("staging")
    for model_id in (cloud.second, cloud.first):
        cloud.checkout.pulumi("config", "set", "fraud-detection:modelVersion", model_id, "-s", "staging")
        cloud.checkout.pulumi("up", "--yes", "--skip-preview", "-s", "staging")
        assert cloud.live_model("staging") == model_id
    cloud.checkout.pulumi("preview", "--expect-no-changes", "-s", "staging")


def test_an_unchanged_model_is_not_uploaded_again_although_its_bytes_are_others(cloud: Cloud) -> None:
    cloud.reset("staging")
    root = cloud.checkout.root
    artifact = root / "registry" / "models" / "fraud_detector" / cloud.first / "artifact"
    before, content = artifact.stat().st_mtime_ns, artifact.read_bytes()
    cloud.checkout.manage_models("keygen", ".secrets/second.key")
    keys = ("--new-key", ".secrets/model.key", "--new-key", ".secrets/second.key")
    # To two keys and back to the one: the same key opens other bytes.
    cloud.checkout.manage_models("rotate-key", cloud.first, *keys)
    cloud.checkout.manage_models("rotate-key", cloud.first, *keys[:2])
    assert artifact.stat().st_mtime_ns != before
    assert artifact.read_bytes() != content, "a rotation makes other bytes"
    cloud.checkout.pulumi("preview", "--expect-no-changes", "-s", "staging")


def test_a_deployment_that_was_edited_by_hand_is_found_by_refresh_and_put_right(cloud: Cloud) -> None:
    cloud.reset("staging")
    name, namespace = deployment_name("staging"), "fraud-detection-staging"
    edit = {"spec": {"template": {"spec": {"containers": [{"name": "serving", "image": "somebody/else:latest"}]}}}}
    cloud.kubernetes("AppsV1Api").patch_namespaced_deployment(name, namespace, edit)
    output = cloud.checkout.fails(
        "pulumi", "refresh", "--preview-only", "--expect-no-changes", "--non-interactive", "-s", "staging"
    )
    assert f"{name}-deployment" in output
    deployed = cloud.checkout.pulumi("up", "--yes", "--skip-preview", "--refresh", "-s", "staging")
    assert deployed.returncode == 0
    image = cloud.deployment("staging").spec.template.spec.containers[0].image
    assert image == cloud.outputs("staging")["image"]


def test_health_looks_at_pods_rollout_and_model(cloud: Cloud) -> None:
    cloud.reset("staging")
    listed = json.loads(cloud.checkout.deploy_model("list-deployments", "--environment", "staging", "--json").stdout)
    output = cloud.checkout.deploy_model("health", listed[0]["deployment_id"], "--json", code=13).stdout
    checks = {item["name"]: item for item in json.loads(output)["checks"]}
    assert checks["pods"]["healthy"]
    assert checks["rollout"]["healthy"], checks["rollout"]
    # No gateway carries traffic here: that the endpoint does not answer is seen.
    assert not checks["api"]["healthy"]


def test_a_rollout_that_a_quota_stops_fails_with_the_reason_and_goes_back(cloud: Cloud) -> None:
    cloud.reset("staging")
    quota = {"metadata": {"name": "nothing-more"}, "spec": {"hard": {"pods": "1"}}}
    file, patience = cloud.checkout.root / "Pulumi.staging.yaml", "    rollout_seconds: 15\n"
    file.write_text(file.read_text().replace("    gateway: public\n", f"{patience}    gateway: public\n"))
    core = cloud.kubernetes("CoreV1Api")
    core.create_namespaced_resource_quota("fraud-detection-staging", quota)
    try:
        failed = timed(cloud, "failed rollout and return", lambda: cloud.deploy(cloud.second, "staging", code=12))
    finally:
        core.delete_namespaced_resource_quota("nothing-more", "fraud-detection-staging")
        file.write_text(file.read_text().replace(patience, ""))
    last = failed.stderr.strip().splitlines()[-1]
    assert "exceeded quota: nothing-more" in last, failed.stderr
    assert f"staging went back to {cloud.first}" in last
    assert cloud.live_model("staging") == cloud.first
