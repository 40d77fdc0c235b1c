"""Evaluates the Deny statements of bucket policies, with their conditions, as S3 does before anything else."""

import fnmatch
import json
from collections.abc import Mapping
from typing import Any

_ACTIONS = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject", "DELETE": "s3:DeleteObject"}


def denied(policy: bytes | None, method: str, bucket: str, key: str, context: Mapping[str, str]) -> str:
    """The Sid of the statement that denies a request; empty when none does.

    Args:
        policy: the bucket's policy, JSON.
        method: of the HTTP request.
        bucket: the bucket's name.
        key: the object's key; empty for a request about the bucket.
        context: the condition keys of the request, such as `aws:SecureTransport`.

    Raises:
        ValueError: the policy has a condition that this sandbox does not support.
    """
    if not policy:
        return ""
    action = _ACTIONS.get(method, "s3:PutObject") if key else "s3:ListBucket"
    resource = f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}"
    for statement in json.loads(policy)["Statement"]:
        if (
            statement["Effect"] == "Deny"
            and any(fnmatch.fnmatchcase(action, pattern) for pattern in _list(statement["Action"]))
            and any(fnmatch.fnmatchcase(resource, pattern) for pattern in _list(statement["Resource"]))
            and _conditions_met(statement.get("Condition", {}), context)
        ):
            return str(statement.get("Sid") or "a statement without a Sid")
    return ""


def _conditions_met(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    return all(
        _met(operator, wanted, context.get(name))
        for operator, pairs in conditions.items()
        for name, wanted in pairs.items()
    )


def _met(operator: str, wanted: Any, present: str | None) -> bool:
    values = [str(value) for value in _list(wanted)]
    if operator in ("Bool", "StringEquals"):
        return present in values
    if operator == "StringNotEquals":
        return present not in values
    if operator == "Null":
        return ("true" if present is None else "false") in values
    raise ValueError(f"the sandbox does not know the condition operator {operator}")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
