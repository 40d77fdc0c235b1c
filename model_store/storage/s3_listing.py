"""Lists objects in S3 without the claims of their numbers, which are as many as versions ever were, past odd keys.

An odd key has an empty part, `.` or `..` between its slashes, such as `models//x`. obstore ends a listing there; boto3
goes on, and the key is left out.
"""

from collections.abc import Iterable, Iterator, MutableSet
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from conventions.artifact_files import MANIFEST_FILE
from model_store.storage.s3_clients import bucket_client, region_here

if TYPE_CHECKING:
    from obstore.store import S3Store

_CLAIMS = "/.versions/"
_LARGEST_PAGE = 1000
"""Keys that one request lists."""
_ODD_PARTS = {"", ".", ".."}
_PARTS_OF_A_FILE = 4
"""`models/<name>/<model id>/<file>`."""


class Listed(NamedTuple):
    """An object of a listing."""

    path: str
    e_tag: str
    last_modified: datetime


def list_objects(
    store: "S3Store", bucket: str, prefix: str, odd: MutableSet[str], after: str | None = None
) -> Iterator[Listed]:
    """The objects below a prefix, in the order of their keys.

    Args:
        store: of the bucket.
        bucket: its name.
        prefix: without a slash at its end.
        odd: gets the odd keys that were met.
        after: lists only what comes after this key.
    """
    import obstore
    from obstore.exceptions import BaseError

    last = after
    try:
        for item in (item for page in obstore.list(store, prefix, offset=after) for item in page):
            yield Listed(item["path"], item["e_tag"] or "", item["last_modified"])
            last = item["path"]
    except BaseError as error:
        if "invalid path" not in str(error):
            raise
        yield from _past_odd_keys(bucket, prefix, odd, last)


def _past_odd_keys(bucket: str, prefix: str, odd: MutableSet[str], after: str | None) -> Iterator[Listed]:
    options: dict[str, Any] = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else ""}
    if after:
        options["StartAfter"] = after
    for page in bucket_client(region_here()).get_paginator("list_objects_v2").paginate(**options):
        for item in page.get("Contents", ()):
            key = item["Key"]
            if key.endswith("/") and not item["Size"] and not _ODD_PARTS & set(key[:-1].split("/")):
                continue  # what a console makes for an empty folder
            if _ODD_PARTS & set(key.split("/")):
                odd.add(key)
            else:
                yield Listed(key, item["ETag"], item["LastModified"])


def without_claims(store: "S3Store", bucket: str, top: str, odd: MutableSet[str]) -> Iterator[tuple[str, str]]:
    """Keys below a prefix without it, each with its ETag; claims that fill more than a page are skipped by one request.

    Args:
        store: of the bucket.
        bucket: its name.
        top: the prefix, with a slash at its end.
        odd: gets the odd keys that were met.
    """
    after: str | None = None
    while True:
        claims, directory = 0, ""
        for path, e_tag, _ in list_objects(store, bucket, top.rstrip("/"), odd, after):
            before, claim, _ = path.rpartition(_CLAIMS)
            claims = claims + 1 if claim and before == directory else int(bool(claim))
            directory = before
            if claims > _LARGEST_PAGE:
                break
            if not claim and path.startswith(top):
                yield path.removeprefix(top), e_tag
        else:
            return
        # The names of claims are digits, and `.last`; a tilde comes after them.
        after = f"{directory}{_CLAIMS}~"


def without_manifest(changes: Iterable[tuple[str, datetime]], oldest: datetime) -> list[str]:
    """The keys of versions without a manifest, all of whose objects are older than a time.

    Args:
        changes: keys of the registry's objects, each with the time of its last change.
        oldest: the time.
    """
    youngest: dict[str, datetime] = {}
    whole: set[str] = set()
    for path, moment in changes:
        parts = path.split("/")
        if len(parts) != _PARTS_OF_A_FILE or parts[2].startswith("."):
            continue
        key = "/".join(parts[:3])
        youngest[key] = max(youngest.get(key, moment), moment)
        if parts[3] == MANIFEST_FILE:
            whole.add(key)
    return sorted(key for key, moment in youngest.items() if key not in whole and moment < oldest)
