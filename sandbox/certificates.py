"""Certificates of the sandbox: an authority for the sandbox's lifetime, and the certificates that it signs."""

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS = 30
_REGION = "eu-central-1"
_CLOUD = ("amazonaws.com", "{region}.amazonaws.com", "s3.{region}.amazonaws.com", "dkr.ecr.{region}.amazonaws.com")
_NAMES = ("localhost", "*.localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
_ADDRESSES = ("127.0.0.1", "::1", "10.0.0.1")


class Authority:
    """A certificate authority in a directory; writes `ca.pem`.

    Args:
        directory: receives the certificates and their keys.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fraud-detection sandbox")])
        own = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        (directory / "ca.pem").write_bytes(own.public_bytes(serialization.Encoding.PEM))
        _write_key(directory / "ca.key", self._key)

    def issue(self, file: str, common_name: str, names: Sequence[str] = (), organization: str = "") -> None:
        """Writes `<file>.pem` and `<file>.key`.

        Args:
            file: name of the files.
            common_name: of the subject; the user's name for a client of the API server.
            names: host names and addresses; a certificate with names is a server's, too.
            organization: of the subject; the user's group for a client of the API server.
        """
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        if organization:
            subject.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        key = ec.generate_private_key(ec.SECP256R1())
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if names else [])]
        builder = (
            _builder(x509.Name(subject), self._name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_name(each) for each in names]), critical=False
            )
        signed = builder.sign(self._key, hashes.SHA256())
        (self._directory / f"{file}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        _write_key(self._directory / f"{file}.key", key)


def make_certificates(directory: Path, region: str = _REGION, addresses: Sequence[str] = ()) -> Authority:
    """Writes `ca.pem`, `server.pem`, `server.key`, and `accounts.key` that signs service account tokens.

    Args:
        directory: receives the files.
        region: of the cloud, whose names the server's certificate has.
        addresses: further IP addresses of the server.

    Returns:
        The authority, for further certificates.
    """
    authority = Authority(directory)
    cloud = [f"*.{name.format(region=region)}" for name in _CLOUD]
    authority.issue("server", "localhost", [*_NAMES, *cloud, *_ADDRESSES, *addresses])
    _write_key(directory / "accounts.key", rsa.generate_private_key(65537, 2048))
    return authority


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _builder(subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
