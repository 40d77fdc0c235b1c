"""Evaluates the Deny statements of bucket policies, with their conditions, as S3 does before anything else."""

import fnmatch
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

_BUCKET_QUESTIONS = {
    "versions": "s3:ListBucketVersions",
    "versioning": "s3:GetBucketVersioning",
    "encryption": "s3:GetEncryptionConfiguration",
    "policy": "s3:GetBucketPolicy",
    "location": "s3:GetBucketLocation",
}
_OBJECT_QUESTIONS = {"acl": "Acl", "tagging": "Tagging", "retention": "Retention", "legal-hold": "LegalHold"}
_KEY = re.compile(r"<Key>([^<]*)</Key>")


def asked_of_s3(method: str, bucket: str, key: str, query: str, body: bytes) -> list[tuple[str, str]]:
    """The actions that a request to S3 asks for, each with its resource.

    Args:
        method: of the HTTP request.
        bucket: the bucket's name.
        key: of the object; empty for a request about the bucket.
        query: of the address.
        body: the request's, which names the objects of a deletion of many.
    """
    arn = f"arn:aws:s3:::{bucket}"
    names = {part.split("=")[0] for part in query.split("&") if part}
    if not key and method == "POST" and "delete" in names:
        return [("s3:DeleteObject", f"{arn}/{found}") for found in _KEY.findall(body.decode())]
    if not key:
        asked = next((_BUCKET_QUESTIONS[name] for name in sorted(names) if name in _BUCKET_QUESTIONS), "s3:ListBucket")
        if method not in ("GET", "HEAD"):
            asked = "s3:PutBucketPolicy" if "policy" in names else f"s3:{method.title()}Bucket"
        return [(asked, arn)]
    version = "Version" if "versionId" in names else ""
    about = next((_OBJECT_QUESTIONS[name] for name in sorted(names) if name in _OBJECT_QUESTIONS), "")
    if method == "DELETE":
        action = "s3:AbortMultipartUpload" if "uploadId" in names else f"s3:DeleteObject{version}{about}"
    elif method in ("GET", "HEAD"):
        action = f"s3:GetObject{version}{about}"
    else:
        action = f"s3:PutObject{about}"
    return [(action, f"{arn}/{key}")]


def denied(policy: bytes | None, asked: Iterable[tuple[str, str]], context: Mapping[str, str]) -> str:
    """The Sid of the statement that denies a request; empty when none does.

    Args:
        policy: the bucket's policy, JSON.
        asked: the actions of the request with their resources, as `asked_of_s3` tells them.
        context: the condition keys of the request, such as `aws:SecureTransport`.

    Raises:
        ValueError: the policy has a condition that this sandbox does not support.
    """
    statements = json.loads(policy)["Statement"] if policy else []
    for statement in statements:
        if statement["Effect"] == "Deny" and any(applies(statement, *each, context) for each in asked):
            return str(statement.get("Sid") or "a statement without a Sid")
    return ""


def lets_in(policy: bytes | None, asked: Iterable[tuple[str, str]], context: Mapping[str, str]) -> bool:
    """Whether a bucket's policy allows each action that a request of another account asks for.

    Args:
        policy: the bucket's policy, JSON.
        asked: actions with their resources.
        context: the condition keys of the request, `aws:PrincipalArn` among them.
    """
    statements = json.loads(policy)["Statement"] if policy else []
    allowing = [statement for statement in statements if statement["Effect"] == "Allow"]
    return all(any(applies(statement, *each, context) for statement in allowing) for each in asked)


def applies(statement: Mapping[str, Any], action: str, resource: str, context: Mapping[str, str]) -> bool:
    """Whether a statement of a policy speaks of an action on a resource, and its conditions are met.

    Raises:
        ValueError: it has a condition that this sandbox does not know.
    """
    return (
        any(fnmatch.fnmatchcase(action, pattern) for pattern in _list(statement["Action"]))
        and any(fnmatch.fnmatchcase(resource, pattern) for pattern in _list(statement["Resource"]))
        and _conditions_met(statement.get("Condition", {}), context)
    )


def _conditions_met(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    return all(
        _met(operator, wanted, context.get(name))
        for operator, pairs in conditions.items()
        for name, wanted in pairs.items()
    )


def _met(operator: str, wanted: Any, present: str | None) -> bool:
    values = [str(value) for value in _list(wanted)]
    if operator in ("Bool", "StringEquals", "ArnEquals"):
        return present in values
    if operator == "StringNotEquals":
        return present not in values
    if operator == "Null":
        return ("true" if present is None else "false") in values
    raise ValueError(f"the sandbox does not know the condition operator {operator}")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
