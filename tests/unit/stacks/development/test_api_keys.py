"""API keys that are made for an environment: shown once, kept as a hash, taken by the service."""

import stat
from pathlib import Path

import pytest

from infra.errors import ConfigError
from serving.http.auth import ApiKeys
from stacks.development.api_keys import add_api_key
from stacks.errors import UnknownEnvironment


def test_the_service_knows_the_key_and_the_file_does_not(tmp_path: Path) -> None:
    key, path = add_api_key(tmp_path, "staging", "checkout-service", ["predict"], 50)
    assert path == tmp_path / ".secrets" / "staging" / "api_keys.json"
    assert key not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    found = ApiKeys.from_file(path).find(key.encode(), b"")
    assert found is not None
    assert (found.name, found.scopes, found.requests_per_second) == ("checkout-service", {"predict"}, 50)
    assert ApiKeys.from_file(path).find(b"", f"Bearer {key}".encode()) == found
    assert ApiKeys.from_file(path).find(key[:-1].encode(), b"") is None


def test_each_environment_has_keys_of_its_own(tmp_path: Path) -> None:
    first, _ = add_api_key(tmp_path, "staging", "a", ["predict"])
    second, path = add_api_key(tmp_path, "production", "a", ["predict"])
    assert first != second
    assert ApiKeys.from_file(path).find(first.encode(), b"") is None


@pytest.mark.parametrize(
    ("name", "rate", "message"),
    [("a", None, "has a key of the name 'a' already"), ("a b", None, "not allowed"), ("b", 0.0, "above 0")],
)
def test_a_mistake_is_refused_and_changes_nothing(tmp_path: Path, name: str, rate: float | None, message: str) -> None:
    _, path = add_api_key(tmp_path, "staging", "a", ["predict"])
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=message):
        add_api_key(tmp_path, "staging", name, ["predict"], rate)
    assert path.read_bytes() == before


def test_a_damaged_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / ".secrets" / "staging" / "api_keys.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(ConfigError, match="not a file of API keys"):
        add_api_key(tmp_path, "staging", "a", ["predict"])
    assert path.read_text() == "{"


def test_an_unknown_environment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownEnvironment):
        add_api_key(tmp_path, "moon", "a", ["predict"])
