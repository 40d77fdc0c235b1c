"""`python -m serving.healthcheck`: ends with 0 when the service on this machine is ready, for images without curl."""

import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

from conventions import variables
from conventions.endpoint_tls import own_verification

_TIMEOUT_SECONDS = 5


def main() -> int:
    """Asks `/health/ready` on `API_PORT`."""
    certificate = os.environ.get(variables.TLS_CERTIFICATE_FILE)
    scheme = "https" if certificate else "http"
    url = f"{scheme}://127.0.0.1:{os.environ.get(variables.API_PORT) or 8000}/health/ready"
    # A proxy is for other machines: the service is on this one.
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    try:
        if certificate:
            handlers.append(urllib.request.HTTPSHandler(context=own_verification(Path(certificate))))
        with urllib.request.build_opener(*handlers).open(url, timeout=_TIMEOUT_SECONDS) as answer:
            return 0 if answer.status == 200 else 1
    except (urllib.error.URLError, OSError) as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1
