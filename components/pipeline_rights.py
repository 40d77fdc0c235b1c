"""Who may do what in CI: one policy for each environment of the workflows, and the trust that binds it to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.registry_rights import role_policy
from conventions.artifact_files import SIGNATURE_FILE

RELEASE_ROLES = ("registry", "signing", "approval")
"""Roles of the jobs that bring a version into the registry; the stack makes them that owns the registry."""
STACK_ROLES = ("preview", "deploy")
"""Roles of the jobs that look at a stack, and that change it."""
_GITHUB = "token.actions.githubusercontent.com"
_AUDIENCE = "sts.amazonaws.com"
_READ_OF_S3 = (
    "s3:GetBucket*",
    "s3:GetEncryptionConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:GetAccelerateConfiguration",
    "s3:GetReplicationConfiguration",
    "s3:ListBucket",
    "s3:ListBucketVersions",
    "s3:GetObjectTagging",
    "s3:GetObjectRetention",
    "s3:GetObjectLegalHold",
)
_DESCRIBE = (
    "cloudwatch:Describe*",
    "cloudwatch:GetDashboard",
    "cloudwatch:GetMetricData",
    "cloudwatch:ListMetrics",
    "cloudwatch:ListTagsForResource",
    "ecr:DescribeRepositories",
    "ecr:GetLifecyclePolicy",
    "ecr:GetRepositoryPolicy",
    "ecr:ListTagsForResource",
    "eks:DescribeCluster",
    "iam:GetRole",
    "iam:GetRolePolicy",
    "iam:ListAttachedRolePolicies",
    "iam:ListInstanceProfilesForRole",
    "iam:ListRolePolicies",
    "kms:DescribeKey",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListAliases",
    "kms:ListResourceTags",
    "lambda:GetPolicy",
    "logs:DescribeLogGroups",
    "logs:ListTagsForResource",
    "sns:GetSubscriptionAttributes",
    "sns:GetTopicAttributes",
    "sns:ListTagsForResource",
    "sqs:GetQueueAttributes",
)
"""Settings of resources, none of which is a secret."""


@dataclass(frozen=True)
class PipelineScope:
    """What the roles of one stack's pipelines may reach."""

    project: str
    """Pulumi's name of the project, which the paths of the state have."""
    stack: str
    deployment_name: str
    region: str
    account_id: str
    partition: str
    registry_arn: str
    """Of the bucket that MODEL_REGISTRY_URL names."""
    registry_key_arn: str
    bucket_arn: str
    """Of the stack's own registry bucket; the same as `registry_arn` where the stack owns the registry."""
    bucket_key_arn: str
    inbox_bucket: str
    state_bucket: str
    state_key_arn: str
    permissions_boundary: str
    image_repository: str = ""
    """ECR repository that images are pushed to; empty: none."""
    backup_role: str = ""
    """Role of another account that the stack's backup bucket is made with; empty: none."""
    role_path: str = "/"
    name_suffix: str = ""


def pipeline_policy(role: str, scope: PipelineScope) -> dict[str, Any]:
    """The policy of a role of CI.

    Args:
        role: one of `RELEASE_ROLES` and `STACK_ROLES`.
        scope: what it may reach.

    `registry` reads the inbox, registers and validates. `signing` adds signatures. `approval` records approvals.
    `preview` reads, and writes nothing. `deploy` changes what a deployment changes: the pods' roles within the
    boundary, versions, alarms, state. Admins of the account change buckets, keys, and the roles of registry and CI.
    """
    statements = {
        "registry": lambda: [*_of("publisher", scope), *_of("promoter", scope), *_inbox(scope)],
        "signing": lambda: _signing(scope),
        "approval": lambda: _of("promoter", scope),
        "preview": lambda: [*_reads(scope), *_state(scope, writes=False)],
        "deploy": lambda: [*_deploys(scope), *_reads(scope), *_state(scope, writes=True)],
    }[role]()
    return {"Version": "2012-10-17", "Statement": _distinct(statements)}


def pipeline_trust(oidc_provider_arn: str, subjects: Sequence[str]) -> dict[str, Any]:
    """The trust policy of a role of CI: id tokens of these subjects, made for AWS.

    Args:
        oidc_provider_arn: of the hosting site.
        subjects: as the tokens have them.
    """
    issuer = oidc_provider_arn.split(":oidc-provider/", 1)[1]
    condition = {"StringEquals": {f"{issuer}:aud": _AUDIENCE}, "StringLike": {f"{issuer}:sub": list(subjects)}}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Federated": oidc_provider_arn},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": condition,
            }
        ],
    }


def pipeline_subjects(role: str, environment: str, oidc_provider_arn: str, repository: str, branch: str) -> list[str]:
    """The subjects of the id tokens of the jobs that take a role.

    GitHub's tokens name the environment of the job, whose rules say which refs may use it. GitLab's name the ref alone:
    a release's jobs run on a protected tag `model-v*`, scheduled ones on the protected default branch.
    """
    if oidc_provider_arn.endswith(f"/{_GITHUB}"):
        return [f"repo:{repository}:environment:{environment if role == 'deploy' else role}"]
    tag = f"project_path:{repository}:ref_type:tag:ref:model-v*"
    of_the_branch = f"project_path:{repository}:ref_type:branch:ref:{branch}"
    return {"preview": [of_the_branch], "deploy": [tag, of_the_branch]}.get(role, [tag])


def _of(registry_role: str, scope: PipelineScope) -> list[dict[str, Any]]:
    return list(role_policy(registry_role, scope.registry_arn, scope.registry_key_arn)["Statement"])


def _signing(scope: PipelineScope) -> list[dict[str, Any]]:
    bucket = scope.registry_arn
    reader = role_policy("reader", bucket, scope.registry_key_arn)["Statement"]
    resources = [f"{bucket}/models/*/{SIGNATURE_FILE}", f"{bucket}/audit/*"]
    return [*reader, _allow("AddSignatures", ["s3:PutObject"], resources), _use(scope.registry_key_arn, "ToWrite")]


def _inbox(scope: PipelineScope) -> list[dict[str, Any]]:
    if not scope.inbox_bucket:
        return []
    arn = f"arn:{scope.partition}:s3:::{scope.inbox_bucket}"
    return [_allow("ReadTheInbox", ["s3:GetObject", "s3:ListBucket"], [arn, f"{arn}/*"])]


def _reads(scope: PipelineScope) -> list[dict[str, Any]]:
    buckets = sorted({scope.registry_arn, scope.bucket_arn})
    logs_and_backup = [f"{scope.bucket_arn}-*"]
    keys = sorted({scope.registry_key_arn, scope.bucket_key_arn})
    return [
        _allow("LookAtBuckets", list(_READ_OF_S3), [*buckets, *logs_and_backup, *(f"{each}/*" for each in buckets)]),
        _allow("ReadVersions", ["s3:GetObject", "s3:GetObjectVersion"], [f"{each}/*" for each in buckets]),
        _allow("DecryptVersions", ["kms:Decrypt"], keys),
        _allow("LookAtSettings", list(_DESCRIBE), ["*"]),
        *([_allow("TakeTheBackupsRole", ["sts:AssumeRole"], [scope.backup_role])] if scope.backup_role else ()),
    ]


def _state(scope: PipelineScope, *, writes: bool) -> list[dict[str, Any]]:
    if not scope.state_bucket:
        return []
    bucket = f"arn:{scope.partition}:s3:::{scope.state_bucket}"
    own = f"{scope.project}/{scope.stack}"
    files = [f"{bucket}/.pulumi/{kind}/{own}{end}" for kind in ("stacks", "history", "backups") for end in ("/*", ".*")]
    files.append(f"{bucket}/.pulumi/locks/organization/{own}/*")
    found = [
        _allow("ListTheState", ["s3:ListBucket", "s3:GetBucketLocation"], [bucket]),
        # A preview of either stack has this role: of the state it reads the whole project's.
        _allow("ReadTheState", ["s3:GetObject"], [f"{bucket}/.pulumi/*"]),
        _allow("DecryptSecretsOfTheState", ["kms:Decrypt"], [scope.state_key_arn]),
    ]
    if writes:
        found.append(_allow("WriteTheStacksState", ["s3:PutObject", "s3:DeleteObject"], files))
        found.append(_allow("EncryptSecretsOfTheState", ["kms:Encrypt", "kms:GenerateDataKey"], [scope.state_key_arn]))
    return found


def _deploys(scope: PipelineScope) -> list[dict[str, Any]]:
    """What one deployment changes. Both buckets: the version is promoted, and its state is written in each."""
    written = [
        statement
        for bucket, key in (
            (scope.registry_arn, scope.registry_key_arn),
            (scope.bucket_arn, scope.bucket_key_arn),
        )
        for role in ("publisher", "promoter")
        for statement in role_policy(role, bucket, key)["Statement"]
    ]
    name, account, partition = scope.deployment_name, scope.account_id, scope.partition
    here = f"{scope.region}:{account}"
    pods = [
        f"arn:{partition}:iam::{account}:role{scope.role_path}{name}{slot}-serving{scope.name_suffix}"
        for slot in ("", "-green")
    ]
    limited = {"StringEquals": {"iam:PermissionsBoundary": scope.permissions_boundary}}
    return [
        *written,
        # A role's rights end at the boundary, whatever a deployment writes into its policy.
        {**_allow("ChangePodsRoles", ["iam:CreateRole", "iam:PutRolePolicy"], pods), "Condition": limited},
        _allow("RemovePodsRoles", ["iam:DeleteRole", "iam:DeleteRolePolicy", "iam:TagRole"], pods),
        _allow(
            "ChangeAlarms",
            ["cloudwatch:PutMetricAlarm", "cloudwatch:PutCompositeAlarm", "cloudwatch:DeleteAlarms"],
            [f"arn:{partition}:cloudwatch:{here}:alarm:{name}-*"],
        ),
        _allow(
            "ChangeTheDashboard",
            ["cloudwatch:PutDashboard"],
            [f"arn:{partition}:cloudwatch::{account}:dashboard/{name}{scope.name_suffix}"],
        ),
        *(_pushes(f"arn:{partition}:ecr:{here}:repository/{scope.image_repository}") if scope.image_repository else ()),
    ]


def _pushes(repository_arn: str) -> list[dict[str, Any]]:
    layers = ["ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload"]
    push = [
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:GetDownloadUrlForLayer",
        *layers,
        "ecr:PutImage",
    ]
    return [_allow("SignInToPush", ["ecr:GetAuthorizationToken"], ["*"]), _allow("PushImages", push, [repository_arn])]


def _use(key_arn: str, whose: str) -> dict[str, Any]:
    return _allow(f"UseTheKey{whose}", ["kms:Decrypt", "kms:GenerateDataKey"], [key_arn])


def _allow(sid: str, actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}


def _distinct(statements: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each statement once, with a Sid of its own: two roles of the registry have some in common."""
    found: list[dict[str, Any]] = []
    for statement in statements:
        if {**statement, "Sid": ""} not in [{**each, "Sid": ""} for each in found]:
            found.append(statement)
    return [{**each, "Sid": f"{each['Sid']}{number}"} for number, each in enumerate(found)]
