"""How programs of this project verify an endpoint that answers over TLS.

An endpoint of another machine is verified by its name and an authority: those of the system, and the authority of
development that a checkout has made. A process of this machine is verified by its own certificate file, since checks
ask it at an address that its certificate need not name.
"""

import os
import ssl
from pathlib import Path

AUTHORITY_FILE = ".secrets/tls/authority.pem"
"""The certificate of a checkout's authority of development, relative to the checkout."""
AUTHORITY_KEY_FILE = ".secrets/tls/authority.key"
CERTIFICATE_FILE = ".secrets/tls/endpoint.pem"
"""The certificate of development that the endpoint of this machine shows."""
KEY_FILE = ".secrets/tls/endpoint.key"
CLIENT_CERTIFICATE_FILE = "TLS_CLIENT_CERTIFICATE_FILE"
CLIENT_KEY_FILE = "TLS_CLIENT_KEY_FILE"
"""Environment variables: the certificate that this project's commands show to an endpoint that asks for one."""
_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL: an expired certificate ends no process that serves with it."""


def verification(url: str, checkout: Path) -> ssl.SSLContext | bool:
    """How a client verifies an endpoint: by its name, and the authorities of the system and of the checkout.

    `SSL_CERT_FILE` names others in place of the system's. A certificate of the client's own is shown where
    `TLS_CLIENT_CERTIFICATE_FILE` and `TLS_CLIENT_KEY_FILE` name one.

    Args:
        url: of the endpoint.
        checkout: the project's root, whose authority of development is known, where it has one.

    Returns:
        A context; True for an endpoint without TLS, which makes it cheap.

    Raises:
        OSError: the client's own certificate cannot be used.
    """
    return _system_verification(checkout / AUTHORITY_FILE) if url.startswith("https:") else True


def _system_verification(*further: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not os.environ.get("SSL_CERT_FILE") and not context.cert_store_stats()["x509_ca"]:
        import certifi

        context.load_verify_locations(certifi.where())
    for path in further:
        try:
            context.load_verify_locations(path)
        except (OSError, ssl.SSLError):
            continue
    if certificate := os.environ.get(CLIENT_CERTIFICATE_FILE):
        context.load_cert_chain(certificate, os.environ.get(CLIENT_KEY_FILE) or None)
    return context


def own_verification(certificate: Path) -> ssl.SSLContext:
    """Verifies a process of this machine: it has to hold the key of this very certificate.

    Args:
        certificate: the file that the process was given.

    Raises:
        OSError: the file cannot be read, or is not a certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
    return context
