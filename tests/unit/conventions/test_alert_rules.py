"""Each rule names what is published and what can be set, and is evaluated alike everywhere."""

import dataclasses
import math

import pytest

from conventions import metric_names
from conventions.alert_rules import ALERT_RULES, ERROR_RATE, THRESHOLD_RULES, AlertRule, Comparison, error_rate
from infra.alarms import alarm_specs
from infra.deployment_config import AlertThresholds, read_template
from serving.observability.status import Status
from stacks.checks.alerts import evaluate
from tests.stack_file import CHECKOUT

TEMPLATE = CHECKOUT / "config/deployment_templates/production.yaml"


def _status(value: float) -> dict[str, object]:
    gauges = {rule.metric: value for rule in THRESHOLD_RULES}
    return {"requests": 10_000, "errors": round(value * 10_000), "latency_ms": {"p95": value}, "gauges": gauges}


def test_every_rule_names_a_published_metric_and_every_threshold_has_a_rule() -> None:
    assert {rule.metric for rule in ALERT_RULES} <= set(metric_names.PUBLISHED)
    settings = [rule.setting for rule in THRESHOLD_RULES]
    assert sorted(settings) == sorted(field.name for field in dataclasses.fields(AlertThresholds))
    assert len({rule.name for rule in ALERT_RULES}) == len(ALERT_RULES)


def test_the_alarms_and_the_alerts_have_the_same_names_thresholds_and_comparisons() -> None:
    config = read_template(TEMPLATE)
    alarms = {spec.name.replace("-", " "): spec for spec in alarm_specs(config, "blue")}
    for alert in evaluate(_status(0.0), config):
        assert alarms.pop(alert.name).threshold == alert.threshold
    assert list(alarms) == ["heartbeat"]


@pytest.mark.parametrize("rule", ALERT_RULES, ids=lambda rule: rule.name)
def test_a_value_at_its_threshold_breaches_nothing_and_one_beyond_does(rule: AlertRule) -> None:
    direction = math.inf if rule.comparison is Comparison.ABOVE else -math.inf
    assert not rule.is_breached(0.5, 0.5)
    assert rule.is_breached(math.nextafter(0.5, direction), 0.5)
    assert not rule.is_breached(math.nextafter(0.5, -direction), 0.5)
    assert not rule.is_breached(None, 0.5)


def test_an_endpoint_that_does_badly_breaches_each_threshold() -> None:
    config = read_template(TEMPLATE)
    bad = evaluate(_status(10_000.0) | {"errors": 500}, config)
    assert [alert.name for alert in bad if not alert.breached] == ["accuracy"]
    assert [alert.name for alert in evaluate(_status(0.0), config) if alert.breached] == ["accuracy"]


def test_no_threshold_is_breached_without_requests() -> None:
    empty = {"requests": 0, "errors": 0, "latency_ms": {"p95": None}, "gauges": {}}
    assert not any(alert.breached for alert in evaluate(empty, read_template(TEMPLATE)))


def test_the_services_status_has_what_the_rules_ask_for() -> None:
    assert {"requests", "errors", "error_rate", "latency_ms", "gauges"} <= set(Status.__struct_fields__)
    assert error_rate(0, 0) == 0.0
    assert ERROR_RATE.measured(_status(0.25)) == error_rate(2500, 10_000) == 0.25
