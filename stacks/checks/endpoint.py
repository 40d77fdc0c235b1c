"""How the commands verify the endpoint that they ask."""

import ssl
from pathlib import Path

from conventions.endpoint_tls import CLIENT_CERTIFICATE_FILE, verification
from stacks.errors import EndpointSilent


def endpoint_verification(url: str, checkout: Path) -> ssl.SSLContext | bool:
    """How an endpoint is verified: as `conventions.endpoint_tls.verification`, with an error for people.

    Args:
        url: of the endpoint.
        checkout: the project's root.

    Raises:
        EndpointSilent: the certificate that the environment names for this client cannot be used.
    """
    try:
        return verification(url, checkout)
    except OSError as error:
        raise EndpointSilent(
            f"{CLIENT_CERTIFICATE_FILE}: the client's certificate or its key cannot be used ({error})"
        ) from None
