"""How people trust the certificate of development that an endpoint of this machine shows."""

from pathlib import Path
from urllib.parse import urlsplit

from conventions.endpoint_tls import AUTHORITY_FILE


def trust_lines(checkout: Path, url: str) -> list[str]:
    """Lines that say which authority to trust; none where the endpoint shows no certificate of development.

    Args:
        checkout: the project's root.
        url: of the endpoint.
    """
    if not _is_own(checkout, url):
        return []
    path = checkout / AUTHORITY_FILE
    return [
        f"  trust          {path} signs the endpoint's certificate, for this host only",
        f"                 curl: --cacert {path}",
        f"                 Python: SSL_CERT_FILE={path}",
        "                 a browser: import that file among its authorities for web sites",
    ]


def curl_option(checkout: Path, url: str) -> str:
    """The option of curl that trusts the endpoint, with a space after it; empty where it needs none."""
    return f"--cacert {AUTHORITY_FILE} " if _is_own(checkout, url) else ""


def _is_own(checkout: Path, url: str) -> bool:
    """Whether the authority of this checkout has signed for the endpoint's host."""
    path = checkout / AUTHORITY_FILE
    if not url.startswith("https:") or not path.exists():
        return False
    from cryptography import x509

    try:
        authority = x509.load_pem_x509_certificate(path.read_bytes())
        names = authority.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    except (ValueError, x509.ExtensionNotFound):
        return False
    host = urlsplit(url).hostname or ""
    return any(str(name.value).partition("/")[0] == host for name in names) or host in ("0.0.0.0", "::")  # noqa: S104
