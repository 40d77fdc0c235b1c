"""The sandbox's CloudWatch answers percentiles to an SDK, which moto alone does not."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.certificates import make_certificates
from sandbox.percentiles import percentile
from sandbox.processes import free_ports, wait_for_port
from tests.checkout import SOURCE

_NOW = datetime(2026, 10, 9, 14, 0, tzinfo=UTC)
_REGION = "eu-central-1"


@pytest.fixture(scope="module")
def cloudwatch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    directory: Path = tmp_path_factory.mktemp("aws")
    make_certificates(directory, _REGION)
    secure, plain = free_ports(2)
    command = [sys.executable, "-m", "sandbox.aws", "--port", str(secure), "--http-port", str(plain)]
    command += ["--certificate", str(directory / "server.pem"), "--key", str(directory / "server.key")]
    environment = {**os.environ, "AWS_REGION": _REGION}
    with subprocess.Popen(command, env=environment, cwd=SOURCE) as server:
        try:
            assert wait_for_port(plain, 60)
            yield boto3.client(
                "cloudwatch",
                region_name=_REGION,
                endpoint_url=f"http://127.0.0.1:{plain}",
                aws_access_key_id="none",
                aws_secret_access_key="none",
            )
        finally:
            server.terminate()


def _ask(cloudwatch: Any, model_id: str, *statistics: str) -> dict[str, dict[datetime, float]]:
    dimensions = [{"Name": "ModelVersion", "Value": model_id}]
    metric = {"Namespace": "FraudDetection", "MetricName": "Latency", "Dimensions": dimensions}
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=[
            {"Id": f"q{number}", "MetricStat": {"Metric": metric, "Period": 60, "Stat": statistic}}
            for number, statistic in enumerate(statistics)
        ],
        StartTime=_NOW,
        EndTime=_NOW + timedelta(minutes=5),
    )
    found = {
        each["Id"]: dict(zip(each["Timestamps"], each["Values"], strict=True)) for each in answer["MetricDataResults"]
    }
    return {statistic: found[f"q{number}"] for number, statistic in enumerate(statistics)}


def _put(cloudwatch: Any, model_id: str, minute: int, values: dict[float, float]) -> None:
    datum = {
        "MetricName": "Latency",
        "Dimensions": [{"Name": "ModelVersion", "Value": model_id}],
        "Timestamp": _NOW + timedelta(minutes=minute),
        "Values": list(values),
        "Counts": list(values.values()),
    }
    cloudwatch.put_metric_data(Namespace="FraudDetection", MetricData=[datum])


def test_percentiles_of_each_period_are_of_the_metric_that_was_asked_for(cloudwatch: Any) -> None:
    _put(cloudwatch, "stable", 0, {float(value): 1 for value in range(101)})
    _put(cloudwatch, "stable", 2, {5.0: 90, 50.0: 10})
    _put(cloudwatch, "candidate", 0, {1000.0: 3})
    found = _ask(cloudwatch, "stable", "p50", "p95", "p99.9")
    later = _NOW + timedelta(minutes=2)
    assert found["p50"] == pytest.approx({_NOW: 50.0, later: 5.0})
    assert found["p95"] == pytest.approx({_NOW: 95.0, later: 50.0})
    assert found["p99.9"] == pytest.approx({_NOW: 99.9, later: 50.0})
    assert _ask(cloudwatch, "nobody", "p50") == {"p50": {}}


def test_moto_answers_other_statistics(cloudwatch: Any) -> None:
    _put(cloudwatch, "counted", 1, {2.0: 3, 4.0: 1})
    found = _ask(cloudwatch, "counted", "Sum", "SampleCount", "Maximum")
    assert [next(iter(each.values())) for each in found.values()] == [10.0, 4.0, 4.0]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0, 100))
def test_a_percentile_is_between_the_values_and_grows_with_the_share(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert (
        ordered[0] <= found <= ordered[-1] or found == pytest.approx(ordered[0]) or found == pytest.approx(ordered[-1])
    )
    assert percentile(ordered, 0) == ordered[0]
    assert percentile(ordered, 100) == ordered[-1]
    assert percentile(ordered, share / 2) <= found + 1e-6
