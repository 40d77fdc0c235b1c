"""The certificate authorities that the system trusts, whatever the environment of the process names."""

import ssl
from pathlib import Path

_AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
"""Debian's and Alpine's, Red Hat's, macOS's."""


def system_authorities() -> str:
    """The file with the system's certificate authorities; empty where it has none."""
    compiled = ssl.get_default_verify_paths().openssl_cafile
    return next((each for each in (compiled, *_AUTHORITIES) if Path(each).is_file()), "")
