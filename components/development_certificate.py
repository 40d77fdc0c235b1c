"""The certificate of an `https://` endpoint of this machine, signed by an authority that the checkout makes for itself.

Both live under `.secrets/tls/` with mode 600. The authority can sign for the endpoint's own host and this machine's
loopback only, so a browser that trusts it trusts it for nothing else.
"""

import fcntl
import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from conventions.endpoint_tls import AUTHORITY_FILE, AUTHORITY_KEY_FILE, CERTIFICATE_FILE, KEY_FILE

_AUTHORITY_DAYS, _ENDPOINT_DAYS = 3650, 397
_RENEWED_DAYS = 30
"""Left of a certificate's time when a new one is made."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class _Signer:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def ensure_development_certificate(checkout: Path, host: str) -> None:
    """Makes authority and certificate where they are missing, name another host, or end within thirty days.

    Args:
        checkout: the project's root.
        host: name or address of the endpoint.

    Raises:
        OSError: a file cannot be written.
    """
    (checkout / ".secrets").mkdir(mode=0o700, exist_ok=True)
    (checkout / CERTIFICATE_FILE).parent.mkdir(mode=0o700, exist_ok=True)
    with _alone(checkout):
        names = _names(host)
        authority = _read(checkout / AUTHORITY_FILE, checkout / AUTHORITY_KEY_FILE)
        if authority is None or not _permits(authority.certificate, names):
            authority = _make_authority(names)
            _write(authority, checkout / AUTHORITY_FILE, checkout / AUTHORITY_KEY_FILE)
        found = _read(checkout / CERTIFICATE_FILE, checkout / KEY_FILE)
        if found is None or not _is_signed(found.certificate, authority) or not _is_for(found.certificate, names):
            _write(_make_endpoint(names, authority), checkout / CERTIFICATE_FILE, checkout / KEY_FILE)


def is_due(checkout: Path) -> bool:
    """Whether there is no certificate of development that lasts for thirty days more."""
    return _read(checkout / CERTIFICATE_FILE, checkout / KEY_FILE) is None


@contextmanager
def _alone(checkout: Path) -> Iterator[None]:
    with (checkout / CERTIFICATE_FILE).with_name(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _names(host: str) -> list[x509.GeneralName]:
    texts = dict.fromkeys((host, *_LOOPBACK))
    found: list[x509.GeneralName] = []
    for text in texts:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            found.append(x509.DNSName(text))
            continue
        if address.is_unspecified:
            # Every address of the machine is listened on: it is called by its name.
            found.append(x509.DNSName(socket.gethostname()))
        else:
            found.append(x509.IPAddress(address))
    return found


def _read(certificate: Path, key: Path) -> _Signer | None:
    """What the files hold; None when they hold nothing that can be used for thirty days more."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return None
    if not isinstance(loaded, ec.EllipticCurvePrivateKey) or loaded.public_key() != found.public_key():
        return None
    if found.not_valid_after_utc < datetime.now(UTC) + timedelta(days=_RENEWED_DAYS):
        return None
    return _Signer(found, loaded)


def _permits(authority: x509.Certificate, names: list[x509.GeneralName]) -> bool:
    try:
        permitted = authority.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    except x509.ExtensionNotFound:
        return False
    return all(_constraint(name) in permitted for name in names)


def _is_signed(certificate: x509.Certificate, authority: _Signer) -> bool:
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except Exception:
        # The library raises a class for each way in which it is not.
        return False
    return True


def _is_for(certificate: x509.Certificate, names: list[x509.GeneralName]) -> bool:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(names) <= set(found)


def _constraint(name: x509.GeneralName) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_network(name.value)) if isinstance(name, x509.IPAddress) else name


def _make_authority(names: list[x509.GeneralName]) -> _Signer:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"fraud-detection development {socket.gethostname()}"[:64])]
    )
    certificate = (
        _builder(subject, subject, key, _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.NameConstraints([_constraint(name) for name in names], None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _Signer(certificate, key)


def _make_endpoint(names: list[x509.GeneralName], authority: _Signer) -> _Signer:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "fraud-detection development endpoint")])
    certificate = (
        _builder(subject, authority.certificate.subject, key, _ENDPOINT_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return _Signer(certificate, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(signed: _Signer, certificate: Path, key: Path) -> None:
    private = signed.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _replace(key, private)
    _replace(certificate, signed.certificate.public_bytes(serialization.Encoding.PEM))


def _replace(path: Path, content: bytes) -> None:
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    staging.unlink(missing_ok=True)
    with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)
