"""Prometheus's alert rules and Grafana's dashboard of a deployment: the rules and thresholds of CloudWatch's alarms.

CloudWatch's "m of n minutes" is a sum over n looks, one a minute, at whether the threshold is breached. The range is a
second shorter than n minutes, since some versions of Prometheus count the look at its beginning too.
"""

from typing import Any

from conventions import metric_names as names
from conventions.alert_rules import ALERT_RULES, AlertRule, Comparison
from infra.deployment_config import DeploymentConfig

_OPERATORS = {Comparison.ABOVE: ">", Comparison.BELOW: "<"}
_MERGED = {"Average": "avg", "Maximum": "max", "Sum": "sum"}
_RUNBOOK = "docs/runbook.md"
_PANEL_COLUMNS, _PANEL_ROWS = 12, 8


def alert_rules(deployment: DeploymentConfig) -> dict[str, Any]:
    """The content of a rule file of Prometheus.

    Args:
        deployment: whose thresholds and names the rules have.
    """
    thresholds = deployment.monitoring_config.alert_thresholds
    rules = [_rule(rule, rule.threshold(thresholds), deployment) for rule in ALERT_RULES]
    return {"groups": [{"name": f"fraud-detection-{deployment.environment}", "interval": "1m", "rules": rules}]}


def dashboard(deployment: DeploymentConfig) -> dict[str, Any]:
    """A dashboard as Grafana imports it; it asks for the data source.

    Args:
        deployment: whose endpoint it shows.
    """
    thresholds = deployment.monitoring_config.alert_thresholds
    of = _selector(deployment)
    panels = [
        ("Requests a second", f"sum(rate({_series(names.REQUESTS, of)}[1m]))", "reqps", None),
        *(
            (rule.title.capitalize(), _value(rule, of), _unit(rule), rule.threshold(thresholds))
            for rule in ALERT_RULES
            if rule.metric != names.HEARTBEAT
        ),
        ("Replicas with a ready model", f"sum({_series(names.HEARTBEAT, of)})", "short", None),
        ("Fraud rate", _fraud_rate(of), "percentunit", None),
        ("Drift of the scores", f"max({_series(names.SCORE_DRIFT, of)})", "short", None),
        ("Precision", f"avg({_series(names.PRECISION, of)})", "percentunit", None),
        ("Recall", f"avg({_series(names.RECALL, of)})", "percentunit", None),
        ("Starts", f"sum(changes({_series(names.START_TIME, of)}[5m]))", "short", None),
    ]
    return {
        "__inputs": [
            {"name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource", "pluginId": "prometheus"},
        ],
        "title": f"Fraud detection, {deployment.environment}",
        "uid": f"fraud-detection-{deployment.environment}",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "panels": [_panel(number, *panel) for number, panel in enumerate(panels)],
    }


def _selector(deployment: DeploymentConfig) -> str:
    return f'{{environment="{deployment.environment}",deployment="{deployment.deployment_name}"}}'


def _series(name: str, selector: str) -> str:
    return f"{names.prometheus_name(name)}{selector}"


def _value(rule: AlertRule, selector: str) -> str:
    """The value that a rule looks at, of the minute before."""
    series = _series(rule.metric, selector)
    if rule.of_metric:
        return f"sum(rate({series}[1m])) / sum(rate({_series(rule.of_metric, selector)}[1m]))"
    if rule.metric == names.LATENCY:
        quantile = int(rule.statistic.removeprefix("p")) / 100
        bucket = f"{names.prometheus_name(rule.metric)}_bucket{selector}"
        return f"histogram_quantile({quantile:g}, sum by (le) (rate({bucket}[1m])))"
    found = f"{_MERGED[rule.statistic]}({series})"
    return f"({found} or vector(0))" if rule.missing_data == "breaching" else found


def _rule(rule: AlertRule, threshold: float, deployment: DeploymentConfig) -> dict[str, Any]:
    breached = f"({_value(rule, _selector(deployment))}) {_OPERATORS[rule.comparison]} bool {threshold:g}"
    return {
        "alert": "FraudDetection" + "".join(part.capitalize() for part in rule.name.split("-")),
        "expr": f"sum_over_time(({breached})[{rule.periods * 60 - 1}s:1m]) >= {rule.periods_to_alarm}",
        "labels": {
            "severity": "critical" if rule.missing_data == "breaching" else "warning",
            "environment": deployment.environment,
            "deployment": deployment.deployment_name,
        },
        "annotations": {"summary": rule.description.format(threshold=threshold), "runbook": _RUNBOOK},
    }


def _fraud_rate(selector: str) -> str:
    return f"sum(rate({_series(names.FRAUDS, selector)}[5m])) / sum(rate({_series(names.DECISIONS, selector)}[5m]))"


def _unit(rule: AlertRule) -> str:
    return {"ms": "ms", "share": "percentunit", "share of the limit": "percentunit"}.get(rule.unit, "short")


def _panel(number: int, title: str, expression: str, unit: str, threshold: float | None) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if threshold is not None:
        steps.append({"color": "red", "value": threshold})
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": {"type": "prometheus", "uid": "${DS_PROMETHEUS}"},
        "gridPos": {
            "x": number % 2 * _PANEL_COLUMNS,
            "y": number // 2 * _PANEL_ROWS,
            "w": _PANEL_COLUMNS,
            "h": _PANEL_ROWS,
        },
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": {"thresholdsStyle": {"mode": "off" if threshold is None else "line"}},
            },
            "overrides": [],
        },
        "targets": [{"refId": "A", "expr": expression, "legendFormat": title}],
    }
