"""RegistryBucket: the registry's bucket in a cloud, with its own key, log bucket, policies and lifecycle."""

import json
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.account_key import account_key_policy
from components.registry_rights import of_role, only_tls, registry_policy

_NONCURRENT_LOG_DAYS = 30


@dataclass(frozen=True)
class RegistryBucketArgs:
    """Arguments of RegistryBucket; every default is the safe one."""

    bucket_name: str
    """Bucket name, globally unique, 3 to 56 characters; the log bucket has the same name with `-logs`."""
    account_id: pulumi.Input[str]
    """The account that owns bucket and key."""
    partition: pulumi.Input[str] = "aws"
    rollback_window_days: int = 90
    """Days of object lock (mode GOVERNANCE): nobody can remove a written object; replaced objects stay twice as
    long."""
    log_retention_days: int = 365
    protect: bool = True
    """Whether bucket and key refuse to be deleted."""
    copier: str = ""
    """ARN of a role of another account that adds objects, for a backup that lies in an account of its own."""
    tags: tuple[tuple[str, str], ...] = ()


class RegistryBucket(pulumi.ComponentResource):
    """A versioned bucket for the registry.

    Guarantees: encrypted with a rotating key of its own; no public access, no ACLs; only TLS, only puts that name that
    key; manifests and audit records are created and never replaced; every access logged; nothing that a rollback may
    need expires; protected from deletion.
    """

    bucket: pulumi.Output[str]
    arn: pulumi.Output[str]
    key_arn: pulumi.Output[str]
    ready: list[pulumi.Resource]
    """Resources that an upload into the bucket waits for."""

    def __init__(self, name: str, args: RegistryBucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        # Children inherit it: a bucket without its policies would be a worse one.
        kept = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=args.protect))
        super().__init__("fraud-detection:registry_bucket:RegistryBucket", name, {}, kept)
        self._name, self._args = name, args
        self._tags = dict(args.tags)
        key = self._key()
        logs, may_log = self._log_bucket()
        bucket = aws.s3.Bucket(
            f"{name}-bucket",
            bucket=args.bucket_name,
            object_lock_enabled=True,
            tags=self._tags,
            opts=self._child(),
        )
        closed = _closed(name, bucket, self._child())
        policy = aws.s3.BucketPolicy(
            f"{name}-policy",
            bucket=bucket.bucket,
            policy=pulumi.Output.all(bucket.arn, key.arn).apply(
                lambda both: json.dumps(registry_policy(both[0], both[1], args.copier))
            ),
            opts=self._child(depends_on=closed),
        )
        aws.s3.BucketLogging(
            f"{name}-logging",
            bucket=bucket.bucket,
            target_bucket=logs.bucket,
            target_prefix=f"{args.bucket_name}/",
            opts=self._child(depends_on=[may_log]),
        )
        self.bucket = bucket.bucket
        self.arn = bucket.arn
        self.key_arn = key.arn
        self.ready = [self._encryption(bucket, key), policy, *closed, *self._retention(bucket)]
        self.register_outputs({"bucket": self.bucket, "arn": self.arn, "key_arn": self.key_arn})

    def _encryption(self, bucket: aws.s3.Bucket, key: aws.kms.Key) -> pulumi.Resource:
        by_default: Any = {"sse_algorithm": "aws:kms", "kms_master_key_id": key.arn}
        return aws.s3.BucketServerSideEncryptionConfiguration(
            f"{self._name}-encryption",
            bucket=bucket.bucket,
            rules=[{"apply_server_side_encryption_by_default": by_default, "bucket_key_enabled": True}],
            opts=self._child(),
        )

    def _retention(self, bucket: aws.s3.Bucket) -> list[pulumi.Resource]:
        """Keeps every version of an object for the rollback window; returns what has to be there before an upload."""
        days = self._args.rollback_window_days
        versioning = _versioning(f"{self._name}-versioning", bucket, self._child())
        after = self._child(depends_on=[versioning])
        lock = aws.s3.BucketObjectLockConfiguration(
            f"{self._name}-lock",
            bucket=bucket.bucket,
            rule={"default_retention": {"mode": "GOVERNANCE", "days": days}},
            opts=after,
        )
        aws.s3.BucketLifecycleConfiguration(
            f"{self._name}-lifecycle",
            bucket=bucket.bucket,
            # Nothing that is current ever expires: a rollback goes back to objects of any age.
            rules=[
                {
                    "id": "replaced-objects",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "noncurrent_version_expiration": {"noncurrent_days": 2 * days},
                },
                _unfinished_uploads(),
            ],
            opts=after,
        )
        return [versioning, lock]

    def _key(self) -> aws.kms.Key:
        args = self._args
        policy = pulumi.Output.all(args.account_id, args.partition).apply(
            lambda both: json.dumps(account_key_policy(both[0], both[1], _copier_uses_the_key(args.copier)))
        )
        key = aws.kms.Key(
            f"{self._name}-key",
            description=f"model registry {args.bucket_name}",
            enable_key_rotation=True,
            deletion_window_in_days=30,
            policy=policy,
            tags=self._tags,
            opts=self._child(),
        )
        aws.kms.Alias(
            f"{self._name}-key-alias", name=f"alias/{args.bucket_name}", target_key_id=key.key_id, opts=self._child()
        )
        return key

    def _log_bucket(self) -> tuple[aws.s3.Bucket, aws.s3.BucketPolicy]:
        """Server access logs go to buckets with the storage's own encryption only."""
        name, args = f"{self._name}-logs", self._args
        logs = aws.s3.Bucket(f"{name}-bucket", bucket=f"{args.bucket_name}-logs", tags=self._tags, opts=self._child())
        versioning = _versioning(f"{name}-versioning", logs, self._child())
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=logs.bucket,
            rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}],
            opts=self._child(),
        )
        may_log = aws.s3.BucketPolicy(
            f"{name}-policy",
            bucket=logs.bucket,
            policy=pulumi.Output.all(
                log_bucket_arn=logs.arn, account_id=args.account_id, partition=args.partition
            ).apply(lambda known: json.dumps(_log_policy(**known, bucket_name=args.bucket_name))),
            opts=self._child(depends_on=_closed(name, logs, self._child())),
        )
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=logs.bucket,
            rules=[
                {
                    "id": "old-logs",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "expiration": {"days": args.log_retention_days},
                    "noncurrent_version_expiration": {"noncurrent_days": _NONCURRENT_LOG_DAYS},
                },
                _unfinished_uploads(),
            ],
            opts=self._child(depends_on=[versioning]),
        )
        return logs, may_log

    def _child(self, depends_on: list[pulumi.Resource] | None = None) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=depends_on or [])


def _copier_uses_the_key(copier: str) -> tuple[dict[str, Any], ...]:
    if not copier:
        return ()
    actions = ["kms:Decrypt", "kms:GenerateDataKey"]
    return ({"Sid": "CopierUsesTheKey", "Effect": "Allow", **of_role(copier), "Action": actions, "Resource": "*"},)


def _log_policy(log_bucket_arn: str, account_id: str, partition: str, bucket_name: str) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            only_tls(log_bucket_arn),
            {
                "Sid": "AccessLogsOfTheRegistry",
                "Effect": "Allow",
                "Principal": {"Service": "logging.s3.amazonaws.com"},
                "Action": "s3:PutObject",
                "Resource": f"{log_bucket_arn}/{bucket_name}/*",
                "Condition": {
                    "ArnLike": {"aws:SourceArn": f"arn:{partition}:s3:::{bucket_name}"},
                    "StringEquals": {"aws:SourceAccount": account_id},
                },
            },
        ],
    }


def _versioning(name: str, bucket: aws.s3.Bucket, opts: pulumi.ResourceOptions) -> aws.s3.BucketVersioning:
    return aws.s3.BucketVersioning(
        name, bucket=bucket.bucket, versioning_configuration={"status": "Enabled"}, opts=opts
    )


def _closed(name: str, bucket: aws.s3.Bucket, opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
    """Blocks public access and ACLs."""
    block = aws.s3.BucketPublicAccessBlock(
        f"{name}-private",
        bucket=bucket.bucket,
        block_public_acls=True,
        block_public_policy=True,
        ignore_public_acls=True,
        restrict_public_buckets=True,
        opts=opts,
    )
    owner = aws.s3.BucketOwnershipControls(
        f"{name}-owner", bucket=bucket.bucket, rule={"object_ownership": "BucketOwnerEnforced"}, opts=opts
    )
    return [block, owner]


def _unfinished_uploads() -> aws.s3.BucketLifecycleConfigurationRuleArgs:
    return aws.s3.BucketLifecycleConfigurationRuleArgs(
        id="unfinished-uploads",
        status="Enabled",
        filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
        abort_incomplete_multipart_upload=aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
            days_after_initiation=7
        ),
    )
