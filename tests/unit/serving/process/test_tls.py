"""HTTPS of the service: certificates from files, read again when they change; certificates of clients."""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from components.development_certificate import ensure_development_certificate
from serving.errors import SettingsError
from serving.process.tls import Tls, TlsFiles
from tests.checkout import SOURCE
from tests.service import GOOD, Service, Setting, listening, started

LOOPBACK = "127.0.0.1"


class Made:
    """A certificate, its key and its authority, as a checkout makes them."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        ensure_development_certificate(directory, LOOPBACK)
        tls = directory / ".secrets" / "tls"
        self.authority, self.authority_key = tls / "authority.pem", tls / "authority.key"
        self.certificate, self.key = tls / "endpoint.pem", tls / "endpoint.key"

    def copy_to(self, certificate: Path, key: Path) -> None:
        certificate.write_bytes(self.certificate.read_bytes())
        key.write_bytes(self.key.read_bytes())
        key.chmod(0o600)


@contextmanager
def _served(setting: Setting, certificate: Path, key: Path, **more: str) -> Iterator[Service]:
    files = {"TLS_CERTIFICATE_FILE": str(certificate), "TLS_KEY_FILE": str(key)}
    with listening() as listener, started(setting, listener, **files, **more) as service:
        service.url = service.url.replace("http:", "https:")
        yield service


def _client(service: Service, authority: Path, *certificate: Path) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(authority))
    if certificate:
        context.load_cert_chain(*certificate)
    return httpx.Client(base_url=service.url, verify=context, trust_env=False)


def _predict(client: httpx.Client, setting: Setting) -> httpx.Response:
    return client.post("/predict", json={"transaction": GOOD}, headers={"X-API-Key": setting.api_key})


def _shown(service: Service, **versions: ssl.TLSVersion) -> bytes:
    """The certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, version in versions.items():
        setattr(context, name, version)
    address = (LOOPBACK, httpx.URL(service.url).port or 0)
    with socket.create_connection(address, 5) as plain, context.wrap_socket(plain) as secured:
        return secured.getpeercert(binary_form=True) or b""


def _until_shown(service: Service, certificate: Path) -> None:
    wanted = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    deadline = time.monotonic() + 20
    while _shown(service) != wanted:
        assert time.monotonic() < deadline, "the new certificate is not shown"
        time.sleep(0.1)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_the_service_answers_over_tls_and_verifies(setting: Setting, tmp_path: Path) -> None:
    made = Made(tmp_path / "a")
    with _served(setting, made.certificate, made.key) as service:
        assert service.ready["status"] == "ready"
        with _client(service, made.authority) as client:
            assert [_predict(client, setting).status_code for _ in range(3)] == [200] * 3
            assert client.get("/health/ready").json()["model_id"] == setting.model_id
        other = Made(tmp_path / "b")
        with _client(service, other.authority) as client, pytest.raises(httpx.ConnectError, match="verify failed"):
            client.get("/health/ready")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _shown(service, minimum_version=ssl.TLSVersion.MINIMUM_SUPPORTED, maximum_version=ssl.TLSVersion.TLSv1_1)
        assert _shown(service, maximum_version=ssl.TLSVersion.TLSv1_2)
        checked = subprocess.run(
            [sys.executable, "-m", "serving.healthcheck"],
            env={**setting.environment(), "API_PORT": str(httpx.URL(service.url).port),
                 "TLS_CERTIFICATE_FILE": str(made.certificate), "HTTPS_PROXY": "http://127.0.0.1:9"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert checked.returncode == 0, checked.stderr


def test_a_replaced_certificate_is_shown_within_seconds_and_no_request_fails(setting: Setting, tmp_path: Path) -> None:
    first, second, third = (Made(tmp_path / name) for name in "abc")
    # As a cluster mounts a Secret: names that point into `..data`, which points at the content.
    mount = tmp_path / "mount"
    for number, made in enumerate((first, second, third)):
        (mount / f"..{number}").mkdir(parents=True)
        made.copy_to(mount / f"..{number}" / "tls.crt", mount / f"..{number}" / "tls.key")
    (mount / "..data").symlink_to("..0")
    for name in ("tls.crt", "tls.key"):
        (mount / name).symlink_to(f"..data/{name}")
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("".join(made.authority.read_text() for made in (first, second, third)))
    statuses: list[int] = []
    ended = threading.Event()
    with _served(setting, mount / "tls.crt", mount / "tls.key") as service:

        def call() -> None:
            with _client(service, bundle) as kept:
                while not ended.is_set():
                    statuses.append(_predict(kept, setting).status_code)
                    with _client(service, bundle) as fresh:
                        statuses.append(_predict(fresh, setting).status_code)

        thread = threading.Thread(target=call)
        thread.start()
        try:
            for number, made in ((1, second), (2, third)):
                (mount / "..new").symlink_to(f"..{number}")
                (mount / "..new").replace(mount / "..data")
                _until_shown(service, made.certificate)
        finally:
            ended.set()
            thread.join()
        assert "the certificate was read again" in service.log.read_text()
        assert "was not read again" not in service.log.read_text()
    assert set(statuses) == {200}
    assert len(statuses) > 20


def test_files_that_cannot_be_used_are_logged_once_and_the_certificate_of_before_serves_on(
    setting: Setting, tmp_path: Path
) -> None:
    made, other = Made(tmp_path / "a"), Made(tmp_path / "b")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    made.copy_to(certificate, key)
    shown = ssl.PEM_cert_to_DER_cert(made.certificate.read_text())
    with _served(setting, certificate, key) as service:
        certificate.write_bytes(other.certificate.read_bytes())
        deadline = time.monotonic() + 20
        while "is not the key of the certificate" not in service.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert _shown(service) == shown
        time.sleep(1.5)
        assert service.log.read_text().count("was not read again") == 1
        made.copy_to(certificate, key)
        with _client(service, made.authority) as client:
            assert _predict(client, setting).status_code == 200


def test_a_service_does_not_begin_with_a_certificate_that_is_not_one(setting: Setting, tmp_path: Path) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    Made(tmp_path / "a").copy_to(certificate, key)
    certificate.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    changes = {"TLS_CERTIFICATE_FILE": str(certificate), "TLS_KEY_FILE": str(key)}
    with listening() as listener, started(setting, listener, **changes) as service:
        assert service.ready["status"] == "failed"
        assert service.ready["error"] == f"TLS_CERTIFICATE_FILE: {certificate} is not a certificate in PEM"
        assert service.process.wait(20) == 2
        assert "Traceback" not in service.log.read_text()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("mismatch", "is not the key of the certificate"),
        ("expired", "expired at"),
        ("passphrase", "has a passphrase"),
        ("open", "others can read this file; close it: chmod 600"),
        ("no key", "cannot be read (No such file or directory)"),
    ],
)
def test_each_fault_of_the_files_has_one_clear_line(tmp_path: Path, fault: str, said: str) -> None:
    made = Made(tmp_path / "a")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    made.copy_to(certificate, key)
    if fault == "mismatch":
        key.write_bytes(made.authority_key.read_bytes())
    elif fault == "expired":
        _write_expired(certificate, key)
    elif fault == "passphrase":
        _encrypt(key)
    elif fault == "open":
        key.chmod(0o644)
    else:
        key.unlink()
    with pytest.raises(SettingsError) as caught:
        Tls(TlsFiles(certificate, key))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_client_without_a_certificate_is_answered_on_health_only(setting: Setting, tmp_path: Path) -> None:
    made, stranger = Made(tmp_path / "a"), Made(tmp_path / "b")
    own = {"TLS_CLIENT_CA_FILE": str(made.authority)}
    with _served(setting, made.certificate, made.key, **own) as service:
        with _client(service, made.authority) as client:
            assert client.get("/health/ready").status_code == 200
            refused = _predict(client, setting)
            assert refused.status_code == 403
            assert refused.json()["error"]["code"] == "client_certificate_required"
            assert refused.json()["error"]["request_id"]
        with _client(service, made.authority, *_client_certificate(tmp_path, made)) as client:
            assert _predict(client, setting).status_code == 200
            refusals = client.get("/status", headers={"X-API-Key": setting.api_key}).json()["refusals"]
            assert refusals == {"client_certificate_required": 1}
        with (
            _client(service, made.authority, *_client_certificate(tmp_path, stranger)) as client,
            pytest.raises(httpx.HTTPError),
        ):
            _predict(client, setting)


def test_handshakes_that_never_end_are_bounded_and_counted(setting: Setting, tmp_path: Path) -> None:
    made = Made(tmp_path / "a")
    bounds = {"MAX_CONNECTIONS": "20", "HEADER_TIMEOUT_SECONDS": "2"}
    with _served(setting, made.certificate, made.key, **bounds) as service:
        address = (LOOPBACK, httpx.URL(service.url).port or 0)
        silent = [socket.create_connection(address) for _ in range(60)]
        with _client(service, made.authority) as client:
            assert _predict(client, setting).status_code == 200
            time.sleep(3)
            with socket.create_connection(address) as plain:
                plain.sendall(b"GET /health/live HTTP/1.1\r\nhost: here\r\n\r\n")
                plain.settimeout(5)
                with pytest.raises(ConnectionError):
                    while plain.recv(100):
                        pass
                    raise ConnectionError
            closed = client.get("/status", headers={"X-API-Key": setting.api_key}).json()["connections_closed"]
        for each in silent:
            each.close()
    assert closed["evicted"] >= 40
    assert closed["tls_handshake"] >= 15


def test_the_traffic_splitter_serves_https_in_front_of_services_on_the_loopback(
    setting: Setting, tmp_path: Path
) -> None:
    made = Made(tmp_path / "a")
    with listening() as behind, started(setting, behind) as service, listening() as listener:
        (tmp_path / "stable").mkdir()
        serving = {"serving": {"port": httpx.URL(service.url).port}}
        (tmp_path / "stable" / "status.json").write_text(json.dumps(serving))
        told = {
            "FRONT_DIRECTORY": str(tmp_path), "FRONT_STABLE": str(tmp_path / "stable"), "API_HOST": LOOPBACK,
            "API_PORT": "0", "MODEL_ID": setting.model_id, "PATH": os.environ["PATH"],
            "TLS_CERTIFICATE_FILE": str(made.certificate), "TLS_KEY_FILE": str(made.key),
        }  # fmt: skip
        command = [sys.executable, "-m", "serving.traffic_splitter", "--listen-fd", str(listener.fileno())]
        with subprocess.Popen(command, cwd=SOURCE, env=told, pass_fds=(listener.fileno(),)) as process:
            try:
                service.url = f"https://{LOOPBACK}:{listener.getsockname()[1]}"
                with _client(service, made.authority) as client:
                    client.timeout = httpx.Timeout(30)
                    assert _predict(client, setting).status_code == 200
            finally:
                process.kill()


def _client_certificate(directory: Path, made: Made) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    authority = x509.load_pem_x509_certificate(made.authority.read_bytes())
    signer = serialization.load_pem_private_key(made.authority_key.read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(authority.not_valid_before_utc)
        .not_valid_after(authority.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
        .sign(signer, hashes.SHA256())  # type: ignore[arg-type]
    )
    files = directory / "client.pem", directory / "client.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(_pem(key, serialization.NoEncryption()))
    return files


def test_files_that_become_usable_without_a_change_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.process.tls._LOOK_SECONDS", 0.05)
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    Made(tmp_path / "a").copy_to(certificate, key)
    tls = Tls(TlsFiles(certificate, key))
    with tls.reloaded():
        for change in ("closed to others", "valid by now"):
            before = tls.context
            if change == "closed to others":
                key.chmod(0o644)
                certificate.write_bytes(certificate.read_bytes())
            else:
                _write_made(certificate, key, begins=2, ends=3600)
            time.sleep(0.6)
            assert tls.context is before, change
            key.chmod(0o600)
            deadline = time.monotonic() + 10
            while tls.context is before:
                assert time.monotonic() < deadline, change
                time.sleep(0.05)


def _write_expired(certificate: Path, key: Path) -> None:
    _write_made(certificate, key, begins=-2 * 86_400, ends=-86_400)


def _write_made(certificate: Path, key: Path, *, begins: int, ends: int) -> None:
    """Writes a certificate that is valid from and until so many seconds from now."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    made = ec.generate_private_key(ec.SECP256R1())
    now, name = datetime.now(UTC), x509.Name([])
    signed = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(made.public_key())
        .serial_number(1).not_valid_before(now + timedelta(seconds=begins))
        .not_valid_after(now + timedelta(seconds=ends)).sign(made, hashes.SHA256())
    )  # fmt: skip
    key.write_bytes(_pem(made, serialization.NoEncryption()))
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))


def _encrypt(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(_pem(key, serialization.BestAvailableEncryption(b"hidden")))


def _pem(key: object, encryption: object) -> bytes:
    from cryptography.hazmat.primitives import serialization

    found: bytes = key.private_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    return found
