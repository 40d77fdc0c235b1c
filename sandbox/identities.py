"""Evaluates the policies of the role that a request to S3 comes from, as IAM does: what no statement allows is denied.

moto keeps roles and their policies and asks none of them. Credentials that belong to no role may do everything, as an
account's root may.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from moto.backends import get_backend

from sandbox.policies import applies

_ACCESS_KEY = re.compile(r"Credential=([^/,\s]+)/")


def refused_to_role(
    authorization: str, account: str, asked: Iterable[tuple[str, str]], context: Mapping[str, str]
) -> str:
    """Why a role may not do something; empty when it may, or when the credentials belong to no role.

    Args:
        authorization: the header of the request.
        account: twelve digits.
        asked: actions with their resources.
        context: the condition keys of the request.
    """
    found = _ACCESS_KEY.search(authorization)
    session = get_backend("sts")[account]["aws"].get_assumed_role_from_access_key(found[1]) if found else None
    if session is None:
        return ""
    try:
        role = get_backend("iam")[account]["aws"].get_role_by_arn(session.role_arn)
    except Exception:  # moto's own error for a role that does not exist
        return f"there is no role {session.role_arn}"
    statements = [each for policy in role.policies.values() for each in _statements(policy)]
    for action, resource in asked:
        effects = {each["Effect"] for each in statements if applies(each, action, resource, context)}
        if effects != {"Allow"}:
            return f"{role.name} is not allowed {action} on {resource}"
    return ""


def role_of(authorization: str, account: str) -> str:
    """The ARN of the role that a request comes from; empty for credentials that belong to no role of the account."""
    found = _ACCESS_KEY.search(authorization)
    session = get_backend("sts")[account]["aws"].get_assumed_role_from_access_key(found[1]) if found else None
    return str(session.role_arn) if session else ""


def _statements(policy: str | dict[str, Any]) -> list[dict[str, Any]]:
    document: dict[str, Any] = json.loads(policy) if isinstance(policy, str) else policy
    found: list[dict[str, Any]] = document["Statement"]
    return found
