"""Numbers of a rollout from CloudWatch, in CloudWatch's own answers, and the metrics that are published by version."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from infra.cloud_config import CloudConfig
from infra.rollout_config import RolloutConfig
from serving.observability.drift import DriftWatch
from serving.observability.metrics import ServiceMetrics
from serving.settings import ServingSettings
from stacks.errors import EndpointSilent
from stacks.rollout.checks import Alarms
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


def _values(model_id: str, milliseconds: float) -> dict[tuple[str, str, str], list[float]]:
    """What CloudWatch has of a version, by metric and statistic, in two periods."""
    found = {(model_id, metric, "Sum"): [value / 2, value / 2] for metric, value in _COUNTS.items()}
    found[model_id, "Latency", "SampleCount"] = [900.0, 100.0]
    for share in range(1, 100):
        # The second minute is three times as slow and has a tenth of the requests.
        value = milliseconds * (0.5 + share / 100)
        found[model_id, "Latency", f"p{share}"] = [value, 3 * value]
    found[model_id, "Drift", "Maximum"] = [0.1, 0.2]
    return found


class _CloudWatch:
    """Answers GetMetricData as its documentation has it: each query by its id, in pages."""

    def __init__(self, stub: Stubber, values: dict[tuple[str, str, str], list[float]]) -> None:
        self.values, self.asked = values, list[dict[str, Any]]()
        stub.client.meta.events.register("before-call.cloudwatch.GetMetricData", self._answer)

    def _answer(self, params: Any, **_more: Any) -> tuple[Any, dict[str, Any]]:
        body = json.loads(params["body"])
        self.asked.append(body)
        results = []
        for query in body["MetricDataQueries"]:
            stat = query["MetricStat"]
            named = {each["Name"]: each["Value"] for each in stat["Metric"]["Dimensions"]}
            assert (named["Environment"], named["Deployment"]) == ("production", "prod")
            values = self.values.get((named["ModelVersion"], stat["Metric"]["MetricName"], stat["Stat"]), [])
            times = [_MINUTE + timedelta(minutes=number) for number in range(len(values))]
            results.append({"Id": query["Id"], "Timestamps": times, "Values": values})
        half = len(results) // 2
        page = results[half:] if body.get("NextToken") else results[:half]
        more = {} if body.get("NextToken") or not half else {"NextToken": "more"}
        return SimpleNamespace(status_code=200), {"MetricDataResults": page or results, **more}


_CANARY = RolloutConfig(strategy="canary", candidate="candidate", weight=25)


def test_counts_percentiles_and_drift_of_both_versions_are_read_in_one_look(
    cloud: tuple[CloudMetrics, Stubber],
) -> None:
    watch, stub = cloud
    server = _CloudWatch(stub, {**_values("stable", 10.0), **_values("candidate", 30.0)})
    found = watch.read("stable", _CANARY, _SINCE)
    assert len(server.asked) == 2, "two pages of one question"
    assert {each["MetricStat"]["Metric"]["Namespace"] for each in server.asked[0]["MetricDataQueries"]} == {
        "FraudDetection"
    }
    assert (found.stable.requests, found.stable.errors, found.stable.frauds) == (1000, 5, 20)
    assert sum(found.stable.latencies.values()) == pytest.approx(1000, abs=10)
    # Of 900 requests between 5 and 15 ms and 100 between 15 and 45 ms, 5 % took longer than 30 ms.
    assert found.stable.percentile(0.95) == pytest.approx(30.0, rel=0.1)
    assert found.candidate.percentile(0.95) == pytest.approx(90.0, rel=0.1)
    assert found.candidate.drift == 0.2


def test_the_first_step_is_judged_from_the_next_minute_on(cloud: tuple[CloudMetrics, Stubber]) -> None:
    watch, stub = cloud
    server = _CloudWatch(stub, {**_values("stable", 10.0), **_values("candidate", 10.0)})
    first = replace(_CANARY, weight=5)
    assert watch.read("stable", first, _SINCE).candidate.requests == 1000
    assert _time(server.asked[0]["StartTime"]) == _MINUTE + timedelta(minutes=1)
    asked = len(server.asked)
    assert watch.read("stable", first, datetime.now(UTC)).stable.requests == 0
    assert len(server.asked) == asked, "nothing is asked yet"


@pytest.mark.parametrize("hours", [1, 23, 25, 100, 168])
def test_a_step_of_any_length_is_read_within_what_cloudwatch_answers(
    cloud: tuple[CloudMetrics, Stubber], hours: int
) -> None:
    watch, stub = cloud
    server = _CloudWatch(stub, {})
    watch.read("stable", _CANARY, datetime.now(UTC) - timedelta(hours=hours))
    (asked,) = {each["MetricStat"]["Period"] for each in server.asked[0]["MetricDataQueries"]}
    queries = sum(len(each["MetricDataQueries"]) for each in server.asked[:1])
    assert asked % 60 == 0
    assert hours * 3600 / asked <= 1440
    assert queries * hours * 3600 / asked <= 100_800, "data points of one answer"
    assert queries <= 500


def test_with_all_the_traffic_stables_drift_is_that_of_the_steps_before(cloud: tuple[CloudMetrics, Stubber]) -> None:
    watch, stub = cloud
    server = _CloudWatch(stub, _values("candidate", 10.0))
    real = server._answer

    def answer(params: Any, **more: Any) -> Any:
        if _time(json.loads(params["body"])["StartTime"]) == _MINUTE - timedelta(hours=2):
            server.values = {("stable", "Drift", "Maximum"): [0.7]}
        return real(params, **more)

    stub.client.meta.events.register_first("before-call.cloudwatch.GetMetricData", answer)
    found = watch.read("stable", replace(_CANARY, weight=100), _SINCE, began=_SINCE - timedelta(hours=2))
    assert (found.stable.requests, found.stable.drift, found.candidate.drift) == (0, 0.7, 0.2)


def _time(value: Any) -> datetime:
    return datetime.fromtimestamp(float(value), UTC)


def test_the_alarms_that_are_on_are_those_of_the_deployment_and_those_that_stood_are_told_apart(
    cloud: tuple[CloudMetrics, Stubber],
) -> None:
    watch, stub = cloud
    asked = {"AlarmNamePrefix": "prod-", "StateValue": "ALARM"}
    states = {"prod-error-rate": "ALARM", "prod-cpu": "OK", "prod-drift": "INSUFFICIENT_DATA"}
    first = [
        {"AlarmName": name, "StateValue": state, "StateTransitionedTimestamp": _SINCE + timedelta(minutes=5)}
        for name, state in states.items()
    ]
    # It went on before the rollout, and its value has changed since.
    second = [
        {
            "AlarmName": "prod-accuracy",
            "StateValue": "ALARM",
            "StateTransitionedTimestamp": _SINCE - timedelta(hours=1),
            "StateUpdatedTimestamp": _SINCE + timedelta(minutes=5),
        }
    ]
    stub.add_response("describe_alarms", {"MetricAlarms": first, "NextToken": "more"}, asked)
    stub.add_response("describe_alarms", {"MetricAlarms": second}, {**asked, "NextToken": "more"})
    with stub:
        assert watch.alarms(_SINCE) == Alarms(new=("prod-error-rate",), stood=("prod-accuracy",))


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
        metrics.alarms(datetime.now(UTC))
    with pytest.raises(EndpointSilent, match="AWS_PROFILE"):
        metrics.read("m_XGBoost_20260101_000000", RolloutConfig(), datetime.now(UTC) - timedelta(hours=1))
