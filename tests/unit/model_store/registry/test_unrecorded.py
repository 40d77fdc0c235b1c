"""Whoever may write a backup or a file decides nothing: what no record tells of is left out, or named."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_store import Keyring, ModelRegistry
from model_store.registry.aliases import Aliases
from model_store.registry.approvals import approval_problem, read_validation
from model_store.registry.exchange.bundles import export_model, import_model
from model_store.registry.files.layout import storage_at
from model_store.registry.granting import grant
from model_store.registry.log.audit import UPDATE
from model_store.registry.recovery.backups import backup, restore
from model_store.registry.recovery.repair import repair
from model_store.registry.serving import begin_serving, served_before
from model_store.registry.upkeep.maintenance import verify_everything
from tests.unit.model_store.making import KEY, register

_AT = "2026-11-27T10:00:00Z"
_EVIDENCE = b"recall 0.99"
_SHA256 = hashlib.sha256(_EVIDENCE).hexdigest()


def _open(root: Path, actor: str = "alice") -> ModelRegistry:
    return ModelRegistry(root / "registry", keys=Keyring.of(KEY), actor=actor)


@pytest.fixture
def known(tmp_path: Path) -> str:
    """A version that nobody has decided about, and its backup."""
    registry = _open(tmp_path)
    model_id = register(registry)
    grant(registry, "bob", "promoter")
    backup(registry, tmp_path / "copy")
    return model_id


def _version(root: Path, model_id: str) -> Path:
    return root / "models" / "m" / model_id


def _forge(version: Path) -> None:
    """Decisions in a state that nobody made: validated and approved on evidence, and run in production."""
    manifest = f"sha256:{hashlib.sha256((version / 'manifest.json').read_bytes()).hexdigest()}"
    state = json.loads((version / "state.json").read_text())
    decided = {"at": _AT, "by": "bob", "reason": "read it"}
    state |= {"status": "validated", "validated": {**decided, "evidence": [_SHA256]}}
    state["approvals"] = [{**decided, "manifest": manifest, "evidence": _SHA256}]
    state["evidence"] = [{"sha256": _SHA256, "name": "report", "for": "approved", "at": _AT, "by": "bob"}]
    state["history"].append({"status": "validated", "at": _AT, "by": "bob", "why": "read it"})
    state["deployments"].append({"environment": "production", "deployment_id": "d9", "at": _AT})
    (version / "state.json").write_text(json.dumps(state))
    (version / "evidence").mkdir(exist_ok=True)
    (version / "evidence" / _SHA256).write_bytes(_EVIDENCE)


def _require_undecided(registry: ModelRegistry, model_id: str) -> None:
    state = registry.state(model_id)
    assert state["status"] == "trained"
    assert read_validation(state) is None
    assert approval_problem(registry, model_id) == "nobody has approved it"
    assert not served_before(state, "production")


def _wrong(registry: ModelRegistry) -> dict[str, str]:
    return {each.subject: each.detail for each in verify_everything(registry) if not each.intact}


@pytest.mark.parametrize("bring", [repair, restore])
@pytest.mark.parametrize("lost", ["state", "version"])
def test_a_copy_brings_no_decision_that_no_record_tells_of(
    tmp_path: Path, known: str, lost: str, bring: Callable[..., Any]
) -> None:
    _forge(_version(tmp_path / "copy", known))
    version = _version(tmp_path / "registry", known)
    if lost == "state":
        (version / "state.json").write_bytes(b"{")
    else:
        shutil.rmtree(version)
    registry = _open(tmp_path)
    copy = tmp_path / "copy"
    answer = repair(registry, storage_at(copy)).to_dict() if bring is repair else restore(registry, copy)
    (told,) = answer["damaged"].values()
    assert "no record of the audit log tells of it: bob approved it, it was deployed in production (d9)" in told
    assert "it is validated" in told
    _require_undecided(_open(tmp_path), known)
    assert not _wrong(_open(tmp_path))


def test_a_restore_into_a_new_registry_brings_none_either(tmp_path: Path, known: str) -> None:
    _forge(_version(tmp_path / "copy", known))
    shutil.rmtree(tmp_path / "registry")
    assert restore(_open(tmp_path), tmp_path / "copy")["damaged"]
    _require_undecided(_open(tmp_path), known)


def test_a_copy_that_passes_for_another_registry_decides_nothing_about_a_version_of_this_one(
    tmp_path: Path, known: str
) -> None:
    _forge(_version(tmp_path / "copy", known))
    shutil.rmtree(tmp_path / "copy" / "audit")
    (_version(tmp_path / "registry", known) / "state.json").write_bytes(b"{")
    outcome = repair(_open(tmp_path), storage_at(tmp_path / "copy"))
    assert "it is validated" in str(outcome.damaged)
    _require_undecided(_open(tmp_path), known)


def test_a_copy_without_a_log_opens_no_door_to_the_next_one(tmp_path: Path, known: str) -> None:
    shutil.copytree(tmp_path / "copy", tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "audit")
    state = _version(tmp_path / "registry", known) / "state.json"
    state.unlink()
    repair(_open(tmp_path), storage_at(tmp_path / "bare"))
    _forge(_version(tmp_path / "copy", known))
    state.unlink()
    assert "it is validated" in str(repair(_open(tmp_path), storage_at(tmp_path / "copy")).damaged)
    _require_undecided(_open(tmp_path), known)
    _forge(_version(tmp_path / "registry", known))
    assert f"{known} decisions" in _wrong(_open(tmp_path))


def test_what_another_registry_decided_about_its_versions_is_no_finding_here(tmp_path: Path, known: str) -> None:
    theirs = ModelRegistry(tmp_path / "theirs", keys=Keyring.of(KEY), actor="carol")
    model_id = register(theirs, name="theirs")
    (tmp_path / "report").write_bytes(_EVIDENCE)
    theirs.update_model_status(model_id, "validated", evidence=tmp_path / "report")
    Aliases(theirs).set("theirs", "champion", model_id)
    assert not repair(_open(tmp_path), theirs.storage).damaged
    assert str(_open(tmp_path).get_metadata(model_id).status) == "validated"
    assert not _wrong(_open(tmp_path))
    backup(_open(tmp_path), tmp_path / "copy")
    (_version(tmp_path / "registry", model_id).parents[1] / "theirs" / model_id / "state.json").unlink()
    assert not repair(_open(tmp_path), storage_at(tmp_path / "copy")).damaged
    assert not _wrong(_open(tmp_path))


def test_decisions_in_a_state_that_no_record_tells_of_are_named(tmp_path: Path, known: str) -> None:
    assert not _wrong(_open(tmp_path))
    _forge(_version(tmp_path / "registry", known))
    wrong = _wrong(_open(tmp_path))
    assert list(wrong) == [f"{known} decisions"]
    assert "bob approved it, it was deployed in production (d9), it is validated" in wrong[f"{known} decisions"]


def test_what_was_decided_and_recorded_comes_back_whole(tmp_path: Path, known: str) -> None:
    registry, report = _open(tmp_path), tmp_path / "report"
    report.write_bytes(_EVIDENCE)
    registry.update_model_status(known, "validated", evidence=report)
    _open(tmp_path, "bob").approve(known, report, "read it")
    registry.record_deployment(known, environment="staging", deployment_id="d1", checked=True)
    before = registry.state(known)
    backup(registry, tmp_path / "copy")
    (_version(tmp_path / "registry", known) / "state.json").unlink()
    assert not repair(_open(tmp_path), storage_at(tmp_path / "copy")).damaged
    assert _open(tmp_path).state(known) == before
    assert not _wrong(_open(tmp_path))


def test_who_imported_a_version_stays_named_whatever_a_copy_leaves_out(tmp_path: Path) -> None:
    elsewhere = ModelRegistry(tmp_path / "elsewhere", keys=Keyring.of(KEY), actor="carol")
    export_model(elsewhere, model_id := register(elsewhere), tmp_path / "a.bundle")
    registry = _open(tmp_path)
    register(registry, name="other")
    grant(registry, "eve", "promoter")
    import_model(_open(tmp_path, "eve"), tmp_path / "a.bundle")
    backup(registry, tmp_path / "copy")
    state = _version(tmp_path / "copy", model_id) / "state.json"
    history = [{"status": "trained", "at": _AT, "by": "carol", "why": "registered"}]
    state.write_text(json.dumps({**json.loads(state.read_text()), "brought_by": [], "history": history}))
    (_version(tmp_path / "registry", model_id) / "state.json").unlink()
    outcome = repair(_open(tmp_path), storage_at(tmp_path / "copy"))
    assert "eve did not bring it, and a record says so" in str(outcome.damaged)
    assert _open(tmp_path).state(model_id)["brought_by"] == ["eve"]


def _move(aliases: Path, model_id: str, *shorts: str) -> None:
    """Aliases that somebody points at a version past the registry, with a history that says so."""
    change = {"model_id": model_id, "at": "2099-01-01T00:00:00Z", "by": "bob", "why": "better"}
    entries = json.loads(aliases.read_text())
    for short in shorts:
        history = entries.get(short, {"history": []})["history"]
        entries[short] = {"model_id": model_id, "history": [*history, change]}
    aliases.write_text(json.dumps(entries))


@pytest.mark.parametrize("bring", [repair, restore])
def test_a_copy_moves_no_alias_and_brings_none_that_no_record_tells_of(
    tmp_path: Path, known: str, bring: Callable[..., Any]
) -> None:
    registry = _open(tmp_path)
    other = register(registry, 2)
    Aliases(registry).set("m", "champion", known)
    backup(registry, tmp_path / "copy")
    _move(tmp_path / "copy" / "aliases" / "m.json", other, "champion", "next")
    (tmp_path / "registry" / "aliases" / "m.json").write_bytes(b"{")
    copy = tmp_path / "copy"
    answer = repair(registry, storage_at(copy)).to_dict() if bring is repair else restore(registry, copy)
    assert list(answer["damaged"]) == ["aliases/m.json"]
    for short in ("champion", "next"):
        assert f"m@{short}: it points at {other}" in answer["damaged"]["aliases/m.json"]
    assert Aliases(_open(tmp_path)).all() == {"m": {"champion": known}}
    assert not _wrong(_open(tmp_path))


def test_an_alias_that_points_elsewhere_than_its_last_record_says_is_named(tmp_path: Path, known: str) -> None:
    registry = _open(tmp_path)
    other = register(registry, 2)
    Aliases(registry).set("m", "champion", known)
    _move(tmp_path / "registry" / "aliases" / "m.json", other, "champion")
    wrong = _wrong(_open(tmp_path))
    assert list(wrong) == ["m@champion state"]
    assert f"it points at {other}" in wrong["m@champion state"]
    Aliases(registry).set("m", "champion", other, "it is better")
    assert not _wrong(_open(tmp_path))


def test_a_backup_keeps_its_copy_where_the_registry_says_what_no_record_tells_of(tmp_path: Path, known: str) -> None:
    registry = _open(tmp_path)
    other = register(registry, 2)
    Aliases(registry).set("m", "champion", known)
    assert not backup(registry, tmp_path / "copy")["damaged"]
    state, alias = f"models/m/{known}/state.json", "aliases/m.json"
    good = {key: (tmp_path / "copy" / key).read_bytes() for key in (state, alias)}
    _forge(_version(tmp_path / "registry", known))
    _move(tmp_path / "registry" / "aliases" / "m.json", other, "champion")
    answer = backup(_open(tmp_path), tmp_path / "copy")
    assert set(answer["damaged"]) == set(good)
    assert "bob approved it" in answer["damaged"][state]
    assert {key: (tmp_path / "copy" / key).read_bytes() for key in good} == good


def test_a_backup_keeps_a_newer_state_than_the_one_that_somebody_put_back(tmp_path: Path, known: str) -> None:
    registry, state = _open(tmp_path), _version(tmp_path / "registry", known) / "state.json"
    before = state.read_bytes()
    registry.update_model_status(known, "archived", "leaks data")
    backup(registry, tmp_path / "copy")
    state.write_bytes(before)
    answer = backup(_open(tmp_path), tmp_path / "copy")
    assert list(answer["damaged"]) == [f"models/m/{known}/state.json"]
    state.unlink()
    repair(_open(tmp_path), storage_at(tmp_path / "copy"))
    assert str(_open(tmp_path).get_metadata(known).status) == "archived"


def test_a_plain_update_is_told_by_its_own_record(tmp_path: Path, known: str) -> None:
    registry = _open(tmp_path)
    registry.audit.append(UPDATE, known, environment="staging", intent="pulumi up")
    begin_serving(registry, known, "staging", "up_staging_20261127_100000", checked=True)
    assert not _wrong(_open(tmp_path))
    backup(registry, tmp_path / "copy")
    (_version(tmp_path / "registry", known) / "state.json").unlink()
    repair(_open(tmp_path), storage_at(tmp_path / "copy"))
    assert served_before(_open(tmp_path).state(known), "staging")
