"""PipelineRoles: IAM roles for the environments of CI, each with the rights of its jobs and no others."""

import json
from dataclasses import dataclass, field, replace

import pulumi
import pulumi_aws as aws

from components.iam_roles import RoleRules
from components.pipeline_rights import (
    RELEASE_ROLES,
    STACK_ROLES,
    PipelineScope,
    pipeline_policy,
    pipeline_subjects,
    pipeline_trust,
)


@dataclass(frozen=True)
class PipelineRolesArgs:
    """Arguments of PipelineRoles: who takes the roles, and what they may reach."""

    scope: PipelineScope
    """Its ARNs of bucket and keys are empty where the stack makes them."""
    environment: str
    """Name of the environment whose jobs deploy."""
    oidc_provider_arn: str
    """The hosting site's identity provider in IAM."""
    repository: str
    """`OWNER/NAME`, or GitLab's path of the project."""
    branch: str
    """The default branch."""
    bucket_arn: pulumi.Input[str]
    """Of the stack's own registry bucket."""
    bucket_key_arn: pulumi.Input[str]
    owns_registry: bool
    """Whether MODEL_REGISTRY_URL names the stack's own bucket: then the stack makes the roles of a release, too."""
    rules: RoleRules = field(default_factory=RoleRules)


class PipelineRoles(pulumi.ComponentResource):
    """One role for each environment of CI.

    Guarantees: a role is taken by id tokens of its own jobs alone; `preview` writes nothing; no role changes a bucket,
    a key, a role of the registry or one of CI, and what `deploy` gives the pods' roles ends at the boundary.
    """

    arns: dict[str, pulumi.Output[str]]

    def __init__(self, name: str, args: PipelineRolesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("fraud-detection:pipeline_roles:PipelineRoles", name, {}, opts)
        roles = (*(RELEASE_ROLES if args.owns_registry else ()), *STACK_ROLES)
        self.arns = {role: self._role(name, role, args) for role in roles}
        self.register_outputs({"arns": self.arns})

    def _role(self, name: str, role: str, args: PipelineRolesArgs) -> pulumi.Output[str]:
        subjects = pipeline_subjects(role, args.environment, args.oidc_provider_arn, args.repository, args.branch)
        child = pulumi.ResourceOptions(parent=self)
        made = aws.iam.Role(
            f"{name}-{role}",
            name=args.rules.named(pipeline_role_name(args.scope.deployment_name, role)),
            description=f"CI of {args.scope.deployment_name}: {role}",
            assume_role_policy=json.dumps(pipeline_trust(args.oidc_provider_arn, subjects)),
            max_session_duration=7200,
            **args.rules.arguments(),
            opts=child,
        )
        policy = pulumi.Output.all(bucket=args.bucket_arn, key=args.bucket_key_arn).apply(
            lambda known: json.dumps(pipeline_policy(role, _with_bucket(args, known["bucket"], known["key"])))
        )
        aws.iam.RolePolicy(f"{name}-{role}-policy", name="pipeline", role=made.name, policy=policy, opts=child)
        return made.arn


def pipeline_role_name(deployment_name: str, role: str) -> str:
    """The name of a role of CI, without the suffix of the region."""
    return f"{deployment_name}-ci-{role}"


def _with_bucket(args: PipelineRolesArgs, bucket: str, key: str) -> PipelineScope:
    scope = replace(args.scope, bucket_arn=bucket, bucket_key_arn=key)
    return replace(scope, registry_arn=bucket, registry_key_arn=key) if args.owns_registry else scope
