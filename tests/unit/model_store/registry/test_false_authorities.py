"""No server that a variable or a profile names makes somebody another actor: neither an issuer nor a token service."""

import base64
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from model_store.registry.id_tokens import AUDIENCE
from model_store.registry.identity import account_name, is_token_service
from tests.checkout import SOURCE

_ACTOR = "from model_store import ModelRegistry; import sys; print(ModelRegistry(sys.argv[1]).actor)"
_HOST = "token.actions.githubusercontent.com"
_STS_HOST = "sts.us-east-1.amazonaws.com"
_KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}
_ANSWER = (
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    "<Arn>arn:aws:sts::123456789012:assumed-role/approver/x</Arn><UserId>x</UserId><Account>123456789012</Account>"
    "</GetCallerIdentityResult><ResponseMetadata><RequestId>a</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
)


def _actor(location: str, **variables: str) -> tuple[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ACTIONS_", "GITHUB_"))}
    done = subprocess.run(
        [sys.executable, "-c", _ACTOR, location],
        cwd=SOURCE, env={**kept, **variables}, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return done.stdout.strip(), done.stderr


def _authority(directory: Path, host: str = _HOST) -> rsa.RSAPrivateKey:
    """A certificate of one's own for the name of a host, in `ca.pem` with its key in `ca.key`."""
    key = rsa.generate_private_key(65537, 2048)
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (directory / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form, no_password = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (directory / "ca.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, no_password))
    return key


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _token(key: rsa.RSAPrivateKey) -> str:
    claims = {"iss": f"https://{_HOST}", "sub": "repo:bank/fraud:x", "aud": AUDIENCE, "exp": time.time() + 600}
    signed = ".".join(_part(json.dumps(each).encode()) for each in ({"alg": "RS256", "kid": "a"}, claims))
    return f"{signed}.{_part(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class _FalseIssuer:
    """A proxy that answers for the issuer itself."""

    def __init__(self, directory: Path, key: rsa.RSAPrivateKey) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(directory / "ca.pem", directory / "ca.key")
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.asked: list[bytes] = []
        self.refused: list[str] = []
        public = key.public_key().public_numbers()
        numbers = {"n": _part(public.n.to_bytes(256, "big")), "e": _part(public.e.to_bytes(3, "big"))}
        self._jwks = {"keys": [{"kty": "RSA", "kid": "a", **numbers}]}
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                self._answer(self._listening.accept()[0])

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(20)
            self.asked.append(connection.recv(4096).split(b"\r\n")[0])
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                inside = self._context.wrap_socket(connection, server_side=True)
            except ssl.SSLError as error:
                self.refused.append(str(error))
                return
            asked = inside.recv(4096)
            found = {"jwks_uri": f"https://{_HOST}/keys"} if b"openid" in asked else self._jwks
            body = json.dumps(found).encode()
            inside.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
            inside.close()

    def close(self) -> None:
        self._listening.close()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_an_authority_that_a_variable_names_vouches_for_no_issuer(tmp_path: Path, variable: str) -> None:
    key = _authority(tmp_path)
    hashed = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))  # the certificate is one that a client takes
    assert hashed.cert_store_stats()["x509_ca"]
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=False, capture_output=True)
    issuer = _FalseIssuer(tmp_path, key)
    try:
        place = tmp_path / "ca.pem" if variable == "SSL_CERT_FILE" else tmp_path
        proxy = f"http://127.0.0.1:{issuer.port}"
        variables = {variable: str(place), "https_proxy": proxy, "HTTPS_PROXY": proxy, "no_proxy": ""}
        actor, said = _actor(str(tmp_path / "registry"), MODEL_ID_TOKEN=_token(key), **variables)
    finally:
        issuer.close()
    assert issuer.asked == [f"CONNECT {_HOST}:443 HTTP/1.0".encode()] or issuer.asked[0].startswith(b"CONNECT")
    assert actor == account_name()
    assert "the job's id token proves nothing" in said
    assert "CERTIFICATE_VERIFY_FAILED" in said


@contextmanager
def _false_token_service() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["content-length"])).decode())
            self.send_response(200)
            self.send_header("Content-Length", str(len(_ANSWER)))
            self.send_header("Content-Type", "text/xml")
            self.end_headers()
            self.wfile.write(_ANSWER.encode())

        def log_message(self, *_: object) -> None:
            """Logs nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()


def test_a_token_service_that_is_not_the_storages_is_not_asked() -> None:
    with _false_token_service() as (address, asked):
        told = {**_KEYS, "AWS_ENDPOINT_URL_STS": address}
        for storage in ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, {}):
            actor, said = _actor("s3://bucket/registry", **told, **storage)
            assert actor == "access-key:AKIDEXAMPLE"
            assert "its answer proves nothing" in said
        assert asked == []
        actor, _ = _actor("s3://bucket/registry", **_KEYS, AWS_ENDPOINT_URL=address)
        assert actor == "arn:aws:sts::123456789012:assumed-role/approver/x", "the storage's own is asked"


def test_a_token_service_that_a_profile_names_is_not_asked(tmp_path: Path) -> None:
    with _false_token_service() as (address, asked):
        services = f"[services false]\nsts =\n  endpoint_url = {address}\n"
        for number, profile in enumerate((f"endpoint_url = {address}\n", f"services = false\n\n{services}")):
            config = tmp_path / f"config{number}"
            config.write_text(f"[default]\nregion = us-east-1\n{profile}")
            nowhere = {
                "https_proxy": "http://127.0.0.1:9",
                "HTTPS_PROXY": "http://127.0.0.1:9",
                "no_proxy": "127.0.0.1",
            }
            actor, said = _actor("s3://bucket/registry", **_KEYS, AWS_CONFIG_FILE=str(config), **nowhere)
            assert actor == "access-key:AKIDEXAMPLE"
            assert "STS cannot be asked" in said
        assert asked == []


def test_a_token_service_is_asked_over_tls_only() -> None:
    with _false_token_service() as (address, asked):
        proxy = {"http_proxy": address, "HTTP_PROXY": address, "no_proxy": "127.0.0.1"}
        actor, said = _actor("s3://bucket/registry", **_KEYS, **proxy, AWS_ENDPOINT_URL_STS=f"http://{_STS_HOST}")
        assert actor == "access-key:AKIDEXAMPLE"
        assert "its answer proves nothing" in said
        assert asked == []


@pytest.mark.parametrize(
    ("address", "is_sts"),
    [
        (f"https://{_STS_HOST}", True),
        ("https://sts.amazonaws.com/", True),
        ("https://sts-fips.us-east-1.amazonaws.com", True),
        ("https://sts.cn-north-1.amazonaws.com.cn", True),
        ("https://vpce-0a1-b2.sts.eu-west-1.vpce.amazonaws.com", True),
        (f"http://{_STS_HOST}", False),
        ("https://abc123.execute-api.eu-west-1.amazonaws.com", False),
        ("https://sts.execute-api.eu-west-1.amazonaws.com", False),
        ("https://sts.s3.amazonaws.com.example.org", False),
        ("https://ec2-3-4-5-6.compute-1.amazonaws.com", False),
        ("https://sts.s3.amazonaws.com", False),
    ],
)
def test_a_customers_host_below_the_clouds_name_is_no_token_service(address: str, is_sts: bool) -> None:
    assert is_token_service(address) is is_sts


def test_an_authority_that_a_variable_names_vouches_for_no_token_service(tmp_path: Path) -> None:
    issuer = _FalseIssuer(tmp_path, _authority(tmp_path, _STS_HOST))
    try:
        proxy = f"http://127.0.0.1:{issuer.port}"
        variables = {"AWS_CA_BUNDLE": str(tmp_path / "ca.pem"), "https_proxy": proxy, "HTTPS_PROXY": proxy}
        actor, said = _actor("s3://bucket/registry", **_KEYS, **variables, no_proxy="")
    finally:
        issuer.close()
    assert issuer.asked[0].startswith(f"CONNECT {_STS_HOST}:443".encode())
    assert issuer.refused, "the certificate is not believed"
    assert actor == "access-key:AKIDEXAMPLE"
    assert "STS cannot be asked" in said
