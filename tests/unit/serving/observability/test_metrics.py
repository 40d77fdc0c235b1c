"""Metrics: what the service publishes is what alarms look at; drift, accuracy and latency are what they say."""

from typing import Any

import numpy as np
import pytest

from conventions import metric_names
from infra.alarms import alarm_specs
from infra.deployment_config import read_template
from serving.observability.drift import DriftWatch
from serving.observability.metrics import ServiceMetrics
from serving.settings import ServingSettings
from tests.stack_file import CHECKOUT

ENVIRONMENT = {
    "ENVIRONMENT": "staging",
    "DEPLOYMENT_NAME": "fraud-test",
    "MODEL_ID": "m_XGBoost_20260101_000000",
    "MODEL_URI": "/nowhere",
    "MODEL_SHA256": "sha256:" + "0" * 64,
    "API_KEYS_FILE": "/nowhere",
}
BINS = {"edges": [float(edge) for edge in range(1, 10)], "shares": [0.1] * 10}


def _metrics() -> ServiceMetrics:
    schema = [{"name": "a", "type": "number", "bins": BINS}, {"name": "b", "type": "number"}]
    return ServiceMetrics(ServingSettings.from_environment(ENVIRONMENT), DriftWatch(schema))


def used(*, shift: float = 0.0) -> ServiceMetrics:
    metrics = _metrics()
    rows = [[value, 0.0] for value in np.random.default_rng(0).uniform(0, 10, 2000) + shift]
    scores = np.random.default_rng(1).uniform(0, 1, 2000).tolist()
    for milliseconds in (98.0, 99.0):
        metrics.request(200, milliseconds, rows, scores, 20)
    metrics.feedback([(True, True)] * 6 + [(False, False)] * 3 + [(True, False)])
    for number in range(98):
        metrics.request(500 if number == 0 else 200, float(number))
    return metrics


def _minute(metrics: ServiceMetrics) -> dict[str, dict[str, Any]]:
    return {item["MetricName"]: item for item in metrics.take_minute()}


def test_a_service_in_use_publishes_every_metric_with_the_dimensions_of_the_alarms() -> None:
    published = _minute(used())
    assert set(published) == set(metric_names.PUBLISHED)
    expected = [{"Name": "Environment", "Value": "staging"}, {"Name": "Deployment", "Value": "fraud-test"}]
    assert all(item["Dimensions"] == expected for item in published.values())


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_every_alarm_looks_at_a_metric_that_is_published(environment: str) -> None:
    specs = alarm_specs(read_template(CHECKOUT / f"config/deployment_templates/{environment}.yaml"), "blue")
    looked_at = {spec.metric for spec in specs} | {spec.of_metric for spec in specs if spec.of_metric}
    assert looked_at <= set(metric_names.PUBLISHED)
    assert len({spec.name for spec in specs}) == len(specs) == 7


def test_the_values_are_right_and_a_minute_counts_once() -> None:
    metrics = used()
    minute = _minute(metrics)
    assert (minute["Requests"]["Value"], minute["Errors"]["Value"]) == (100, 1)
    assert minute["FraudRate"]["Value"] == pytest.approx(0.01)
    assert minute["Accuracy"]["Value"] == pytest.approx(0.9)
    assert minute["Precision"]["Value"] == pytest.approx(6 / 7)
    assert minute["Recall"]["Value"] == 1
    assert minute["ScoreDrift"]["Value"] == 0
    assert minute["Starts"]["Value"] == 1
    latencies = minute["Latency"]
    slow = sum(count for value, count in zip(latencies["Values"], latencies["Counts"], strict=True) if value > 94.5)
    assert slow == pytest.approx(5, abs=1), "percentiles stay what they are"
    assert sum(minute["Latency"]["Counts"]) == 100
    assert minute["Drift"]["Value"] < 0.02
    assert _minute(metrics)["Requests"]["Value"] == 0
    assert "Accuracy" not in _minute(metrics), "nothing is known, so nothing is said"


def test_a_moved_feature_is_seen_as_drift() -> None:
    assert _minute(used(shift=4.0))["Drift"]["Value"] > 0.25


@pytest.mark.parametrize("slot", ["", "blue", "green"])
def test_the_heartbeat_is_pushed_under_its_slot_too(slot: str) -> None:
    settings = ServingSettings.from_environment({**ENVIRONMENT, "METRICS_SLOT": slot})
    beats = [
        {each["Name"]: each["Value"] for each in item["Dimensions"]}.get("Slot", "")
        for item in ServiceMetrics(settings, DriftWatch([])).take_minute()
        if item["MetricName"] == "Heartbeat"
    ]
    assert beats == (["", slot] if slot else [""])


@pytest.mark.parametrize("by_version", ["0", "1"])
def test_feedback_on_another_version_is_pushed_under_its_name_alone(by_version: str) -> None:
    settings = ServingSettings.from_environment({**ENVIRONMENT, "METRICS_BY_VERSION": by_version})
    metrics = ServiceMetrics(settings, DriftWatch([]))
    metrics.feedback([(True, True)])
    metrics.feedback([(True, False)], "another")

    def accuracy() -> dict[str, float]:
        return {
            {each["Name"]: each["Value"] for each in item["Dimensions"]}.get("ModelVersion", ""): item["Value"]
            for item in metrics.take_minute()
            if item["MetricName"] == "Accuracy"
        }

    assert accuracy() == ({"": 1, ENVIRONMENT["MODEL_ID"]: 1, "another": 0} if by_version == "1" else {"": 1})
    assert accuracy() == {}, "a minute counts once"
