"""Lists the files of versions in S3 without the claims of their numbers, which are as many as versions ever were."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obstore.store import S3Store

_CLAIMS = "/.versions/"
_LARGEST_PAGE = 1000
"""Keys that one request lists."""


def without_claims(store: "S3Store", top: str) -> Iterator[tuple[str, str]]:
    """Keys below a prefix without it, each with its ETag; claims that fill more than a page are skipped by one request.

    Args:
        store: of the bucket.
        top: the prefix, with a slash at its end.
    """
    import obstore

    after: str | None = None
    while True:
        claims, directory = 0, ""
        for item in (item for page in obstore.list(store, top.rstrip("/"), offset=after) for item in page):
            path = item["path"]
            before, claim, _ = path.rpartition(_CLAIMS)
            claims = claims + 1 if claim and before == directory else int(bool(claim))
            directory = before
            if claims > _LARGEST_PAGE:
                break
            if not claim and path.startswith(top):
                yield path.removeprefix(top), item["e_tag"] or ""
        else:
            return
        # The names of claims are digits, and `.last`; a tilde comes after them.
        after = f"{directory}{_CLAIMS}~"
