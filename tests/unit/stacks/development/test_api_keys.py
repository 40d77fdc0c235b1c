"""API keys that are made for an environment: shown once, kept as a hash, taken by the service."""

import stat
from pathlib import Path

import pytest

from infra.errors import ConfigError
from model_store import ModelRegistry
from model_store.decisions.receipt_keys import ReceiptKey, ReceiptKeys
from model_store.errors import AccessDenied
from model_store.keys.keyring import ensure_key_file, read_key_file
from model_store.registry.access import AccessPolicy, Rights, Role
from serving.http.auth import ApiKeys
from stacks.deployment import ModelDeployment
from stacks.development.api_keys import (
    add_api_key,
    keep_receipt_key,
    list_api_keys,
    recorded_key_change,
    revoke_api_key,
    rotate_api_key,
)
from stacks.errors import UnknownEnvironment
from tests.stack_file import CHECKOUT


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


def _reader(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "registry", actor="eve", policy=AccessPolicy(default=Rights(Role.READER)))


def _add_recorded(registry: ModelRegistry, checkout: Path) -> tuple[str, Path]:
    return recorded_key_change(
        registry, "staging", "a", "a: predict", lambda: add_api_key(checkout, "staging", "a", ["predict"])
    )


def test_a_key_needs_the_role_promoter_and_is_recorded_without_the_key(tmp_path: Path) -> None:
    with pytest.raises(AccessDenied, match="api-key needs the role promoter"):
        _add_recorded(_reader(tmp_path), tmp_path)
    assert not (tmp_path / ".secrets").exists()
    registry = ModelRegistry(tmp_path / "registry", actor="tester")
    key, _ = _add_recorded(registry, tmp_path)
    with pytest.raises(ConfigError, match="already"):
        _add_recorded(registry, tmp_path)
    refused, *records = registry.audit.records()
    assert (refused.action, refused.details["attempted"]) == ("refused", "api-key")
    assert [record.action for record in records] == ["api-key"] * 4
    assert [record.details.get("outcome") for record in records] == [None, "succeeded", None, "failed"]
    assert records[0].details["intent"] == "a: predict"
    assert records[0].details["environment"] == "staging"
    assert all(key not in str(record.to_dict()) for record in records)


def test_unlocking_needs_the_role_promoter(tmp_path: Path) -> None:
    with pytest.raises(AccessDenied, match="unlock needs the role promoter"):
        ModelDeployment(checkout=tmp_path, registry=_reader(tmp_path)).unlock("development")
    (record,) = _reader(tmp_path).audit.records()
    assert (record.action, record.details["environment"]) == ("refused", "development")


def test_both_keys_are_valid_while_one_is_rotated(tmp_path: Path) -> None:
    former, path = add_api_key(tmp_path, "staging", "a", ["predict"], 50)
    new, until, _ = rotate_api_key(tmp_path, "staging", "a", 1)
    keys = ApiKeys.from_file(path)
    for key in (former, new):
        found = keys.find(key.encode(), b"")
        assert found is not None
        assert (found.name, found.scopes, found.requests_per_second) == ("a", {"predict"}, 50)
    assert [entry["expires"] for entry in list_api_keys(tmp_path, "staging")] == [until, None]
    with pytest.raises(ConfigError, match="is being rotated already"):
        rotate_api_key(tmp_path, "staging", "a", 1)


def test_without_an_overlap_the_former_key_ends_at_once(tmp_path: Path) -> None:
    former, path = add_api_key(tmp_path, "staging", "a", ["predict"])
    new, _, _ = rotate_api_key(tmp_path, "staging", "a", 0)
    assert ApiKeys.from_file(path).find(former.encode(), b"") is None
    newest, _, _ = rotate_api_key(tmp_path, "staging", "a", 0)
    assert len(list_api_keys(tmp_path, "staging")) == 2, "what has expired is removed by the next rotation"
    assert ApiKeys.from_file(path).find(new.encode(), b"") is None
    assert ApiKeys.from_file(path).find(newest.encode(), b"") is not None


def test_a_revoked_key_is_gone_and_the_last_one_stays(tmp_path: Path) -> None:
    key, path = add_api_key(tmp_path, "staging", "a", ["predict"])
    with pytest.raises(ConfigError, match="is the last key"):
        revoke_api_key(tmp_path, "staging", "a")
    add_api_key(tmp_path, "staging", "b", ["admin"], expires="2999-01-01")
    assert revoke_api_key(tmp_path, "staging", "a") == (1, path)
    assert ApiKeys.from_file(path).find(key.encode(), b"") is None
    assert [entry["name"] for entry in list_api_keys(tmp_path, "staging")] == ["b"]
    with pytest.raises(ConfigError, match="has no key of the name 'a'"):
        revoke_api_key(tmp_path, "staging", "a")


@pytest.mark.parametrize(("expires", "message"), [("soon", "is not a time"), ("2001-01-01", "would never be valid")])
def test_a_time_that_is_none_is_refused(tmp_path: Path, expires: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        add_api_key(tmp_path, "staging", "a", ["predict"], expires=expires)
    assert not (tmp_path / ".secrets").exists()


def test_a_former_key_of_receipts_is_kept_sealed_and_the_api_keys_stay(tmp_path: Path) -> None:
    _, path = add_api_key(tmp_path, "development", "a", ["predict"])
    (tmp_path / "Pulumi.dev.yaml").write_text((CHECKOUT / "Pulumi.dev.yaml").read_text())
    first, second, third = (ensure_key_file(tmp_path / name) for name in ("first.key", "second.key", "third.key"))
    with pytest.raises(ConfigError, match="name the one of before"):
        keep_receipt_key(tmp_path, "development", first, first)
    named = [keep_receipt_key(tmp_path, "development", *keys)[0] for keys in ((second, first), (third, second))]
    add_api_key(tmp_path, "development", "b", ["predict"])
    found = ApiKeys.from_file(path)
    assert [key.name for key in found.known] == ["a", "b"]
    deployment = ("development", "fraud-detection-dev")
    keys = ReceiptKeys.of_deployment(read_key_file(third), *deployment, found.receipt_keys)
    own = [ReceiptKey.derive(read_key_file(each), *deployment).key_id for each in (third, first, second)]
    assert [key.key_id for key in keys.known] == own
    assert named == own[1:]
    assert ReceiptKeys.of_deployment(read_key_file(first), *deployment, found.receipt_keys).known[1:] == ()
