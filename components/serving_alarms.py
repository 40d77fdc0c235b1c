"""ServingAlarms: alarms on an endpoint's metrics, a composite alarm, a topic with subscribers, a dashboard."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.account_key import account_key_policy
from components.alarm_subscribers import subscribe

_PERIOD_SECONDS = 60
_WIDGET_COLUMNS = 12
_WIDGET_ROWS = 6


@dataclass(frozen=True)
class AlarmSpec:
    """One alarm on a metric, or on the ratio of two metrics."""

    name: str
    """Name of the alarm, such as `error-rate`."""
    description: str
    metric: str
    statistic: str
    """`Average`, `Sum`, `Maximum`, or a percentile such as `p95`."""
    threshold: float
    comparison: str = "GreaterThanThreshold"
    of_metric: str = ""
    """When given, the alarm compares the sum of `metric` divided by the sum of this metric."""
    periods: int = 5
    """Number of one-minute periods that the alarm evaluates."""
    periods_to_alarm: int = 3
    missing_data: str = "notBreaching"
    dimensions: tuple[tuple[str, str], ...] = ()
    """Of this alarm's metric; empty: those of the arguments."""


@dataclass(frozen=True)
class ServingAlarmsArgs:
    """Arguments of ServingAlarms: the metrics, their thresholds and the subscribers."""

    deployment_name: str
    environment: str
    region: str
    account_id: pulumi.Input[str]
    partition: pulumi.Input[str]
    namespace: str
    """CloudWatch namespace that the service publishes to."""
    dimensions: tuple[tuple[str, str], ...]
    """CloudWatch dimensions of the service's metrics."""
    alarms: Sequence[AlarmSpec]
    subscribers: Sequence[tuple[str, str]]
    """Protocol (`email`, `https`, `sqs`, `lambda`) and address of each."""
    queues_to_open: Sequence[str] = ()
    """ARNs of the queues among the subscribers whose policy is written here."""
    log_retention_days: int = 365
    dashboard_name: str = ""
    """An account has one dashboard of a name in all its regions; empty: the deployment's name."""


class ServingAlarms(pulumi.ComponentResource):
    """Alarms for one endpoint.

    Guarantees: every alarm sends a message to the topic when it begins and when it ends; the topic has its own
    encryption key and accepts messages only from this account's alarms.
    """

    topic_arn: pulumi.Output[str]
    dashboard: pulumi.Output[str]
    log_group: pulumi.Output[str]

    def __init__(self, name: str, args: ServingAlarmsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("fraud-detection:serving_alarms:ServingAlarms", name, {}, opts)
        self._name, self._args = name, args
        key = self._key()
        topic = self._topic(key)
        self.topic_arn = topic.arn
        made = [self._alarm(spec) for spec in args.alarms]
        any_alarm = pulumi.Output.all(*(alarm.name for alarm in made)).apply(
            lambda names: " OR ".join(f'ALARM("{alarm}")' for alarm in names)
        )
        aws.cloudwatch.CompositeAlarm(
            f"{name}-any",
            alarm_name=f"{args.deployment_name}-any",
            alarm_description=f"any alarm of {args.deployment_name}",
            alarm_rule=any_alarm,
            alarm_actions=[self.topic_arn],
            ok_actions=[self.topic_arn],
            opts=self._child(depends_on=made),
        )
        group = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"/fraud-detection/{args.deployment_name}",
            retention_in_days=args.log_retention_days,
            kms_key_id=key.arn,
            opts=self._child(),
        )
        dashboard = aws.cloudwatch.Dashboard(
            f"{name}-dashboard",
            dashboard_name=args.dashboard_name or args.deployment_name,
            dashboard_body=json.dumps(self._dashboard_body(), sort_keys=True),
            opts=self._child(),
        )
        self.log_group = group.name
        self.dashboard = dashboard.dashboard_name
        self.register_outputs({"topic_arn": self.topic_arn, "dashboard": self.dashboard, "log_group": self.log_group})

    def _child(self, **options: Any) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, **options)

    def _key(self) -> aws.kms.Key:
        args = self._args
        policy = pulumi.Output.all(account_id=args.account_id, partition=args.partition).apply(
            lambda known: json.dumps(
                alarm_key_policy(**known, region=args.region, deployment_name=args.deployment_name)
            )
        )
        key = aws.kms.Key(
            f"{self._name}-key",
            description=f"alarms and logs of {args.deployment_name}",
            enable_key_rotation=True,
            deletion_window_in_days=30,
            policy=policy,
            opts=self._child(),
        )
        aws.kms.Alias(
            f"{self._name}-key-alias",
            name=f"alias/{args.deployment_name}-alarms",
            target_key_id=key.key_id,
            opts=self._child(),
        )
        return key

    def _topic(self, key: aws.kms.Key) -> aws.sns.Topic:
        args = self._args
        topic = aws.sns.Topic(
            f"{self._name}-topic", name=f"{args.deployment_name}-alarms", kms_master_key_id=key.arn, opts=self._child()
        )
        aws.sns.TopicPolicy(
            f"{self._name}-topic-policy",
            arn=topic.arn,
            policy=pulumi.Output.all(topic.arn, args.account_id).apply(lambda both: json.dumps(topic_policy(*both))),
            opts=self._child(),
        )
        subscribe(self._name, topic.arn, args.subscribers, args.queues_to_open, self._child())
        return topic

    def _alarm(self, spec: AlarmSpec) -> aws.cloudwatch.MetricAlarm:
        args = self._args
        shared: dict[str, Any] = {
            "name": f"{args.deployment_name}-{spec.name}",
            "alarm_description": spec.description,
            "comparison_operator": spec.comparison,
            "threshold": spec.threshold,
            "evaluation_periods": spec.periods,
            "datapoints_to_alarm": spec.periods_to_alarm,
            "treat_missing_data": spec.missing_data,
            "alarm_actions": [self.topic_arn],
            "ok_actions": [self.topic_arn],
            "opts": self._child(),
        }
        if spec.of_metric:
            shared["metric_queries"] = [
                {"id": "share", "expression": "part / FILL(whole, 0)", "label": spec.name, "return_data": True},
                self._query("part", spec.metric),
                self._query("whole", spec.of_metric),
            ]
        else:
            percentile = spec.statistic.startswith("p")
            shared |= {
                "metric_name": spec.metric,
                "namespace": args.namespace,
                "dimensions": dict(spec.dimensions or args.dimensions),
                "period": _PERIOD_SECONDS,
                "extended_statistic" if percentile else "statistic": spec.statistic,
            }
        return aws.cloudwatch.MetricAlarm(f"{self._name}-{spec.name}", **shared)

    def _query(self, identifier: str, metric: str) -> dict[str, Any]:
        return {
            "id": identifier,
            "metric": {
                "metric_name": metric,
                "namespace": self._args.namespace,
                "dimensions": dict(self._args.dimensions),
                "period": _PERIOD_SECONDS,
                "stat": "Sum",
            },
        }

    def _dashboard_body(self) -> dict[str, Any]:
        return {"widgets": [self._widget(number, spec) for number, spec in enumerate(self._args.alarms)]}

    def _widget(self, number: int, spec: AlarmSpec) -> dict[str, Any]:
        dimensions = [part for pair in spec.dimensions or self._args.dimensions for part in pair]
        names = [spec.metric, *([spec.of_metric] if spec.of_metric else [])]
        return {
            "type": "metric",
            "x": number % 2 * _WIDGET_COLUMNS,
            "y": number // 2 * _WIDGET_ROWS,
            "width": _WIDGET_COLUMNS,
            "height": _WIDGET_ROWS,
            "properties": {
                "title": spec.description,
                "region": self._args.region,
                "period": _PERIOD_SECONDS,
                "stat": spec.statistic,
                "metrics": [[self._args.namespace, name, *dimensions] for name in names],
                "annotations": {"horizontal": [] if spec.of_metric else [{"label": "alarm", "value": spec.threshold}]},
            },
        }


def alarm_key_policy(account_id: str, partition: str, region: str, deployment_name: str) -> dict[str, Any]:
    """Key policy: the account's IAM policies decide; alarms may encrypt for the topic, and logs for this log group."""
    use = ["kms:Decrypt", "kms:GenerateDataKey*"]
    group = f"arn:{partition}:logs:{region}:{account_id}:log-group:/fraud-detection/{deployment_name}"
    alarms = {
        "Sid": "AlarmsTellTheTopic",
        "Effect": "Allow",
        "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Action": use,
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:SourceAccount": account_id}},
    }
    logs = {
        "Sid": "LogsOfTheDeployment",
        "Effect": "Allow",
        "Principal": {"Service": f"logs.{region}.amazonaws.com"},
        "Action": [*use, "kms:Encrypt", "kms:DescribeKey"],
        "Resource": "*",
        "Condition": {"ArnEquals": {"kms:EncryptionContext:aws:logs:arn": group}},
    }
    return account_key_policy(account_id, partition, (alarms, logs))


def topic_policy(topic_arn: str, account_id: str) -> dict[str, Any]:
    """Topic policy: only alarms of this account publish, over TLS."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "AlarmsOfThisAccount",
                "Effect": "Allow",
                "Principal": {"Service": "cloudwatch.amazonaws.com"},
                "Action": "sns:Publish",
                "Resource": topic_arn,
                "Condition": {"StringEquals": {"aws:SourceAccount": account_id}},
            },
            {
                "Sid": "OnlyTls",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "sns:Publish",
                "Resource": topic_arn,
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    }
