"""Requests by the cloud's own host names, as pods send them: turned into requests to the one address of the sandbox."""

import re
from typing import Any

_BUCKET_HOST = re.compile(r"(?P<bucket>[a-z0-9.-]+)\.s3[.-][a-z0-9.-]*amazonaws\.com(:\d+)?")
_CLOUD_HOST = re.compile(r"[a-z0-9.-]+\.amazonaws\.com(:\d+)?")
_ONE_ADDRESS = "localhost"


def use_one_address(environ: dict[str, Any]) -> None:
    """Puts a bucket that the host names into the path, and the sandbox's own host in the place of the cloud's.

    Args:
        environ: of a WSGI request, with `asgi.scope`; changed in place.
    """
    host = str(environ.get("HTTP_HOST", ""))
    if not _CLOUD_HOST.fullmatch(host):
        return
    if found := _BUCKET_HOST.fullmatch(host):
        bucket = f"/{found['bucket']}"
        environ["PATH_INFO"] = bucket + environ.get("PATH_INFO", "/")
        scope = environ["asgi.scope"]
        environ["asgi.scope"] = {**scope, "raw_path": bucket.encode() + scope["raw_path"]}
    environ["HTTP_HOST"] = _ONE_ADDRESS
