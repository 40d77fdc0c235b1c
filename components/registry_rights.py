"""Who may do what in a registry's bucket: the policy of the bucket, and those of the four roles."""

from typing import Any

from conventions.artifact_files import ACCESS_FILE, EVIDENCE_DIRECTORY, KEPT_FILES, MANIFEST_FILE, OVERRIDES, STATE_FILE

ROLES = ("reader", "publisher", "promoter", "admin")
ROLE_TAG = "fraud-detection-registry"
"""A principal of the account assumes the role that its tag of this name has as a value."""
_INDEX = ".index"
"""The cache of the list of versions: who decides about versions writes it."""
_WRITES: dict[str, tuple[str, ...]] = {
    "reader": (),
    # Each file by its name: a state is a promoter's. `.versions` holds the claims of numbers and ids.
    "publisher": (*(f"models/*/{name}" for name in KEPT_FILES), "models/*/.versions/*"),
    "promoter": (f"models/*/{STATE_FILE}", f"models/*/{EVIDENCE_DIRECTORY}/*", "aliases/*", f"{OVERRIDES}/*", _INDEX),
    "admin": ("models/*", "aliases/*", f"{OVERRIDES}/*", ACCESS_FILE, _INDEX),
}
"""What each role may write beside the audit log; a role with nothing here writes nothing at all."""


def registry_policy(bucket_arn: str, key_arn: str, copier: str = "") -> dict[str, Any]:
    """Denies everybody, whatever their own policies allow, what no registry needs.

    Args:
        bucket_arn: of the bucket.
        key_arn: of its key.
        copier: ARN of a role of another account that adds to a backup; empty: none.

    Denied is what is not TLS, a put that does not name the registry's key, a put over a manifest or an audit record,
    and the removal of an audit record. A put that names no key is denied too: S3 would take the account's own key
    for a put that names `aws:kms` alone.
    """
    everybody = {"Effect": "Deny", "Principal": "*"}
    put = {**everybody, "Action": "s3:PutObject", "Resource": f"{bucket_arn}/*"}
    records = f"{bucket_arn}/audit/*/*.json"
    return {
        "Version": "2012-10-17",
        "Statement": [
            only_tls(bucket_arn),
            # An operator that negates is met by a missing key, too.
            {
                "Sid": "OnlyKmsEncryption",
                **put,
                "Condition": {"StringNotEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}},
            },
            {
                "Sid": "OnlyTheRegistrysKey",
                **put,
                "Condition": {"StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": key_arn}},
            },
            {
                "Sid": "CreatedOnce",
                **put,
                "Resource": [records, f"{bucket_arn}/models/*/{MANIFEST_FILE}"],
                # A put with `If-None-Match` makes an object only where there is none.
                "Condition": {"Null": {"s3:if-none-match": "true"}},
            },
            {
                "Sid": "AuditRecordsStay",
                **everybody,
                "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
                "Resource": records,
            },
            *(_copier_may(bucket_arn, copier) if copier else ()),
        ],
    }


def _copier_may(bucket_arn: str, copier: str) -> list[dict[str, Any]]:
    """What a role of another account may do, as its own policy says it too: look, read and add."""
    granted = {"Effect": "Allow", **of_role(copier)}
    return [
        {
            **granted,
            "Sid": "CopierLooks",
            "Action": ["s3:ListBucket", "s3:GetEncryptionConfiguration"],
            "Resource": bucket_arn,
        },
        {
            **granted,
            "Sid": "CopierAdds",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
            "Resource": f"{bucket_arn}/*",
        },
    ]


def of_role(arn: str) -> dict[str, Any]:
    """Principal and condition that name a role of another account, which need not exist yet."""
    account = ":".join([*arn.split(":")[:5], "root"])
    return {"Principal": {"AWS": account}, "Condition": {"ArnEquals": {"aws:PrincipalArn": arn}}}


def only_tls(bucket_arn: str) -> dict[str, Any]:
    """The statement that denies whatever is not TLS."""
    return {
        "Sid": "OnlyTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [bucket_arn, f"{bucket_arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


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

    A reader reads, and writes nothing. The others also append to the audit log. A publisher adds model versions
    without their states, a promoter changes statuses, aliases and overrides and adds evidence, an admin does all of it,
    deletes, and writes the access policy.
    """
    statements: list[dict[str, Any]] = [
        {
            "Sid": "Look",
            "Effect": "Allow",
            "Action": [
                "s3:ListBucket",
                "s3:ListBucketVersions",
                "s3:GetBucketVersioning",
                "s3:GetEncryptionConfiguration",
            ],
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
            "Sid": "UseTheKey",
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:GenerateDataKey"] if _WRITES[role] else ["kms:Decrypt"],
            "Resource": key_arn,
        },
    ]
    if _WRITES[role]:
        statements.append(
            {
                "Sid": "Write",
                "Effect": "Allow",
                "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
                "Resource": [f"{bucket_arn}/{pattern}" for pattern in ("audit/*", *_WRITES[role])],
            }
        )
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
