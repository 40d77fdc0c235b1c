#!/usr/bin/env python3
"""Writes docs/reference/roles.md: what each role of a stack may do, as a policy simulator answers it.

python -m tests.scanners.roles
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from components.account_key import account_key_policy
from components.pipeline_rights import RELEASE_ROLES, STACK_ROLES, PipelineScope, pipeline_policy
from components.pod_rights import pod_policy
from components.registry_backup import backup_policy
from components.registry_rights import ROLES, registry_policy, role_policy
from tests.sandbox.simulator import installed, simulate

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "roles.md"
_ACCOUNT, _REGION = "123456789012", "eu-central-1"
_BUCKET, _BACKUP = "arn:aws:s3:::registry", "arn:aws:s3:::registry-backup"
_STATE, _INBOX = "arn:aws:s3:::state", "arn:aws:s3:::inbox"
_LOG = "arn:aws:s3:::decisions/prod"
_KEY, _STATE_KEY, _OTHER_KEY, _BACKUP_KEY, _LOG_KEY = (
    f"arn:aws:kms:{_REGION}:{_ACCOUNT}:key/{number:08}-0000-0000-0000-000000000000" for number in range(5)
)
_BOUNDARY = f"arn:aws:iam::{_ACCOUNT}:policy/boundary"
_MODEL = f"{_BUCKET}/models/m/m_T_20260101_000000"
_IAM = f"arn:aws:iam::{_ACCOUNT}:role"
_NAMED = {
    "s3:x-amz-server-side-encryption": "aws:kms",
    "s3:x-amz-server-side-encryption-aws-kms-key-id": _KEY,
}
_NEW = {**_NAMED, "s3:if-none-match": "*"}
_S3 = {"kms:ViaService": f"s3.{_REGION}.amazonaws.com"}
_NO_TLS = {"aws:SecureTransport": "false"}
_LIMITED = {"iam:PermissionsBoundary": _BOUNDARY}
SCOPE = PipelineScope(
    project="fraud-detection",
    stack="production",
    deployment_name="fraud",
    region=_REGION,
    account_id=_ACCOUNT,
    partition="aws",
    registry_arn=_BUCKET,
    registry_key_arn=_KEY,
    bucket_arn=_BUCKET,
    bucket_key_arn=_KEY,
    inbox_bucket="inbox",
    state_bucket="state",
    state_key_arn=_STATE_KEY,
    permissions_boundary=_BOUNDARY,
    image_repository="fraud/serving",
)


class Call(NamedTuple):
    """One row of the table."""

    words: str
    action: str
    resource: str
    context: dict[str, str]


CALLS = (
    Call("read a version's files", "s3:GetObject", f"{_MODEL}/artifact", {}),
    Call("read a version's files without TLS", "s3:GetObject", f"{_MODEL}/artifact", {"aws:SecureTransport": "false"}),
    Call("read another version's files", "s3:GetObject", f"{_BUCKET}/models/m/m_T_20260102_000000/artifact", {}),
    Call("list the registry", "s3:ListBucket", _BUCKET, {}),
    Call("create a manifest", "s3:PutObject", f"{_MODEL}/manifest.json", _NEW),
    Call("put over a manifest", "s3:PutObject", f"{_MODEL}/manifest.json", _NAMED),
    Call("write an artifact", "s3:PutObject", f"{_MODEL}/artifact", _NEW),
    Call(
        "write an artifact with another key",
        "s3:PutObject",
        f"{_MODEL}/artifact",
        {
            **_NEW,
            "s3:x-amz-server-side-encryption-aws-kms-key-id": _OTHER_KEY,
        },
    ),
    Call(
        "write an artifact with `aws:kms` and no key",
        "s3:PutObject",
        f"{_MODEL}/artifact",
        {
            "s3:x-amz-server-side-encryption": "aws:kms",
        },
    ),
    Call("write a signature", "s3:PutObject", f"{_MODEL}/signature.json", _NAMED),
    Call("write a state (validate, approve)", "s3:PutObject", f"{_MODEL}/state.json", _NAMED),
    Call("write evidence", "s3:PutObject", f"{_MODEL}/evidence/report", _NAMED),
    Call("move an alias", "s3:PutObject", f"{_BUCKET}/aliases/m.json", _NAMED),
    Call("read whether the endpoint is paused", "s3:GetObject", f"{_BUCKET}/overrides/fraud-detection-prod.json", {}),
    Call("read whether another is paused", "s3:GetObject", f"{_BUCKET}/overrides/another.json", {}),
    Call("pause the endpoint", "s3:PutObject", f"{_BUCKET}/overrides/fraud-detection-prod.json", _NAMED),
    Call("change the access policy", "s3:PutObject", f"{_BUCKET}/access.json", _NAMED),
    Call("add an audit record", "s3:PutObject", f"{_BUCKET}/audit/000000/000000001.json", _NEW),
    Call("put over an audit record", "s3:PutObject", f"{_BUCKET}/audit/000000/000000001.json", _NAMED),
    Call("remove an audit record", "s3:DeleteObject", f"{_BUCKET}/audit/000000/000000001.json", {}),
    Call("delete a version's file", "s3:DeleteObject", f"{_MODEL}/artifact", {}),
    Call("remove a file's earlier version", "s3:DeleteObjectVersion", f"{_MODEL}/artifact", {}),
    Call("lift a lock", "s3:BypassGovernanceRetention", f"{_MODEL}/artifact", {}),
    Call("change the bucket's policy", "s3:PutBucketPolicy", _BUCKET, {}),
    Call("decrypt through S3", "kms:Decrypt", _KEY, _S3),
    Call("encrypt with the registry's key", "kms:GenerateDataKey", _KEY, _S3),
    Call("change the key's policy", "kms:PutKeyPolicy", _KEY, {}),
    Call("add to the decision log", "s3:PutObject", f"{_LOG}/day=2026-01-02/a.parquet", {}),
    Call("record feedback in the decision log", "s3:PutObject", f"{_LOG}/feedback/day=2026-01-02/a.json", {}),
    Call("add to the decision log without TLS", "s3:PutObject", f"{_LOG}/day=2026-01-02/a.parquet", _NO_TLS),
    Call("read what opens logged features", "s3:GetObject", f"{_LOG}/keys/2026-01-02.json", {}),
    Call("encrypt the decision log", "kms:GenerateDataKey", _LOG_KEY, _S3),
    Call("read logged decisions", "s3:GetObject", f"{_LOG}/day=2026-01-02/a.parquet", {}),
    Call("remove logged decisions", "s3:DeleteObject", f"{_LOG}/day=2026-01-02/a.parquet", {}),
    Call("add beside the decision log", "s3:PutObject", "arn:aws:s3:::decisions/other/a.parquet", {}),
    Call("read a copy in the backup", "s3:GetObject", f"{_BACKUP}/models/m/manifest.json", {}),
    Call(
        "add to the backup",
        "s3:PutObject",
        f"{_BACKUP}/models/m/manifest.json",
        {
            **_NEW,
            "s3:x-amz-server-side-encryption-aws-kms-key-id": _BACKUP_KEY,
        },
    ),
    Call("remove from the backup", "s3:DeleteObject", f"{_BACKUP}/models/m/manifest.json", {}),
    Call("read the inbox", "s3:GetObject", f"{_INBOX}/model-v1/release.yaml", {}),
    Call("write into the inbox", "s3:PutObject", f"{_INBOX}/model-v1/release.yaml", {}),
    Call("read the stack's state", "s3:GetObject", f"{_STATE}/.pulumi/stacks/fraud-detection/production.json", {}),
    Call("write the stack's state", "s3:PutObject", f"{_STATE}/.pulumi/stacks/fraud-detection/production.json", {}),
    Call("write another stack's state", "s3:PutObject", f"{_STATE}/.pulumi/stacks/fraud-detection/staging.json", {}),
    Call("decrypt secrets of the state", "kms:Decrypt", _STATE_KEY, {}),
    Call("encrypt secrets of the state", "kms:Encrypt", _STATE_KEY, {}),
    Call("change the pods' rights within the boundary", "iam:PutRolePolicy", f"{_IAM}/fraud-serving", _LIMITED),
    Call("change the pods' rights without the boundary", "iam:PutRolePolicy", f"{_IAM}/fraud-serving", {}),
    Call("change who takes the pods' role", "iam:UpdateAssumeRolePolicy", f"{_IAM}/fraud-serving", _LIMITED),
    Call("change a role of the registry", "iam:PutRolePolicy", f"{_IAM}/registry-admin", _LIMITED),
    Call("change a role of CI", "iam:PutRolePolicy", f"{_IAM}/fraud-ci-deploy", _LIMITED),
    Call(
        "change an alarm", "cloudwatch:PutMetricAlarm", f"arn:aws:cloudwatch:{_REGION}:{_ACCOUNT}:alarm:fraud-drift", {}
    ),
    Call("change another's alarm", "cloudwatch:PutMetricAlarm", f"arn:aws:cloudwatch:{_REGION}:{_ACCOUNT}:alarm:x", {}),
    Call("publish metrics", "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "FraudDetection"}),
    Call("publish metrics of others", "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "Other"}),
    Call("push an image", "ecr:PutImage", f"arn:aws:ecr:{_REGION}:{_ACCOUNT}:repository/fraud/serving", {}),
)


def policies() -> dict[str, dict[str, Any]]:
    """The policy of each role."""
    found = {role: role_policy(role, _BUCKET, _KEY) for role in ROLES}
    found |= {f"ci-{role}": pipeline_policy(role, SCOPE) for role in (*RELEASE_ROLES, *STACK_ROLES)}
    found["pods"] = pod_policy(
        _MODEL.replace("arn:aws:s3:::", "s3://"),
        _BUCKET,
        _KEY,
        "aws",
        _REGION,
        "FraudDetection",
        "fraud-detection-prod",
        decision_log=_LOG.replace("arn:aws:s3:::", "s3://"),
        decision_log_kms_key=_LOG_KEY,
    )
    found["backup"] = backup_policy(_BUCKET, _KEY, _BACKUP, _BACKUP_KEY, "FraudDetection")
    return found


def answers() -> dict[str, dict[str, bool]]:
    """Whether each role may do each call."""
    asked = [(call, role, policy) for call in CALLS for role, policy in policies().items()]
    results = simulate(installed(), [_simulation(*each) for each in asked])
    found: dict[str, dict[str, bool]] = {call.words: {} for call in CALLS}
    for (call, role, _), result in zip(asked, results, strict=True):
        found[call.words][role] = result == "Allowed"
    return found


def page() -> str:
    """The page's Markdown."""
    found = answers()
    roles = list(policies())
    rows = [
        f"| {words} | {' | '.join('yes' if may[role] else 'no' for role in roles)} |" for words, may in found.items()
    ]
    return "\n".join([_HEAD, f"| call | {' | '.join(roles)} |", f"|---|{'---|' * len(roles)}", *rows, ""])


def _simulation(call: Call, role: str, policy: dict[str, Any]) -> dict[str, Any]:
    known = {"aws:SecureTransport": "true", "aws:PrincipalAccount": _ACCOUNT, **call.context}
    of_key = call.action.startswith("kms:")
    simulation: dict[str, Any] = {
        "request": {
            "principal": f"arn:aws:sts::{_ACCOUNT}:assumed-role/{role}/tests",
            "action": call.action,
            "resource": {"resource": call.resource, "accountId": _ACCOUNT},
            "contextVariables": {**known, **({"kms:CallerAccount": _ACCOUNT} if of_key else {})},
        },
        "identityPolicies": [{"name": "role", "policy": policy}],
        "serviceControlPolicies": [],
        "resourceControlPolicies": [],
    }
    if of_key:
        simulation["resourcePolicy"] = account_key_policy(_ACCOUNT, "aws")
    elif call.resource.startswith(_BACKUP):
        simulation["resourcePolicy"] = registry_policy(_BACKUP, _BACKUP_KEY)
    elif call.resource.startswith(_BUCKET):
        simulation["resourcePolicy"] = registry_policy(_BUCKET, _KEY)
    return simulation


_HEAD = """\
# Roles: allowed and denied calls

Each cell is the answer of a policy simulator to the policies that a stack makes, with those of bucket and key: yes is
allowed, no is denied. `python -m tests.scanners.roles` writes this page; `make test-scanners` compares it.

`reader`, `publisher`, `promoter`, `admin` are the roles of the registry. `ci-…` are the roles of CI's environments
([environments](../environments.md#roles-of-ci)); `ci-deploy` is that of `production`. `pods` serve one version,
`backup` is the scheduled copy.
"""


def main() -> None:
    """Writes the page."""
    argparse.ArgumentParser(
        prog="python -m tests.scanners.roles", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
