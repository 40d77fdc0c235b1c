"""RegistryRoles: IAM roles reader, publisher, promoter and admin for a registry bucket."""

import json
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from components.iam_roles import RoleRules
from components.registry_rights import ROLES, role_policy, trust_policy


@dataclass(frozen=True)
class RegistryRolesArgs:
    """Arguments of RegistryRoles: the bucket and key that the roles are for."""

    bucket_arn: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    account_id: pulumi.Input[str]
    role_prefix: str
    """Prefix of the role names: `<name>-reader` and so on."""
    partition: pulumi.Input[str] = "aws"
    rules: RoleRules = field(default_factory=RoleRules)
    """Path and permissions boundary; the names begin with the bucket's, which is unique already."""
    tags: tuple[tuple[str, str], ...] = ()


class RegistryRoles(pulumi.ComponentResource):
    """Four IAM roles that mirror the library's roles.

    Guarantees: no role may do anything outside the registry's bucket and key; a reader writes nothing; none may remove
    or replace what the audit log holds; states are changed by promoter and admin; only admin may delete.
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
        **args.rules.arguments(),
        opts=opts,
    )
    policy = pulumi.Output.all(bucket_arn=args.bucket_arn, key_arn=args.key_arn).apply(
        lambda known: json.dumps(role_policy(role, **known))
    )
    aws.iam.RolePolicy(f"{name}-{role}-policy", name="registry", role=made.name, policy=policy, opts=opts)
    return made.arn
