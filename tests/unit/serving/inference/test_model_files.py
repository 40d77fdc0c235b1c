"""A model version in a bucket: fetched by the registry's storage, with credentials and certificates of the service."""

import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from moto.server import ThreadedMotoServer

from model_store.errors import FileMissing, StorageFailed
from serving.inference.model_files import model_files

FILES = {"manifest.json": json.dumps({"contract": {"a": 1}}).encode(), "artifact": b"a" * 3_000_000, "golden": b"g"}
BUCKET, PREFIX = "models-of-a-test", "models/m/m_T_20260101_000000"
URI = f"s3://{BUCKET}/{PREFIX}"


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    client.create_bucket(Bucket=BUCKET)
    for name, content in FILES.items():
        client.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{name}", Body=content)
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def environment(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    settings = {"AWS_ENDPOINT_URL": bucket, "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    files = {"AWS_CONFIG_FILE": tmp_path / "config", "AWS_SHARED_CREDENTIALS_FILE": tmp_path / "credentials"}
    for name, value in {**settings, **files}.items():
        monkeypatch.setenv(name, str(value))
    return monkeypatch


def _fetched() -> dict[str, bytes]:
    with model_files(URI, runtime=False) as directory:
        found = {file.name: file.read_bytes() for file in directory.iterdir()}
    assert not directory.exists(), "a fetched model does not stay"
    return found


def _with_keys(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_ACCESS_KEY_ID", "a")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "b")


def test_keys_in_the_environment_fetch_what_is_needed_and_nothing_more(environment: pytest.MonkeyPatch) -> None:
    _with_keys(environment)
    assert _fetched() == FILES


def test_a_profile_fetches_the_files_too(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[of-a-test]\naws_access_key_id = a\naws_secret_access_key = b\n")
    environment.setenv("AWS_PROFILE", "of-a-test")
    assert _fetched() == FILES


def test_the_role_of_a_pod_fetches_the_files_too(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of.the.cluster")
    environment.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/serving")
    environment.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    assert _fetched() == FILES


@pytest.mark.parametrize("uri", [f"s3://{BUCKET}/models/none", "s3://no-such-bucket-of-a-test/models/m"])
def test_a_version_that_is_not_there_is_missing(environment: pytest.MonkeyPatch, uri: str) -> None:
    _with_keys(environment)
    with pytest.raises(FileMissing, match=f"{uri}: there is no such model version"), model_files(uri, runtime=True):
        pass


class _Bucket(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = FILES[self.path.rpartition("/")[2]]
        self.send_response(200)
        for name, value in (("Content-Length", len(content)), ("ETag", '"a"')):
            self.send_header(name, str(value))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def tls_bucket(tmp_path: Path) -> Iterator[str]:
    """A bucket behind a certificate that no system trusts; the certificate is in `ca.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (tmp_path / "ca.pem").write_bytes(certificate.public_bytes(encoding))
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "server.pem").write_bytes(private + certificate.public_bytes(encoding))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Bucket)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_the_certificates_of_the_bundle_are_trusted(
    environment: pytest.MonkeyPatch, tls_bucket: str, tmp_path: Path
) -> None:
    _with_keys(environment)
    environment.setenv("AWS_ENDPOINT_URL", tls_bucket)
    environment.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    assert _fetched() == FILES


def test_a_bundle_that_is_not_there_is_named(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _with_keys(environment)
    environment.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(StorageFailed, match=r"AWS_CA_BUNDLE: .*none\.pem cannot be read"):
        _fetched()
