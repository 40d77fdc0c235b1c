"""What was deployed really serves: the Deployment's own environment and files, against the sandbox's S3 and KMS."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from conventions import metric_names
from tests.sandbox.conftest import Cloud, deployment_name
from tests.sandbox.pods import mounted, pod_environment

_STACK = "production"


@pytest.fixture(scope="module", autouse=True)
def _as_it_came_up(cloud: Cloud) -> None:
    cloud.reset(_STACK)


def test_the_deployed_configuration_answers_a_prediction(cloud: Cloud, tmp_path: Path) -> None:
    environment = pod_environment(cloud, _STACK, mounted(cloud, _STACK, tmp_path))
    assert environment["MODEL_URI"].startswith("s3://")
    assert environment["AWS_ROLE_ARN"].endswith("role/fraud-detection-prod-serving")
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving"], cwd=cloud.checkout.root, env=environment, stdout=file, stderr=file
        )
    try:
        url = f"http://127.0.0.1:{environment['API_PORT']}"
        ready = _wait_until_ready(process, url, log)
        assert ready["model_id"] == environment["MODEL_ID"]
        assert httpx.get(f"{url}/health", trust_env=False).json()["runtime"] == "onnxruntime"
        body = json.loads((cloud.checkout.root / "models" / "example_transaction.json").read_text())
        key = (cloud.checkout.root / ".secrets" / _STACK / "tests.key").read_text()
        answer = httpx.post(f"{url}/predict", json=body, headers={"X-API-Key": key}, trust_env=False)
        assert answer.status_code == httpx.codes.OK, answer.text
        assert 0 <= answer.json()["predictions"][0]["fraud_probability"] <= 1
        assert httpx.post(f"{url}/predict", json=body, trust_env=False).status_code == httpx.codes.UNAUTHORIZED
        _make_every_metric_known(url, key, body["transactions"][0])
    finally:
        process.terminate()
        process.wait(timeout=60)
    assert not list((tmp_path / "tmp").iterdir()), "the fetched model does not stay"
    _require_that_alarms_have_their_metrics(cloud)


def _make_every_metric_known(url: str, key: str, transaction: dict[str, Any]) -> None:
    """Drift needs some hundred transactions, accuracy needs feedback."""
    headers = {"X-API-Key": key}
    batch = {"transactions": [transaction] * 600}
    answer = httpx.post(f"{url}/predict", json=batch, headers=headers, trust_env=False)
    assert answer.status_code == httpx.codes.OK, answer.text
    outcomes = {"items": [{"receipt": answer.json()["predictions"][0]["receipt"], "was_fraud": True}]}
    answer = httpx.post(f"{url}/feedback", json=outcomes, headers=headers, trust_env=False)
    assert answer.status_code == httpx.codes.OK, answer.text


def _require_that_alarms_have_their_metrics(cloud: Cloud) -> None:
    """What the process published before it ended is, by name and dimensions, what every alarm of the stack watches."""
    published = {
        (item["MetricName"], frozenset((each["Name"], each["Value"]) for each in item["Dimensions"]))
        for page in cloud.aws("cloudwatch").get_paginator("list_metrics").paginate(Namespace="FraudDetection")
        for item in page["Metrics"]
    }
    name = deployment_name(_STACK)
    alarms = cloud.aws("cloudwatch").describe_alarms(AlarmNamePrefix=f"{name}-")["MetricAlarms"]
    watched = [
        metric
        for alarm in alarms
        for metric in (
            [query["MetricStat"]["Metric"] for query in alarm["Metrics"] if "MetricStat" in query]
            if alarm.get("Metrics")
            else [alarm]
        )
    ]
    # The scheduled backup publishes this one.
    served = [metric for metric in watched if metric["MetricName"] != metric_names.BACKUPS]
    assert len(served) >= 8
    for metric in served:
        dimensions = frozenset((each["Name"], each["Value"]) for each in metric["Dimensions"])
        assert (metric["MetricName"], dimensions) in published


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> dict[str, Any]:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            answer = httpx.get(f"{url}/health/ready", trust_env=False, timeout=2)
        except httpx.HTTPError:
            time.sleep(0.2)
            continue
        if answer.status_code == httpx.codes.OK:
            found: dict[str, Any] = answer.json()
            return found
    raise AssertionError(log.read_text())


def test_the_bucket_refuses_plain_http_and_takes_https(cloud: Cloud) -> None:
    from botocore.exceptions import ClientError

    outputs = cloud.outputs(_STACK)
    stored = {
        "Bucket": outputs["registryBucket"],
        "Key": f"models/fraud_detector/{outputs['modelVersion']}/manifest.json",
    }
    assert cloud.aws("s3").get_object(**stored)["ResponseMetadata"]["HTTPStatusCode"] == httpx.codes.OK
    with pytest.raises(ClientError, match="AccessDenied"):
        cloud.aws("s3", endpoint_url=cloud.variables["SANDBOX_HTTP_URL"]).get_object(**stored)


def test_a_put_that_does_not_name_the_key_is_refused(cloud: Cloud) -> None:
    from botocore.exceptions import ClientError

    stored = {"Bucket": cloud.outputs(_STACK)["registryBucket"], "Key": "models/other"}
    rule = cloud.aws("s3").get_bucket_encryption(Bucket=stored["Bucket"])["ServerSideEncryptionConfiguration"]["Rules"]
    key = rule[0]["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"]
    for headers in ({}, {"ServerSideEncryption": "AES256"}, {"ServerSideEncryption": "aws:kms"}):
        with pytest.raises(ClientError, match="AccessDenied"):
            cloud.aws("s3").put_object(**stored, Body=b"x", **headers)
    cloud.aws("s3").put_object(**stored, Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
    assert cloud.aws("s3").head_object(**stored)["ServerSideEncryption"] == "aws:kms"
