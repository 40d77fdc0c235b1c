"""The key policy that every KMS key of a stack starts from."""

from typing import Any


def account_key_policy(account_id: str, partition: str, further: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """Lets the account's IAM policies decide who uses the key; allows no principal of another account.

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
