"""A copy that is older than the audit log: what the log says is brought, and what cannot be brought is named."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_store import Keyring, ModelRegistry
from model_store.keys.keyring import generate_key
from model_store.registry.aliases import Aliases
from model_store.registry.approvals import approval_problem, read_validation
from model_store.registry.exchange.bundles import export_model, import_model
from model_store.registry.files.layout import storage_at
from model_store.registry.granting import grant
from model_store.registry.recovery.backups import backup, restore
from model_store.registry.recovery.repair import repair
from model_store.registry.serving import served_before
from model_store.registry.upkeep.key_rotation import rotate_keys
from model_store.registry.upkeep.maintenance import cleanup, delete_model, reasons_to_keep, verify_everything
from tests.unit.model_store.making import KEY, register

Bring = Callable[[Path], dict[str, Any]]


def _open(root: Path, actor: str = "alice") -> ModelRegistry:
    return ModelRegistry(root / "registry", keys=Keyring.of(KEY), actor=actor)


@pytest.fixture
def kept(tmp_path: Path) -> tuple[ModelRegistry, str]:
    """A registry with a validated version; the backup `copy` is made then."""
    registry = _open(tmp_path)
    model_id = register(registry)
    (tmp_path / "report").write_text("report")
    registry.update_model_status(model_id, "validated", evidence=tmp_path / "report")
    backup(registry, tmp_path / "copy")
    return registry, model_id


def _by_repair(root: Path) -> dict[str, Any]:
    return repair(_open(root), storage_at(root / "copy")).to_dict()


def _by_restore(root: Path) -> dict[str, Any]:
    return restore(_open(root), root / "copy")


WAYS: dict[str, Bring] = {"repair": _by_repair, "restore": _by_restore}
BOTH = pytest.mark.parametrize("way", sorted(WAYS))


def _directory(root: Path, model_id: str) -> Path:
    return root / "registry" / "models" / "m" / model_id


def _lose(root: Path, model_id: str, what: str = "state.json") -> None:
    place = _directory(root, model_id)
    shutil.rmtree(place) if what == "version" else (place / what).write_bytes(b"")


def _wrong(root: Path) -> dict[str, str]:
    return {each.subject: each.detail for each in verify_everything(_open(root)) if not each.intact}


@BOTH
@pytest.mark.parametrize("lost", ["state.json", "version"])
def test_an_archived_version_stays_archived(
    tmp_path: Path, kept: tuple[ModelRegistry, str], way: str, lost: str
) -> None:
    registry, model_id = kept
    registry.update_model_status(model_id, "archived", reason="leaks data")
    number = registry.audit.head().sequence
    _lose(tmp_path, model_id, lost)
    told = WAYS[way](tmp_path)
    key = f"models/m/{model_id}/state.json"
    assert told["newer"] == {key: [f"archived (audit record {number})"]}
    assert not told["damaged"]
    assert _open(tmp_path).get_metadata(model_id).status == "archived"
    last = _open(tmp_path).state(model_id)["history"][-1]
    assert (last["by"], last["why"], last["record"]) == ("alice", "leaks data", number)
    assert _wrong(tmp_path) == {}


def test_every_status_since_is_brought_in_its_order(tmp_path: Path, kept: tuple[ModelRegistry, str]) -> None:
    registry, model_id = kept
    for status in ("staged", "archived", "deprecated"):
        registry.update_model_status(model_id, status)
    _lose(tmp_path, model_id)
    assert len(_by_repair(tmp_path)["newer"][f"models/m/{model_id}/state.json"]) == 3
    history = [entry["status"] for entry in _open(tmp_path).state(model_id)["history"]]
    assert history == ["trained", "validated", "staged", "archived", "deprecated"]


@BOTH
def test_a_validation_comes_back_with_its_evidence_only(tmp_path: Path, way: str) -> None:
    registry = _open(tmp_path)
    first, second = register(registry, 1), register(registry, 2)
    backup(registry, tmp_path / "copy")
    (tmp_path / "report").write_text("report")
    for each in (first, second):
        registry.update_model_status(each, "validated", reason="passed", evidence=tmp_path / "report")
        _lose(tmp_path, each)
    shutil.rmtree(_directory(tmp_path, second) / "evidence")
    told = WAYS[way](tmp_path)
    fresh = _open(tmp_path)
    found = read_validation(fresh.state(first))
    assert found is not None
    assert (found["by"], found["reason"], len(found["evidence"])) == ("alice", "passed", 1)
    assert [str(fresh.get_metadata(each).status) for each in (first, second)] == ["validated", "trained"]
    assert list(told["damaged"]) == [f"models/m/{second}/state.json"]
    assert "validated (audit record 5)" in told["damaged"][f"models/m/{second}/state.json"]
    assert "validated" in _wrong(tmp_path)[f"{second} state"], "it stays named"
    fresh.update_model_status(second, "validated", evidence=tmp_path / "report")
    assert _wrong(tmp_path) == {}


@BOTH
def test_a_lost_approval_is_named_and_not_made_from_the_log(
    tmp_path: Path, kept: tuple[ModelRegistry, str], way: str
) -> None:
    registry, model_id = kept
    grant(registry, "bob", "promoter")
    _open(tmp_path, "bob").approve(model_id, tmp_path / "report", "read it")
    _lose(tmp_path, model_id)
    told = WAYS[way](tmp_path)
    key = f"models/m/{model_id}/state.json"
    assert "says that bob approved it (audit record" in told["damaged"][key]
    assert approval_problem(_open(tmp_path), model_id) == "nobody has approved it"
    assert "bob approved it" in _wrong(tmp_path)[f"{model_id} state"]
    _open(tmp_path, "bob").approve(model_id, tmp_path / "report", "read it again")
    assert _wrong(tmp_path) == {}


@BOTH
def test_what_serves_serves_on(tmp_path: Path, kept: tuple[ModelRegistry, str], way: str) -> None:
    registry, model_id = kept
    registry.record_deployment(model_id, environment="production", deployment_id="d1", checked=True)
    _lose(tmp_path, model_id)
    told = WAYS[way](tmp_path)
    assert told["newer"][f"models/m/{model_id}/state.json"] == ["serves in production (d1) (audit record 5)"]
    fresh = _open(tmp_path)
    assert (str(fresh.get_metadata(model_id).status), list(fresh.get_metadata(model_id).serving)) == (
        "deployed",
        ["production"],
    )
    assert "is deployed in production" in reasons_to_keep(fresh)[model_id]
    assert not served_before(fresh.state(model_id), "production"), "a log opens no way back"
    assert _wrong(tmp_path) == {}


def test_a_deployment_whose_end_is_not_recorded_is_named(tmp_path: Path, kept: tuple[ModelRegistry, str]) -> None:
    registry, model_id = kept
    registry.audit.append("deploy", model_id, environment="production", intent="deploy it")
    registry.audit.append("pause", "", environment="production", intent="review")
    _lose(tmp_path, model_id)
    damaged = _by_repair(tmp_path)["damaged"][f"models/m/{model_id}/state.json"]
    assert "serves in production (deploy whose end is not recorded) (audit record 4)" in damaged


@BOTH
@pytest.mark.parametrize("end", ["another", "destroy"])
def test_what_no_longer_serves_does_not_serve_again(tmp_path: Path, way: str, end: str) -> None:
    registry = _open(tmp_path)
    old, new = register(registry, 1), register(registry, 2)
    registry.record_deployment(old, environment="production", deployment_id="d1")
    backup(registry, tmp_path / "copy")
    if end == "another":
        registry.record_deployment(new, environment="production", deployment_id="d2")
    else:
        registry.audit.append("destroy", old, environment="production", outcome="succeeded")
        registry.record_end("production")
    _lose(tmp_path, old)
    WAYS[way](tmp_path)
    fresh = _open(tmp_path)
    assert (str(fresh.get_metadata(old).status), fresh.state(old)["serving"]) == ("trained", {})
    assert fresh.state(old)["deployments"][0]["deployment_id"] == "d1"
    fresh.update_model_status(old, "archived")
    assert _wrong(tmp_path) == {}


@BOTH
@pytest.mark.parametrize("change", ["removed", "moved", "set since"])
def test_an_alias_points_where_the_log_says(tmp_path: Path, way: str, change: str) -> None:
    registry = _open(tmp_path)
    old, new = register(registry, 1), register(registry, 2)
    aliases = Aliases(registry)
    aliases.set("m", "next", new)
    if change != "set since":
        aliases.set("m", "champion", old)
    backup(registry, tmp_path / "copy")
    if change == "removed":
        aliases.remove("m", "champion", "leaks data")
    else:
        aliases.set("m", "champion", new)
    (tmp_path / "registry" / "aliases" / "m.json").write_text("{")
    told = WAYS[way](tmp_path)
    wanted = "removed" if change == "removed" else new
    (line,) = told["newer"]["aliases/m.json"]
    assert line.startswith(f"{wanted} (audit record ")
    assert Aliases(_open(tmp_path)).all() == {"m": {"next": new} | ({} if change == "removed" else {"champion": new})}
    assert _wrong(tmp_path) == {}
    assert Aliases(_open(tmp_path)).history("m", "champion")[-1]["by"] == "alice"


def test_an_alias_file_that_no_copy_has_is_made_from_the_log(tmp_path: Path) -> None:
    registry = _open(tmp_path)
    model_id = register(registry)
    backup(registry, tmp_path / "copy")
    Aliases(registry).set("m", "champion", model_id, "best")
    (tmp_path / "registry" / "aliases" / "m.json").unlink()
    assert _by_repair(tmp_path)["damaged"] == {}
    assert Aliases(_open(tmp_path)).all() == {"m": {"champion": model_id}}
    assert _wrong(tmp_path) == {}


def test_an_alias_of_a_version_that_is_gone_is_named(tmp_path: Path) -> None:
    registry = _open(tmp_path)
    old = register(registry, 1)
    Aliases(registry).set("m", "champion", old)
    backup(registry, tmp_path / "copy")
    new = register(registry, 2)
    Aliases(registry).set("m", "champion", new)
    shutil.rmtree(_directory(tmp_path, new))
    (tmp_path / "registry" / "aliases" / "m.json").write_text("{")
    assert new in _by_repair(tmp_path)["damaged"]["aliases/m.json"]
    assert Aliases(_open(tmp_path)).all() == {"m": {}}, "and it does not go back to the version of before"
    assert {"m@champion state", new} <= set(_wrong(tmp_path))


def test_an_older_state_that_somebody_put_in_place_is_named(tmp_path: Path, kept: tuple[ModelRegistry, str]) -> None:
    registry, model_id = kept
    registry.update_model_status(model_id, "archived", reason="leaks data")
    shutil.copy(tmp_path / "copy" / "models" / "m" / model_id / "state.json", _directory(tmp_path, model_id))
    found = {each.subject: each for each in verify_everything(_open(tmp_path))}
    # A command that was killed after its record leaves the same.
    assert found[f"{model_id} state"].intact
    assert "audit record 4 says archived" in found[f"{model_id} state"].detail


def test_the_state_of_another_registry_gets_the_words_of_the_own_log(tmp_path: Path) -> None:
    registry, other = _open(tmp_path), ModelRegistry(tmp_path / "copy", keys=Keyring.of(KEY), actor="alice")
    model_id = register(other)
    export_model(other, model_id, tmp_path / "m.bundle")
    import_model(registry, tmp_path / "m.bundle")
    registry.update_model_status(model_id, "archived", reason="leaks data")
    _lose(tmp_path, model_id)
    _by_repair(tmp_path)
    assert _open(tmp_path).get_metadata(model_id).status == "archived"


def test_a_version_that_came_anew_does_not_get_its_former_state(
    tmp_path: Path, kept: tuple[ModelRegistry, str]
) -> None:
    registry, model_id = kept
    grant(registry, "bob", "promoter")
    _open(tmp_path, "bob").approve(model_id, tmp_path / "report", "read it")
    backup(registry, tmp_path / "copy")
    export_model(registry, model_id, tmp_path / "m.bundle")
    time.sleep(1.1)  # a state knows whole seconds
    delete_model(registry, model_id, "leaks data")
    import_model(_open(tmp_path), tmp_path / "m.bundle")
    assert _wrong(tmp_path) == {}
    _lose(tmp_path, model_id)
    _by_repair(tmp_path)
    fresh = _open(tmp_path)
    assert fresh.get_metadata(model_id).status == "trained"
    assert "deleted, and brought again" in approval_problem(fresh, model_id)
    assert _wrong(tmp_path) == {}


def test_an_artifact_for_the_keys_of_before_is_named(tmp_path: Path, kept: tuple[ModelRegistry, str]) -> None:
    registry, model_id = kept
    new = generate_key()
    rotate_keys(registry, [], Keyring.of(new).providers)
    _lose(tmp_path, model_id, "artifact")
    told = _by_repair(tmp_path)
    assert "of before the rotation to" in told["damaged"][f"models/m/{model_id}/artifact"]
    assert f"rotate-key {model_id} --new-key FILE" in _wrong(tmp_path)[f"{model_id} keys"]
    fresh = ModelRegistry(tmp_path / "registry", keys=Keyring.of(new, KEY), actor="alice")
    assert fresh.get_metadata(model_id).key_ids == fresh.key_ids(model_id), "the state tells which key opens it"
    rotate_keys(fresh, [], Keyring.of(new).providers)
    assert _wrong(tmp_path) == {}
    ModelRegistry(tmp_path / "registry", keys=Keyring.of(new)).require_key(model_id)


def test_a_state_of_before_a_rotation_names_the_keys_of_now(tmp_path: Path, kept: tuple[ModelRegistry, str]) -> None:
    registry, model_id = kept
    new = generate_key()
    rotate_keys(registry, [], Keyring.of(new).providers)
    _lose(tmp_path, model_id)
    assert _by_repair(tmp_path)["damaged"] == {}
    fresh = ModelRegistry(tmp_path / "registry", keys=Keyring.of(new), actor="alice")
    assert fresh.get_metadata(model_id).key_ids == fresh.key_ids(model_id)
    assert cleanup(fresh, 1, dry_run=True) == ([], {})


def test_the_second_record_tells_which_states_came(tmp_path: Path, kept: tuple[ModelRegistry, str]) -> None:
    registry, model_id = kept
    _lose(tmp_path, model_id)
    _by_repair(tmp_path)
    record = list(registry.audit.records())[-1]
    assert (record.action, record.details["states"], record.details["aliases"]) == ("repair", [model_id], [])
    json.dumps(record.to_dict())
