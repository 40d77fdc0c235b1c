"""RegistryRoles: IAM roles reader, publisher, promoter and admin for a registry bucket."""

import json
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from conventions.artifact_files import ACCESS_FILE, EVIDENCE_DIRECTORY, STATE_FILE

ROLES = ("reader", "publisher", "promoter", "admin")
ROLE_TAG = "fraud-detection-registry"
"""A principal of the account assumes the role that its tag of this name has as a value."""


@dataclass(frozen=True)
class RegistryRolesArgs:
    """Arguments of RegistryRoles: the bucket and key that the roles are for."""

    bucket_arn: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    account_id: pulumi.Input[str]
    role_prefix: str
    """Prefix of the role names: `<name>-reader` and so on."""
    partition: pulumi.Input[str] = "aws"
    tags: tuple[tuple[str, str], ...] = ()


class RegistryRoles(pulumi.ComponentResource):
    """Four IAM roles that mirror the library's roles.

    Guarantees: no role may do anything outside the registry's bucket and key; none may remove or replace what the audit
    log holds; only admin may delete.
    """

    arns: dict[str, pulumi.Output[str]]

    def __init__(self, name: str, args: RegistryRolesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("fraud-detection:registry_roles:RegistryRoles", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.arns = {}
        for role in ROLES:
            self.arns[role] = _role(name, role, args, child)
        self.register_outputs({"arns": self.arns})


def _role(name: str, role: str, args: RegistryRolesArgs, opts: pulumi.ResourceOptions) -> pulumi.Output[str]:
    trust = pulumi.Output.all(account_id=args.account_id, partition=args.partition).apply(
        lambda known: json.dumps(trust_policy(role, **known))
    )
    made = aws.iam.Role(
        f"{name}-{role}",
        name=f"{args.role_prefix}-{role}",
        description=f"{role} of the model registry",
        assume_role_policy=trust,
        max_session_duration=3600,
        tags=dict(args.tags),
        opts=opts,
    )
    policy = pulumi.Output.all(bucket_arn=args.bucket_arn, key_arn=args.key_arn).apply(
        lambda known: json.dumps(role_policy(role, **known))
    )
    aws.iam.RolePolicy(f"{name}-{role}-policy", name="registry", role=made.name, policy=policy, opts=opts)
    return made.arn


def trust_policy(role: str, account_id: str, partition: str) -> dict[str, Any]:
    """The trust policy of a role: principals of the account that carry the role's tag."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:{partition}:iam::{account_id}:root"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {f"aws:PrincipalTag/{ROLE_TAG}": role}},
            }
        ],
    }


def role_policy(role: str, bucket_arn: str, key_arn: str) -> dict[str, Any]:
    """What a role may do.

    Everybody reads, and appends to the audit log: the caller records what the library refused and what it
    allowed. A publisher adds model versions, a promoter changes statuses and aliases and adds evidence, an admin
    deletes too and writes the access policy.
    """
    writes = {
        "reader": [],
        "publisher": ["models/*"],
        "promoter": [f"models/*/{STATE_FILE}", f"models/*/{EVIDENCE_DIRECTORY}/*", "aliases/*"],
        "admin": ["models/*", "aliases/*", ACCESS_FILE],
    }[role]
    statements = [
        {
            "Sid": "Look",
            "Effect": "Allow",
            "Action": ["s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketVersioning"],
            "Resource": bucket_arn,
            "Condition": {"Bool": {"aws:SecureTransport": "true"}},
        },
        {
            "Sid": "Read",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:GetObjectVersion"],
            "Resource": f"{bucket_arn}/*",
        },
        {
            "Sid": "Write",
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
            "Resource": [f"{bucket_arn}/{prefix}" for prefix in ["audit/*", *writes]],
        },
        {
            "Sid": "UseTheKey",
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
            "Resource": key_arn,
        },
    ]
    if role == "admin":
        statements.append(
            {
                "Sid": "Delete",
                "Effect": "Allow",
                "Action": "s3:DeleteObject",
                "Resource": [f"{bucket_arn}/models/*", f"{bucket_arn}/aliases/*"],
            }
        )
    return {"Version": "2012-10-17", "Statement": statements}
