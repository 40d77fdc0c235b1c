"""API keys that come, go, expire and are rotated while the service runs."""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.errors import ApiKeysError
from serving.http.auth import ApiKeys, hash_api_key, new_api_key
from tests.service import GOOD, Service, Setting, listening, started


def _write(path: Path, *keys: str, **more: Any) -> None:
    """Writes a new file and puts it in place of the one before, as editors and the command do."""
    entries = [
        {"name": f"key-{number}", "sha256": hash_api_key(key), "scopes": ["predict", "admin"], **more}
        for number, key in enumerate(keys)
    ]
    staging = path.with_name("new")
    staging.write_text(json.dumps({"keys": entries}))
    staging.chmod(0o600)
    staging.replace(path)


def _status(service: Service, key: str) -> int:
    headers = {"X-API-Key": key}
    answer = httpx.post(f"{service.url}/predict", json={"transaction": GOOD}, headers=headers, trust_env=False)
    return answer.status_code


def _becomes(service: Service, key: str, status: int, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if _status(service, key) == status:
            return True
        time.sleep(0.1)
    return False


def test_a_new_key_works_and_a_revoked_one_does_not_within_seconds(setting: Setting, tmp_path: Path) -> None:
    first, second = new_api_key(), new_api_key()
    file = tmp_path / "api_keys.json"
    _write(file, first)
    with listening() as listener, started(setting, listener, API_KEYS_FILE=str(file)) as service:
        assert (_status(service, first), _status(service, second)) == (200, 401)
        _write(file, first, second)
        assert _becomes(service, second, 200)
        assert _status(service, first) == 200
        found = httpx.get(f"{service.url}/status", headers={"X-API-Key": first}, trust_env=False).json()["keys"]
        assert [(key["name"], key["last_used"] is not None) for key in found] == [("key-0", True), ("key-1", True)]
        assert abs(found[0]["last_used"] - time.time()) < 5
        _write(file, second)
        assert _becomes(service, first, 401)
        for content in ("", "{", '{"keys": []}'):
            file.write_text(content)
            time.sleep(1.2)
            assert _status(service, second) == 200, "a file that cannot be used changes nothing"
        file.unlink()
        time.sleep(1.2)
        assert _status(service, second) == 200
        assert "the API keys were not read again" in service.log.read_text()
        _write(file, first)
        assert _becomes(service, second, 401)
        assert first not in service.log.read_text()


def test_a_mounted_secret_is_read_again_when_its_link_moves(setting: Setting, tmp_path: Path) -> None:
    first, second = new_api_key(), new_api_key()
    for name, key in (("..1", first), ("..2", second)):
        (tmp_path / name).mkdir()
        _write(tmp_path / name / "api_keys.json", key)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "api_keys.json").symlink_to("..data/api_keys.json")
    with listening() as listener, started(setting, listener, API_KEYS_FILE=str(tmp_path / "api_keys.json")) as service:
        assert _status(service, first) == 200
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        assert _becomes(service, second, 200)
        assert _status(service, first) == 401


def test_a_key_is_unknown_once_it_has_expired(tmp_path: Path) -> None:
    key, file = new_api_key(), tmp_path / "api_keys.json"
    now = datetime.now(UTC)
    for shift, known in ((60, True), (-1, False)):
        _write(file, key, expires=(now + timedelta(seconds=shift)).isoformat(), created=now.isoformat())
        assert (ApiKeys.from_file(file).find(key.encode(), b"") is not None) is known
    for text in ("soon", "2027-01-01", 5):
        _write(file, key, expires=text)
        with pytest.raises(ApiKeysError, match="allowed: a time such as"):
            ApiKeys.from_file(file)


def test_a_file_that_is_closed_to_others_is_read_without_another_change(setting: Setting, tmp_path: Path) -> None:
    first, second = new_api_key(), new_api_key()
    file = tmp_path / "api_keys.json"
    _write(file, first)
    with listening() as listener, started(setting, listener, API_KEYS_FILE=str(file)) as service:
        file.chmod(0o644)
        _write(file.with_name("other"), second)
        file.write_bytes(file.with_name("other").read_bytes())
        _until_logged(service, "others can read this file")
        assert (_status(service, first), _status(service, second)) == (200, 401)
        file.chmod(0o600)
        assert _becomes(service, second, 200)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scopes", [["predict"]]),
        ("scopes", [{}]),
        ("scopes", "predict"),
        ("requests_per_second", 10**400),
        ("requests_per_second", 1e308),
        ("expires", [1]),
        ("sha256", None),
        ("name", "\ud800"),
    ],
)
def test_a_field_that_is_not_one_is_named(tmp_path: Path, name: str, value: Any) -> None:
    file = tmp_path / "api_keys.json"
    _write(file, new_api_key(), **{name: value})
    with pytest.raises(ApiKeysError) as caught:
        ApiKeys.from_file(file)
    assert len(str(caught.value)) < 400


def test_no_content_of_the_file_ends_the_look_at_it(setting: Setting, tmp_path: Path) -> None:
    first, second = new_api_key(), new_api_key()
    file = tmp_path / "api_keys.json"
    _write(file, first)
    with listening() as listener, started(setting, listener, API_KEYS_FILE=str(file)) as service:
        broken = [
            lambda: _write(file, first, scopes=[["predict"]]),
            lambda: file.write_text("[" * 100_000),
            lambda: file.write_bytes(b"\xff\xfe"),
            lambda: (file.unlink(), file.mkdir()),
            lambda: (file.rmdir(), file.symlink_to("/dev/zero")),
            lambda: (file.unlink(), file.symlink_to(file.name)),
            lambda: (file.unlink(), os.mkfifo(file)),
        ]
        for number, write in enumerate(broken):
            write()
            time.sleep(1.2)
            assert _status(service, first) == 200, number
        assert service.log.read_text().count("the API keys were not read again") >= len(broken)
        file.unlink()
        _write(file, second)
        assert _becomes(service, second, 200)
        assert _status(service, first) == 401


def _until_logged(service: Service, text: str, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while text not in service.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
