"""IAM policies of an endpoint's pods: their rights in the account, and the trust policy of their role."""

from typing import Any

from conventions.artifact_files import SERVED_FILES, override_key

TOKEN_AUDIENCE = "sts.amazonaws.com"  # noqa: S105 - an audience, no secret
"""Audience of the tokens that pods exchange for their role."""


def pod_trust_policy(oidc_provider_arn: str, subject: str) -> dict[str, Any]:
    """The trust policy of the pods' role: this service account of this cluster, with a token for this purpose."""
    issuer = oidc_provider_arn.split(":oidc-provider/", 1)[1]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Federated": oidc_provider_arn},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {"StringEquals": {f"{issuer}:sub": subject, f"{issuer}:aud": TOKEN_AUDIENCE}},
            }
        ],
    }


def pod_policy(
    model_uri: str,
    bucket_arn: str,
    key_arn: str,
    partition: str,
    region: str,
    metrics_namespace: str,
    deployment_name: str,
    decision_log: str = "",
    decision_log_kms_key: str = "",
) -> dict[str, Any]:
    """The rights of the pods: read one model version and the override, decrypt with one key, publish their metrics."""
    _, _, path = model_uri.removeprefix("s3://").partition("/")
    model = f"{bucket_arn}/{path}"
    statements: list[dict[str, Any]] = [
        {
            "Sid": "ReadOneModelVersion",
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": [
                *(f"{model}/{name}" for name in SERVED_FILES),
                f"{bucket_arn}/{override_key(deployment_name)}",
            ],
            "Condition": {"Bool": {"aws:SecureTransport": "true"}},
        },
        {
            "Sid": "DecryptWithOneKey",
            "Effect": "Allow",
            "Action": "kms:Decrypt",
            "Resource": key_arn,
            "Condition": {"StringEquals": {"kms:ViaService": f"s3.{region}.{_domain(partition)}"}},
        },
    ]
    if metrics_namespace:
        statements.append(
            {
                "Sid": "PublishMetrics",
                "Effect": "Allow",
                "Action": "cloudwatch:PutMetricData",
                # PutMetricData supports no resource ARNs; a condition on the namespace limits it.
                "Resource": "*",
                "Condition": {"StringEquals": {"cloudwatch:namespace": metrics_namespace}},
            }
        )
    if decision_log:
        via = f"s3.{region}.{_domain(partition)}"
        statements += _log_statements(decision_log.removeprefix("s3://"), decision_log_kms_key, partition, via)
    return {"Version": "2012-10-17", "Statement": statements}


def _log_statements(path: str, kms_key: str, partition: str, via: str) -> list[dict[str, Any]]:
    """Adds to the decision log, and reads the keys of features; reads no decision, and removes nothing."""
    log = f"arn:{partition}:s3:::{path}"
    tls = {"Condition": {"Bool": {"aws:SecureTransport": "true"}}}
    parts = [f"{log}/day=*", f"{log}/feedback/*", f"{log}/keys/*"]
    found: list[dict[str, Any]] = [
        {"Sid": "AddDecisions", "Effect": "Allow", "Action": "s3:PutObject", "Resource": parts, **tls},
        {
            "Sid": "ReadKeysOfFeatures",
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": f"{log}/keys/*",
            **tls,
        },
    ]
    if kms_key:
        found.append(
            {
                "Sid": "UseTheLogsKey",
                "Effect": "Allow",
                "Action": ["kms:GenerateDataKey", "kms:Decrypt"],
                "Resource": kms_key,
                "Condition": {"StringEquals": {"kms:ViaService": via}},
            }
        )
    return found


def _domain(partition: str) -> str:
    return "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
