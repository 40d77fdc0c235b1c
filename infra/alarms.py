"""The alarms of an endpoint, from the thresholds in its config and the names of what the service publishes."""

from components.serving_alarms import AlarmSpec
from conventions import metric_names
from infra.deployment_config import DeploymentConfig


def alarm_specs(deployment: DeploymentConfig) -> tuple[AlarmSpec, ...]:
    """One alarm for each threshold, and one for silence."""
    limits = deployment.monitoring_config.alert_thresholds
    return (
        AlarmSpec(
            "error-rate",
            f"more than {limits.error_rate:.2%} of the requests end in a server error",
            metric_names.ERRORS,
            "Sum",
            limits.error_rate,
            of_metric=metric_names.REQUESTS,
        ),
        AlarmSpec(
            "latency-p95",
            f"one request in twenty takes longer than {limits.response_time_p95} ms",
            metric_names.LATENCY,
            "p95",
            limits.response_time_p95,
        ),
        AlarmSpec(
            "cpu",
            f"CPU use is above {limits.cpu_utilization:.0%} of the limit",
            metric_names.CPU_UTILIZATION,
            "Average",
            limits.cpu_utilization,
            periods=15,
            periods_to_alarm=10,
        ),
        AlarmSpec(
            "memory",
            f"memory use is above {limits.memory_utilization:.0%} of the limit",
            metric_names.MEMORY_UTILIZATION,
            "Maximum",
            limits.memory_utilization,
        ),
        AlarmSpec(
            "drift",
            f"a feature has drifted: population stability index above {limits.drift:g}",
            metric_names.DRIFT,
            "Maximum",
            limits.drift,
            periods=60,
            periods_to_alarm=30,
        ),
        AlarmSpec(
            "accuracy",
            f"fewer than {limits.accuracy:.0%} of the decisions with feedback were right",
            metric_names.ACCURACY,
            "Average",
            limits.accuracy,
            comparison="LessThanThreshold",
            periods=60,
            periods_to_alarm=30,
        ),
        AlarmSpec(
            "heartbeat",
            "no replica with a ready model has reported for five minutes",
            metric_names.HEARTBEAT,
            "Sum",
            1,
            comparison="LessThanThreshold",
            periods_to_alarm=5,
            missing_data="breaching",
        ),
    )
