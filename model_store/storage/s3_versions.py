"""Versions of objects in S3: a bucket with versioning keeps what was overwritten or deleted, and so shows it."""

import os
from collections import defaultdict
from typing import Any
from urllib.parse import unquote, urlsplit

from model_store.errors import ChecksumMismatch
from model_store.storage.s3_clients import bucket_client


def require_single_versions(location: str, prefix: str) -> str:
    """Raises unless each `.json` object below a prefix was written once and is still there.

    Args:
        location: of a registry; in a directory there is nothing to look at.
        prefix: below the registry's own, such as `audit/`.

    Returns:
        What has to be told beside the result: that the bucket keeps no versions, or that they cannot be listed.

    Raises:
        ChecksumMismatch: an object was replaced, or hidden by a delete marker; names it.
    """
    if not location.startswith("s3://"):
        return ""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    parts = urlsplit(location)
    own = unquote(parts.path).strip("/")
    client = bucket_client(os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1")
    try:
        status = client.get_bucket_versioning(Bucket=parts.netloc).get("Status", "")
        versions, hidden = _listed(client, parts.netloc, f"{own}/{prefix}" if own else prefix)
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        return f"; the versions of its objects cannot be listed ({' '.join(str(error).split())[:200]})"
    problems = [f"{key} is hidden by a delete marker" for key in sorted(hidden)]
    problems += [f"{key} was replaced: {count} versions" for key, count in sorted(versions.items()) if count > 1]
    if problems:
        raise ChecksumMismatch(
            f"the audit log in s3://{parts.netloc} was changed: {'; '.join(problems[:5])}"
            f"{f' and {len(problems) - 5} more' if len(problems) > 5 else ''}. The bucket keeps their first versions"
        )
    return "; each object was written once" if status == "Enabled" else "; the bucket keeps no versions of its objects"


def _listed(client: Any, bucket: str, prefix: str) -> tuple[dict[str, int], set[str]]:
    """How many versions each `.json` object has, and those whose latest version is a delete marker."""
    versions: dict[str, int] = defaultdict(int)
    hidden: set[str] = set()
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        for each in page.get("Versions", ()):
            if each["Key"].endswith(".json"):
                versions[each["Key"]] += 1
        hidden |= {
            each["Key"] for each in page.get("DeleteMarkers", ()) if each["IsLatest"] and each["Key"].endswith(".json")
        }
    return versions, hidden
