"""When an endpoint needs a person: each rule once, for CloudWatch's alarms, for `alerts`, and for health.

A rule names the metric, the statistic, the comparison and the setting in `alert_thresholds` that holds its threshold.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from conventions import metric_names


class Comparison(StrEnum):
    """When a value breaches its threshold, by CloudWatch's names."""

    ABOVE = "GreaterThanThreshold"
    BELOW = "LessThanThreshold"


@dataclass(frozen=True)
class AlertRule:
    """One rule."""

    name: str
    """Such as `error-rate`."""
    description: str
    """Format of one sentence, with `{threshold}`."""
    metric: str
    statistic: str
    """`Average`, `Sum`, `Maximum`, or a percentile such as `p95`."""
    unit: str
    setting: str = ""
    """Field of `alert_thresholds`; empty: the threshold is `fixed_threshold`."""
    fixed_threshold: float = 0
    comparison: Comparison = Comparison.ABOVE
    of_metric: str = ""
    """When given, the value is the sum of `metric` divided by the sum of this one."""
    periods: int = 5
    """Minutes that are looked at."""
    periods_to_alarm: int = 3
    """How many of these minutes have to breach the threshold."""
    by_slot: bool = False
    """Whether CloudWatch's alarm is on the stable slot alone: another slot's replicas do not hide its silence."""
    missing_data: str = "notBreaching"
    """CloudWatch's word for minutes without a value."""

    @property
    def title(self) -> str:
        """The name for people, such as `error rate`."""
        return self.name.replace("-", " ")

    def threshold(self, thresholds: Any) -> float:
        """The threshold in the config's `alert_thresholds`."""
        found: float = getattr(thresholds, self.setting) if self.setting else self.fixed_threshold
        return found

    def is_breached(self, value: float | None, threshold: float) -> bool:
        """Whether a value breaches a threshold; a value that is not known does not."""
        if value is None:
            return False
        return value > threshold if self.comparison is Comparison.ABOVE else value < threshold

    def measured(self, status: dict[str, Any]) -> float | None:
        """The value in the service's answer to `GET /status`; None when it is not known yet."""
        if self.of_metric:
            return error_rate(status["errors"], status["requests"])
        found: float | None = (
            status["latency_ms"][self.statistic]
            if self.metric == metric_names.LATENCY
            else status["gauges"].get(self.metric)
        )
        return found


ERROR_RATE = AlertRule(
    "error-rate",
    "more than {threshold:.2%} of the requests end in a server error",
    metric_names.ERRORS,
    "Sum",
    "share",
    "error_rate",
    of_metric=metric_names.REQUESTS,
)
LATENCY_P95 = AlertRule(
    "latency-p95",
    "one request in twenty takes longer than {threshold} ms",
    metric_names.LATENCY,
    "p95",
    "ms",
    "response_time_p95",
)
CPU = AlertRule(
    "cpu",
    "CPU use is above {threshold:.0%} of the limit",
    metric_names.CPU_UTILIZATION,
    "Average",
    "share of the limit",
    "cpu_utilization",
    periods=15,
    periods_to_alarm=10,
)
MEMORY = AlertRule(
    "memory",
    "memory use is above {threshold:.0%} of the limit",
    metric_names.MEMORY_UTILIZATION,
    "Maximum",
    "share of the limit",
    "memory_utilization",
)
DRIFT = AlertRule(
    "drift",
    "a feature has drifted: population stability index above {threshold:g}",
    metric_names.DRIFT,
    "Maximum",
    "index",
    "drift",
    periods=60,
    periods_to_alarm=30,
)
ACCURACY = AlertRule(
    "accuracy",
    "fewer than {threshold:.0%} of the decisions with feedback were right",
    metric_names.ACCURACY,
    "Average",
    "share",
    "accuracy",
    comparison=Comparison.BELOW,
    periods=60,
    periods_to_alarm=30,
)
HEARTBEAT = AlertRule(
    "heartbeat",
    "no replica with a ready model has reported for five minutes",
    metric_names.HEARTBEAT,
    "Sum",
    "count",
    fixed_threshold=1,
    comparison=Comparison.BELOW,
    periods_to_alarm=5,
    by_slot=True,
    missing_data="breaching",
)

THRESHOLD_RULES = (ERROR_RATE, LATENCY_P95, CPU, MEMORY, DRIFT, ACCURACY)
"""The rules whose thresholds a stack sets; the service's own status is enough to evaluate them."""
ALERT_RULES = (*THRESHOLD_RULES, HEARTBEAT)
"""All rules: one alarm each."""


def error_rate(errors: int, requests: int) -> float:
    """Share of the requests that are errors; 0 without requests."""
    return errors / requests if requests else 0.0
