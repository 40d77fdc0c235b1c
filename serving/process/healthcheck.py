"""`python -m serving.healthcheck`: ends with 0 when the service on this machine is ready, for images without curl."""

import os
import sys
import urllib.error
import urllib.request

from conventions import variables

_TIMEOUT_SECONDS = 5
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy is for other machines: the service is on this one."""


def main() -> int:
    """Asks `/health/ready` on `API_PORT`."""
    url = f"http://127.0.0.1:{os.environ.get(variables.API_PORT) or 8000}/health/ready"
    try:
        with _DIRECT.open(url, timeout=_TIMEOUT_SECONDS) as answer:
            return 0 if answer.status == 200 else 1
    except (urllib.error.URLError, OSError) as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1
