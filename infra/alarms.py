"""Alarms of an endpoint: the rules of `conventions.alert_rules` with the thresholds of its config."""

from components.serving_alarms import AlarmSpec
from conventions import metric_names
from conventions.alert_rules import ALERT_RULES, AlertRule
from infra.deployment_config import DeploymentConfig


def alarm_specs(deployment: DeploymentConfig, slot: str) -> tuple[AlarmSpec, ...]:
    """One alarm for each rule.

    Args:
        deployment: whose thresholds and names the alarms have.
        slot: the slot of the stable version.
    """
    thresholds = deployment.monitoring_config.alert_thresholds
    of_slot = metric_names.dimensions(deployment.environment, deployment.deployment_name, slot=slot)
    return tuple(_alarm_spec(rule, rule.threshold(thresholds), of_slot if rule.by_slot else ()) for rule in ALERT_RULES)


def _alarm_spec(rule: AlertRule, threshold: float, dimensions: tuple[tuple[str, str], ...]) -> AlarmSpec:
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
        dimensions=dimensions,
    )
