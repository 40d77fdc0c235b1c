"""An `https://` endpoint of this machine: its certificate of development, and how the project's commands verify it."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

from components.development_certificate import ensure_development_certificate, is_due
from components.process_supervision import is_serving, needs_certificate, serve, stop
from conventions.endpoint_tls import AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE, verification
from scripts.endpoint_trust import curl_option, trust_lines
from stacks.checks.alerts import measured
from tests.checkout import SOURCE
from tests.service import Setting


@contextmanager
def _endpoint(checkout: Path, setting: Setting, **more: Any) -> Iterator[dict[str, Any]]:
    version = setting.registry.get_metadata(setting.model_id)
    arguments = {
        "deployment_name": "test", "environment": "development", "model_id": setting.model_id,
        "model_uri": setting.registry.artifact_path(setting.model_id).parent.as_uri(), "model_digest": version.digest,
        "host": "127.0.0.1", "port": 0, "model_key_file": str(setting.directory / "model.key"),
        "api_keys_file": str(setting.directory / "api_keys.json"), "checkout": str(checkout), "log_level": "INFO",
        "ready_timeout_seconds": 120, **more,
    }  # fmt: skip
    try:
        yield {**arguments, **serve(arguments)}
    finally:
        stop(arguments)


def test_a_local_https_endpoint_has_a_certificate_that_the_commands_verify(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    files = {"TLS_CERTIFICATE_FILE": str(tmp_path / CERTIFICATE_FILE), "TLS_KEY_FILE": str(tmp_path / KEY_FILE)}
    with _endpoint(tmp_path, setting, variables=files, development_host="127.0.0.1") as endpoint:
        url = endpoint["url"]
        assert url.startswith("https://127.0.0.1:")
        assert is_serving(endpoint)
        assert not needs_certificate(endpoint)
        key = tmp_path / "key"
        key.write_text(setting.api_key)
        assert measured(url, key, verification(url, tmp_path))["requests"] >= 0
        with pytest.raises(httpx.ConnectError, match="verify failed"):
            httpx.get(url, trust_env=False)
        said = "\n".join(trust_lines(tmp_path, url))
        assert f"--cacert {tmp_path / AUTHORITY_FILE}" in said
        assert curl_option(tmp_path, url) == "--cacert .secrets/tls/authority.pem "
    for path in (AUTHORITY_FILE, ".secrets/tls/authority.key", CERTIFICATE_FILE, KEY_FILE):
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o600
    assert trust_lines(tmp_path, "https://api.example.com") == []


def test_a_certificate_of_development_stays_until_its_host_changes_or_it_ends(tmp_path: Path) -> None:
    def read(path: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate((tmp_path / path).read_bytes())

    ensure_development_certificate(tmp_path, "127.0.0.1")
    authority, certificate = read(AUTHORITY_FILE), read(CERTIFICATE_FILE)
    ensure_development_certificate(tmp_path, "localhost")
    assert (read(AUTHORITY_FILE), read(CERTIFICATE_FILE)) == (authority, certificate)
    (tmp_path / KEY_FILE).write_text("broken")
    assert is_due(tmp_path)
    ensure_development_certificate(tmp_path, "127.0.0.1")
    assert read(AUTHORITY_FILE) == authority
    assert read(CERTIFICATE_FILE) != certificate
    ensure_development_certificate(tmp_path, "scoring.internal")
    assert read(AUTHORITY_FILE) != authority, "the authority before may not sign for this host"
    permitted = read(AUTHORITY_FILE).extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees
    assert {str(each.value) for each in permitted or []} == {
        "scoring.internal", "localhost", "127.0.0.1/32", "::1/128"
    }  # fmt: skip
    assert not is_due(tmp_path)
