"""Alarms of an endpoint: the rules of `conventions.alert_rules` with the thresholds of its config."""

from components.serving_alarms import AlarmSpec
from conventions.alert_rules import ALERT_RULES, AlertRule
from infra.deployment_config import DeploymentConfig


def alarm_specs(deployment: DeploymentConfig) -> tuple[AlarmSpec, ...]:
    """One alarm for each rule."""
    thresholds = deployment.monitoring_config.alert_thresholds
    return tuple(_alarm_spec(rule, rule.threshold(thresholds)) for rule in ALERT_RULES)


def _alarm_spec(rule: AlertRule, threshold: float) -> AlarmSpec:
    return AlarmSpec(
        rule.name,
        rule.description.format(threshold=threshold),
        rule.metric,
        rule.statistic,
        threshold,
        comparison=rule.comparison.value,
        of_metric=rule.of_metric,
        periods=rule.periods,
        periods_to_alarm=rule.periods_to_alarm,
        missing_data=rule.missing_data,
    )
