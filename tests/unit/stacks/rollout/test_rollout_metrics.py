"""Numbers of a rollout from CloudWatch, in CloudWatch's own answers, and the metrics that are published by version."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from infra.cloud_config import CloudConfig
from infra.rollout_config import RolloutConfig
from serving.observability.drift import DriftWatch
from serving.observability.metrics import ServiceMetrics
from serving.settings import ServingSettings
from stacks.errors import EndpointSilent
from stacks.rollout.metrics import CloudMetrics

_SINCE = datetime(2026, 10, 9, 14, 0, 30, tzinfo=UTC)
_MINUTE = datetime(2026, 10, 9, 14, 0, tzinfo=UTC)
_COUNTS = {"Requests": 1000.0, "Errors": 5.0, "Decisions": 995.0, "Frauds": 20.0}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> tuple[CloudMetrics, Stubber]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    client = boto3.client("cloudwatch", region_name="eu-central-1")
    monkeypatch.setattr(boto3, "client", lambda *_args, **_more: client)
    config = CloudConfig(region="eu-central-1", registry_bucket="models")
    return CloudMetrics(config, "production", "prod"), Stubber(client)


def _answer(
    stub: Stubber, metric: str, model_id: str, points: list[dict[str, Any]], *, start: datetime = _MINUTE, **asked: Any
) -> None:
    dimensions = {"Environment": "production", "Deployment": "prod", "ModelVersion": model_id}
    expected = {
        "Namespace": "FraudDetection",
        "MetricName": metric,
        "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
        "StartTime": start,
        "EndTime": ANY,
        "Period": 60,
        **asked,
    }
    stub.add_response("get_metric_statistics", {"Label": metric, "Datapoints": points}, expected)


def _variant(stub: Stubber, model_id: str, milliseconds: float, start: datetime = _MINUTE) -> None:
    for metric, value in _COUNTS.items():
        _answer(stub, metric, model_id, [{"Sum": value / 2}, {"Sum": value / 2}], start=start, Statistics=["Sum"])
    _answer(stub, "Latency", model_id, [{"SampleCount": 1000.0}], start=start, Statistics=["SampleCount"])
    shares = [f"p{share}" for share in range(1, 100, 2)]
    for number in range(0, len(shares), 10):
        chosen = shares[number : number + 10]
        values = {share: milliseconds * (0.5 + int(share[1:]) / 100) for share in chosen}
        _answer(stub, "Latency", model_id, [{"ExtendedStatistics": values}], start=start, ExtendedStatistics=chosen)
    _answer(stub, "Drift", model_id, [{"Maximum": 0.1}, {"Maximum": 0.2}], start=start, Statistics=["Maximum"])


def test_counts_percentiles_and_drift_of_both_versions_are_read(cloud: tuple[CloudMetrics, Stubber]) -> None:
    watch, stub = cloud
    _variant(stub, "stable", 10.0)
    _variant(stub, "candidate", 30.0)
    with stub:
        found = watch.read("stable", RolloutConfig(strategy="canary", candidate="candidate", weight=25), _SINCE)
    assert (found.stable.requests, found.stable.errors, found.stable.frauds) == (1000, 5, 20)
    assert found.stable.percentile(0.95) == pytest.approx(14.4, rel=0.05)
    assert found.candidate.percentile(0.95) == pytest.approx(43.2, rel=0.05)
    assert found.candidate.slower_than(20.0) > 500
    assert found.candidate.drift == 0.2


def test_the_first_step_is_judged_from_the_next_minute_on(cloud: tuple[CloudMetrics, Stubber]) -> None:
    watch, stub = cloud
    _variant(stub, "stable", 10.0, _MINUTE + timedelta(minutes=1))
    _variant(stub, "candidate", 10.0, _MINUTE + timedelta(minutes=1))
    first = RolloutConfig(strategy="canary", candidate="candidate", weight=5)
    with stub:
        assert watch.read("stable", first, _SINCE).candidate.requests == 1000
        stub.assert_no_pending_responses()
        assert watch.read("stable", first, datetime.now(UTC)).stable.requests == 0, "nothing is asked yet"


def test_the_alarms_that_are_on_are_those_of_the_deployment(cloud: tuple[CloudMetrics, Stubber]) -> None:
    watch, stub = cloud
    asked = {"AlarmNamePrefix": "prod-", "StateValue": "ALARM"}
    states = {"prod-error-rate": "ALARM", "prod-cpu": "OK", "prod-drift": "INSUFFICIENT_DATA"}
    first = [{"AlarmName": name, "StateValue": state} for name, state in states.items()]
    second = [{"AlarmName": "prod-accuracy", "StateValue": "ALARM"}]
    stub.add_response("describe_alarms", {"MetricAlarms": first, "NextToken": "more"}, asked)
    stub.add_response("describe_alarms", {"MetricAlarms": second}, {**asked, "NextToken": "more"})
    with stub:
        assert watch.alarms() == ("prod-accuracy", "prod-error-rate")


def test_metrics_are_published_by_version_only_where_a_rollout_needs_them() -> None:
    environment = {
        "ENVIRONMENT": "production",
        "DEPLOYMENT_NAME": "prod",
        "MODEL_ID": "m_A_20260101_000000",
        "MODEL_URI": "s3://models/m",
        "MODEL_SHA256": "sha256:" + "0" * 64,
        "API_KEYS_FILE": "keys.json",
    }
    for variables, versions in (({}, {None}), ({"METRICS_BY_VERSION": "1"}, {None, "m_A_20260101_000000"})):
        metrics = ServiceMetrics(ServingSettings.from_environment({**environment, **variables}), DriftWatch([]))
        metrics.request(200, 3.0, [[1.0]], [0.9], 1)
        data = metrics.take_minute()
        named = [{each["Name"]: each["Value"] for each in item["Dimensions"]} for item in data]
        assert {each.get("ModelVersion") for each in named} == versions
        frauds = [item["Value"] for item in data if item["MetricName"] == "Frauds"]
        assert frauds == [1] * len(versions)


def test_without_credentials_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    metrics = CloudMetrics(CloudConfig(region="eu-central-1", registry_bucket="models"), "staging", "fraud")
    with pytest.raises(EndpointSilent, match="AWS_PROFILE"):
        metrics.alarms()
    with pytest.raises(EndpointSilent, match="AWS_PROFILE"):
        metrics.read("m_XGBoost_20260101_000000", RolloutConfig(), datetime.now(UTC) - timedelta(hours=1))
