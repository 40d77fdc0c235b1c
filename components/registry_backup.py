"""RegistryBackup: a job in the cluster that copies the registry to a second bucket, on a schedule, and its alarm."""

import json
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.iam_roles import RoleRules
from components.pod_placement import PodPlacement, ephemeral_storage
from components.pod_rights import pod_trust_policy
from components.pod_rules import (
    aws_token,
    aws_variables,
    container_security_context,
    dns_and_https_egress,
    pod_security_context,
)
from conventions import metric_names, variables

_HOUR_SECONDS = 3600
_DEADLINE_SECONDS = 4 * _HOUR_SECONDS
"""A run that takes longer is ended, so that it does not keep the next ones from starting."""
_DIRECTORY = "2Gi"
_TOKEN = "/var/run/secrets/fraud-detection/aws"  # noqa: S105 - a directory


@dataclass(frozen=True)
class BackupBucket:
    """A bucket with the key that it is encrypted with."""

    name: pulumi.Input[str]
    arn: pulumi.Input[str]
    key_arn: pulumi.Input[str]


@dataclass(frozen=True)
class RegistryBackupArgs:
    """Arguments of RegistryBackup: source, destination and schedule of the copy."""

    deployment_name: str
    namespace: pulumi.Input[str]
    """The namespace in which the job runs."""
    namespace_name: str
    """The same as plain text, for the trust policy of the job's role."""
    image: pulumi.Input[str]
    """The service's image, by digest; it holds the library."""
    schedule: str
    """A cron expression, UTC: `17 3 * * *`."""
    registry: BackupBucket
    backup: BackupBucket
    region: str
    """Of the registry and of the alarm; the backup's bucket may lie in another one."""
    oidc_provider_arn: str
    environment: str
    alarm_topic: pulumi.Input[str]
    """ARN of the topic that is told when no copy succeeds."""
    alarm_hours: int
    """Hours without a successful copy that begin the alarm; 1 to 168."""
    metrics_namespace: str
    memory: str = "1Gi"
    dns_addresses: tuple[str, ...] = ()
    """Blocks in CIDR notation that answer DNS beside the cluster's pods."""
    placement: PodPlacement = field(default_factory=PodPlacement)
    """The nodes that the job may be on."""
    rules: RoleRules = field(default_factory=RoleRules)
    """Of the job's role."""


class RegistryBackup(pulumi.ComponentResource):
    """A CronJob, its rights and its alarm.

    Guarantees: the job reads the registry, adds its record to the audit log, and adds to the backup; it can remove or
    change nothing in either. Two runs never overlap, and none lasts longer than four hours. A copy that is not made,
    or not made whole, begins an alarm of its own after `alarm_hours`.
    """

    job: pulumi.Output[str]

    def __init__(self, name: str, args: RegistryBackupArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("fraud-detection:registry_backup:RegistryBackup", name, {}, opts)
        self._name, self._args = name, args
        self._object = f"{args.deployment_name}-backup"
        self._labels = {
            "app.kubernetes.io/name": self._object,
            "app.kubernetes.io/part-of": "fraud-detection",
            "app.kubernetes.io/managed-by": "pulumi",
        }
        child = pulumi.ResourceOptions(parent=self)
        role = self._role(child)
        metadata = {"name": self._object, "namespace": args.namespace, "labels": self._labels}
        account = kubernetes.core.v1.ServiceAccount(
            f"{name}-account",
            metadata={**metadata, "annotations": {"eks.amazonaws.com/role-arn": role.arn}},
            automount_service_account_token=False,
            opts=child,
        )
        kubernetes.networking.v1.NetworkPolicy(
            f"{name}-allow",
            metadata=metadata,
            spec={
                "pod_selector": {"match_labels": {"app.kubernetes.io/name": self._object}},
                "policy_types": ["Ingress", "Egress"],
                "egress": dns_and_https_egress(args.dns_addresses),
            },
            opts=child,
        )
        job = kubernetes.batch.v1.CronJob(
            f"{name}-job",
            metadata=metadata,
            spec={
                "schedule": args.schedule,
                "time_zone": "Etc/UTC",
                "concurrency_policy": "Forbid",
                "starting_deadline_seconds": 3600,
                "successful_jobs_history_limit": 3,
                "failed_jobs_history_limit": 3,
                "job_template": {
                    "spec": {
                        "backoff_limit": 2,
                        "active_deadline_seconds": _DEADLINE_SECONDS,
                        "template": self._pod(account, role.arn),
                    }
                },
            },
            opts=child,
        )
        self._alarm(child)
        self.job = job.metadata.name
        self.register_outputs({"job": self.job})

    def _alarm(self, opts: pulumi.ResourceOptions) -> None:
        args = self._args
        aws.cloudwatch.MetricAlarm(
            f"{self._name}-alarm",
            name=f"{args.deployment_name}-no-backup",
            alarm_description=f"no whole copy of the registry of {args.deployment_name} in {args.alarm_hours} hours",
            namespace=args.metrics_namespace,
            metric_name=metric_names.BACKUPS,
            dimensions=dict(metric_names.dimensions(args.environment, args.deployment_name)),
            statistic="Sum",
            period=_HOUR_SECONDS,
            evaluation_periods=args.alarm_hours,
            datapoints_to_alarm=args.alarm_hours,
            comparison_operator="LessThanThreshold",
            threshold=1,
            treat_missing_data="breaching",
            alarm_actions=[args.alarm_topic],
            ok_actions=[args.alarm_topic],
            opts=opts,
        )

    def _role(self, opts: pulumi.ResourceOptions) -> aws.iam.Role:
        args = self._args
        subject = f"system:serviceaccount:{args.namespace_name}:{self._object}"
        role = aws.iam.Role(
            f"{self._name}-role",
            name=args.rules.named(backup_role_name(args.deployment_name)),
            description=f"backup of the registry of {args.deployment_name}",
            assume_role_policy=json.dumps(pod_trust_policy(args.oidc_provider_arn, subject)),
            max_session_duration=3600,
            **args.rules.arguments(),
            opts=opts,
        )
        policy = pulumi.Output.all(
            registry=args.registry.arn,
            registry_key=args.registry.key_arn,
            backup=args.backup.arn,
            backup_key=args.backup.key_arn,
            metrics_namespace=args.metrics_namespace,
        ).apply(lambda known: json.dumps(backup_policy(**known)))
        aws.iam.RolePolicy(f"{self._name}-role-policy", name="backup", role=role.name, policy=policy, opts=opts)
        return role

    def _pod(self, account: kubernetes.core.v1.ServiceAccount, role_arn: pulumi.Output[str]) -> dict[str, Any]:
        args = self._args
        limits = {"cpu": "500m", "memory": args.memory, "ephemeral-storage": ephemeral_storage(_DIRECTORY)}
        told: dict[str, pulumi.Input[str]] = {
            variables.MODEL_REGISTRY_URL: pulumi.Output.concat("s3://", args.registry.name),
            **aws_variables(args.region, role_arn, _TOKEN),
            variables.METRICS_NAMESPACE: args.metrics_namespace,
            variables.ENVIRONMENT: args.environment,
            variables.DEPLOYMENT_NAME: args.deployment_name,
            "TMPDIR": "/tmp",  # noqa: S108 - a directory of the pod's own
        }
        container = {
            "name": "backup",
            "image": args.image,
            "image_pull_policy": "Always",
            "command": ["python3", "-m", "model_store.backup"],
            "args": [pulumi.Output.concat("s3://", args.backup.name)],
            "env": [{"name": name, "value": value} for name, value in told.items()],
            "resources": {"requests": limits, "limits": limits},
            "security_context": container_security_context(),
            "volume_mounts": [
                {"name": "aws-token", "mount_path": _TOKEN, "read_only": True},
                {"name": "tmp", "mount_path": "/tmp"},  # noqa: S108 - a directory of the pod's own
            ],
        }
        return {
            "metadata": {"labels": self._labels},
            "spec": {
                "service_account_name": account.metadata.name,
                "automount_service_account_token": False,
                "enable_service_links": False,
                "restart_policy": "Never",
                "security_context": pod_security_context(),
                **args.placement.fields(),
                "containers": [container],
                "volumes": [aws_token(), {"name": "tmp", "empty_dir": {"size_limit": _DIRECTORY}}],
            },
        }


def backup_role_name(deployment_name: str) -> str:
    """The name of the job's role, without the suffix of the region."""
    return f"{deployment_name}-backup"


def backup_policy(
    registry: str, registry_key: str, backup: str, backup_key: str, metrics_namespace: str
) -> dict[str, Any]:
    """The rights of the job: list and read both buckets, add to the audit log and the backup, tell that it is done."""
    secure = {"Bool": {"aws:SecureTransport": "true"}}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Look",
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:GetEncryptionConfiguration"],
                "Resource": [registry, backup],
                "Condition": secure,
            },
            {
                "Sid": "Read",
                "Effect": "Allow",
                "Action": "s3:GetObject",
                "Resource": [f"{registry}/*", f"{backup}/*"],
                "Condition": secure,
            },
            {
                "Sid": "Add",
                "Effect": "Allow",
                "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
                "Resource": [f"{registry}/audit/*", f"{backup}/*"],
                "Condition": secure,
            },
            *(
                {
                    "Sid": f"UseTheKeyOf{whose}",
                    "Effect": "Allow",
                    "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
                    "Resource": key,
                }
                for whose, key in (("Registry", registry_key), ("Backup", backup_key))
            ),
            {
                "Sid": "TellThatItIsDone",
                "Effect": "Allow",
                "Action": "cloudwatch:PutMetricData",
                # PutMetricData supports no resource ARNs; a condition on the namespace limits it.
                "Resource": "*",
                "Condition": {"StringEquals": {"cloudwatch:namespace": metrics_namespace}},
            },
        ],
    }
