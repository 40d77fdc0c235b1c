"""The policy that every key of a stack begins with."""

from typing import Any


def account_key_policy(account_id: str, partition: str, further: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """Gives the account the key, so that its IAM policies decide who uses it; nobody outside the account does.

    Args:
        account_id: twelve digits.
        partition: `aws`, `aws-cn` or `aws-us-gov`.
        further: statements for services that use the key by themselves.
    """
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "AccountDecidesByItsPolicies",
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:{partition}:iam::{account_id}:root"},
                "Action": "kms:*",
                "Resource": "*",
                "Condition": {"StringEquals": {"kms:CallerAccount": account_id}},
            },
            *further,
        ],
    }
