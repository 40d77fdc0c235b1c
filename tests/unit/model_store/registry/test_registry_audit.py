"""Who did what is recorded and cannot be changed unseen; who may do what is held."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_store import Keyring, ModelRegistry
from model_store.errors import AccessDenied, ChecksumMismatch, InvalidInput, ModelStoreError
from model_store.keys.keyring import generate_key
from model_store.registry.access import AccessPolicy
from model_store.registry.aliases import Aliases
from model_store.registry.exchange.bundles import export_model
from model_store.registry.upkeep.key_rotation import rotate_keys
from model_store.registry.upkeep.maintenance import delete_model
from tests.unit.model_store.making import KEY, intact, register

NEW_KEY = generate_key()


def test_every_change_is_in_the_audit_log_with_actor_and_reason(registry: ModelRegistry) -> None:
    model_id = register(registry)
    registry.update_model_status(model_id, "staged", reason="reviewed")
    Aliases(registry).set("m", "champion", model_id, "best")
    registry.load_model(model_id)
    records = list(registry.audit.records())
    assert [record.action for record in records] == ["register", "status", "alias", "load"]
    assert {record.actor for record in records} == {"tester"}
    assert [record.reason for record in records] == ["", "reviewed", "best", ""]
    assert [record.sequence for record in registry.audit.select(model_id=model_id, since="2000")] == [1, 2, 3, 4]
    assert registry.audit.select(actor="nobody") == []


def test_a_refusal_is_recorded(registry: ModelRegistry) -> None:
    model_id = register(registry, [1] * 100)
    path = registry.artifact_path(model_id)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelStoreError):
        registry.load_model(model_id)
    assert list(registry.audit.records())[-1].action == "refused"


def _drop(files: list[Path]) -> None:
    files[2].unlink()


def _alter(files: list[Path]) -> None:
    files[2].write_bytes(files[2].read_bytes().replace(b"tester", b"attack"))


def _swap(files: list[Path]) -> None:
    first, second = files[1].read_bytes(), files[2].read_bytes()
    files[1].write_bytes(second)
    files[2].write_bytes(first)


def _reformat(files: list[Path]) -> None:
    files[2].write_bytes(files[2].read_bytes() + b"\n")


@pytest.mark.parametrize("damage", [_drop, _alter, _swap, _reformat])
def test_a_log_that_was_tampered_with_is_found_out(
    registry: ModelRegistry, damage: Callable[[list[Path]], None]
) -> None:
    model_id = register(registry)
    for _ in range(4):
        registry.load_model(model_id)
    files = sorted(Path(registry.storage.location).glob("audit/*/*.json"))
    assert sum(1 for _ in registry.audit.records()) == 5
    damage(files)
    with pytest.raises(ChecksumMismatch):
        list(registry.audit.records())
    assert not intact(registry)


def test_the_log_goes_on_where_its_hint_is_lost_or_old(registry: ModelRegistry) -> None:
    model_id = register(registry)
    hint = Path(registry.storage.location) / "audit" / "head"
    old = hint.read_bytes()
    registry.load_model(model_id)
    hint.write_bytes(old)
    registry.load_model(model_id)
    hint.unlink()
    registry.load_model(model_id)
    assert [record.sequence for record in registry.audit.records()] == [1, 2, 3, 4]


POLICY = {
    "default": {"role": "reader"},
    "actors": {
        "pia": {"role": "publisher"},
        "rob": {"role": "promoter", "aliases": {"allow": ["*"], "deny": ["champion"]}},
        "ada": {"role": "admin"},
    },
}


def _acts() -> dict[str, Callable[[ModelRegistry, str, Path], Any]]:
    return {
        "load": lambda registry, model_id, _: registry.load_model(model_id),
        "export": lambda registry, model_id, path: export_model(registry, model_id, path / "x.bundle"),
        "register": lambda registry, _, __: register(registry),
        "status": lambda registry, model_id, _: registry.update_model_status(model_id, "staged"),
        "alias": lambda registry, model_id, _: Aliases(registry).set("m", "candidate", model_id),
        "champion": lambda registry, model_id, _: Aliases(registry).set("m", "champion", model_id),
        "rotate": lambda registry, model_id, _: rotate_keys(registry, [model_id], Keyring.of(NEW_KEY).providers),
        "delete": lambda registry, model_id, _: delete_model(registry, model_id),
    }


@pytest.mark.parametrize(
    ("actor", "allowed"),
    [
        ("stranger", {"load", "export"}),
        ("pia", {"load", "export", "register"}),
        ("rob", {"load", "export", "register", "status", "alias"}),
        ("ada", {"load", "export", "register", "status", "alias", "champion", "rotate", "delete"}),
    ],
)
def test_each_role_may_do_what_the_table_says_and_a_refusal_is_recorded(
    registry: ModelRegistry, tmp_path: Path, actor: str, allowed: set[str]
) -> None:
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))
    policy = AccessPolicy.from_file(tmp_path / "policy.json")
    for act, deed in _acts().items():
        model_id = register(registry)
        acting = ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), actor=actor, policy=policy)
        if act in allowed:
            deed(acting, model_id, tmp_path)
        else:
            with pytest.raises(AccessDenied, match=actor):
                deed(acting, model_id, tmp_path)
            assert list(registry.audit.records())[-1].action == "refused"


@pytest.mark.parametrize("content", ["", "[]", '{"actor": {}}', '{"default": {"role": "king"}}', '{"default": 1}'])
def test_an_invalid_policy_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "policy.json").write_text(content)
    with pytest.raises(InvalidInput, match=r"policy\.json"):
        AccessPolicy.from_file(tmp_path / "policy.json")
