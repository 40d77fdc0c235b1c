"""A log that is gone or was cut: what a copy has comes back first, and no record is written over a gap unseen."""

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from model_store import Keyring, ModelRegistry
from model_store.errors import ChecksumMismatch
from model_store.registry.files.layout import storage_at
from model_store.registry.granting import grant
from model_store.registry.recovery.backups import backup, restore
from model_store.registry.recovery.log_repair import record_key
from model_store.registry.recovery.repair import Outcome, repair
from model_store.registry.upkeep.log_proof import prove_audit_log
from model_store.registry.upkeep.maintenance import delete_model, verify_everything
from scripts.manage_models import main
from tests.unit.model_store.making import KEY, register


def _open(root: Path, actor: str = "alice") -> ModelRegistry:
    return ModelRegistry(root / "registry", keys=Keyring.of(KEY), actor=actor)


def _repair(root: Path, copy: str = "copy") -> Outcome:
    return repair(_open(root), storage_at(root / copy))


def _wrong(root: Path) -> dict[str, str]:
    return {each.subject: each.detail for each in verify_everything(_open(root)) if not each.intact}


def _actions(root: Path) -> list[str]:
    return [record.action for record in _open(root).audit.records()]


@pytest.fixture
def kept(tmp_path: Path) -> list[str]:
    """Two versions; the backup `copy` has the records 1 to 3."""
    registry = _open(tmp_path)
    ids = [register(registry, 1), register(registry, 2)]
    backup(registry, tmp_path / "copy")
    return ids


def _without_records(root: Path, *numbers: int, hint: bool = True) -> None:
    for number in numbers:
        (root / "registry" / record_key(number)).unlink()
    if not hint:
        (root / "registry" / "audit" / "head").unlink()


@pytest.mark.parametrize("way", ["repair", "restore"])
@pytest.mark.parametrize("proof", ["a registration", "a signature", "the hint"])
def test_a_log_that_is_gone_comes_back_whole(tmp_path: Path, kept: list[str], proof: str, way: str) -> None:
    registry = _open(tmp_path)
    if proof == "a signature":
        registry.sign_model(kept[0], Ed25519PrivateKey.generate())
        backup(registry, tmp_path / "copy")
    for each in kept if proof != "a registration" else []:
        (tmp_path / "registry" / "models" / "m" / each / "state.json").write_bytes(b"")
    last = registry.audit.head().sequence
    if proof == "the hint":
        _without_records(tmp_path, 1, 2, 3)
    else:
        shutil.rmtree(tmp_path / "registry" / "audit")
    if way == "repair":
        _repair(tmp_path)
    else:
        restore(_open(tmp_path), tmp_path / "copy")
    assert _actions(tmp_path)[last:] == [way, way]
    assert f"proven to {last} by" in str(prove_audit_log(_open(tmp_path), backups=[tmp_path / "copy"]))
    told = list(_open(tmp_path).audit.records())[last].details
    assert told.get("lost_after") == (None if proof == "the hint" else last)


def test_a_hint_of_an_older_program_contradicts_no_backup(tmp_path: Path, kept: list[str]) -> None:
    _without_records(tmp_path, 1, 2, 3)
    (tmp_path / "registry" / "audit" / "head").write_text("3")
    _repair(tmp_path)
    assert _actions(tmp_path)[:2] == ["register", "register"]
    assert {model.model_id for model in _open(tmp_path).list_models()} == set(kept)


@pytest.mark.parametrize("way", ["repair", "restore"])
@pytest.mark.parametrize("source", ["another registry", "no log"])
def test_no_new_log_begins_where_one_is_gone(tmp_path: Path, kept: list[str], source: str, way: str) -> None:
    if source == "no log":
        for name in ("audit", "anchors"):
            shutil.rmtree(tmp_path / "copy" / name)
    else:
        stranger = ModelRegistry(tmp_path / "other", keys=Keyring.of(KEY), actor="eve")
        register(stranger, 3)
        shutil.rmtree(tmp_path / "copy")
        backup(stranger, tmp_path / "copy")
    shutil.rmtree(tmp_path / "registry" / "audit")
    with pytest.raises(ChecksumMismatch, match="Nothing shows that the log of"):
        _repair(tmp_path) if way == "repair" else restore(_open(tmp_path), tmp_path / "copy")
    assert not (tmp_path / "registry" / "audit").exists()


def test_what_came_after_a_lost_log_is_not_taken_for_known(tmp_path: Path, kept: list[str]) -> None:
    delete_model(_open(tmp_path), kept[1], "leaks data")
    state = tmp_path / "registry" / "models" / "m" / kept[0] / "state.json"
    state.write_bytes(b"")
    later = register(_open(tmp_path), 3)
    shutil.rmtree(tmp_path / "registry" / "audit")
    with pytest.raises(ChecksumMismatch):
        _repair(tmp_path)  # the state that says what was registered here is damaged, and nothing else proves it
    shutil.copy(tmp_path / "copy" / "models" / "m" / kept[0] / "state.json", state)
    damaged = _repair(tmp_path).damaged
    assert "may tell that it was deleted" in damaged[f"models/m/{kept[1]}"]
    assert not (tmp_path / "registry" / "models" / "m" / kept[1]).exists()
    assert later in _wrong(tmp_path), "no record tells of it any more"


@pytest.mark.parametrize("hint", [True, False])
def test_records_lost_at_the_end_are_taken_over_before_anything_is_appended(
    tmp_path: Path, kept: list[str], *, hint: bool
) -> None:
    registry = _open(tmp_path)
    registry.update_model_status(kept[0], "staged")
    registry.update_model_status(kept[1], "staged")
    _without_records(tmp_path, 3, 4, 5, hint=hint)
    outcome = _repair(tmp_path)
    assert record_key(3) in outcome.copied
    records = sorted(path.stem for path in (tmp_path / "registry" / "audit" / "000000").glob("*.json"))
    if hint:
        assert [int(each) for each in records] == [1, 2, 3, 6, 7]
        assert "audit/head names record 5, the log ends at record 3" in outcome.damaged[record_key(4)]
        told = _open(tmp_path).audit.record(6)
        assert (told.action, told.details["missing"]) == ("repair", "4 to 5")
        assert "audit record 4 is missing" in _wrong(tmp_path)["audit"]
    else:
        assert [int(each) for each in records] == [1, 2, 3, 4, 5]


def test_a_gap_that_was_recorded_can_still_be_filled(tmp_path: Path, kept: list[str]) -> None:
    registry = _open(tmp_path)
    registry.update_model_status(kept[0], "staged")
    shutil.copytree(tmp_path / "copy", tmp_path / "later")
    backup(registry, tmp_path / "later")
    _without_records(tmp_path, 3, 4, 5)
    _repair(tmp_path)
    assert "audit" in _wrong(tmp_path)
    _repair(tmp_path, "later")
    assert _wrong(tmp_path) == {}


def test_a_copy_that_went_on_as_another_log_adds_nothing(tmp_path: Path, kept: list[str]) -> None:
    shutil.copytree(tmp_path / "registry", tmp_path / "twin")
    twin = ModelRegistry(tmp_path / "twin", keys=Keyring.of(KEY), actor="eve")
    twin.update_model_status(kept[0], "archived")
    assert _repair(tmp_path, "twin").copied == []
    assert _actions(tmp_path)[3:] == ["repair", "repair"]
    assert _open(tmp_path).get_metadata(kept[0]).status == "trained"


def test_a_version_that_a_damaged_record_may_have_deleted_is_named(tmp_path: Path, kept: list[str]) -> None:
    registry = _open(tmp_path)
    delete_model(registry, kept[1], "leaks data")
    (tmp_path / "registry" / record_key(4)).write_bytes(b"")
    register(_open(tmp_path), 3)
    shutil.rmtree(tmp_path / "registry" / "models" / "m" / kept[0])
    damaged = _repair(tmp_path).damaged
    assert {f"models/m/{each}" for each in kept} <= set(damaged)
    assert "restore BACKUP" in damaged[f"models/m/{kept[1]}"]
    assert not [each for each in kept if (tmp_path / "registry" / "models" / "m" / each).exists()]
    restore(_open(tmp_path), tmp_path / "copy")
    assert (tmp_path / "registry" / "models" / "m" / kept[0]).exists(), "who restores has decided"


def test_a_version_that_a_later_record_shows_is_brought(tmp_path: Path, kept: list[str]) -> None:
    registry = _open(tmp_path)
    registry.load_model(kept[1])
    (tmp_path / "registry" / record_key(4)).write_bytes(b"")
    _open(tmp_path).load_model(kept[0])
    shutil.rmtree(tmp_path / "registry" / "models" / "m" / kept[0])
    assert set(_repair(tmp_path).damaged) == {record_key(4), f"models/m/{kept[0]}/state.json"}
    assert (tmp_path / "registry" / "models" / "m" / kept[0]).exists()


def test_a_copy_of_before_a_damaged_record_is_named(tmp_path: Path, kept: list[str]) -> None:
    registry = _open(tmp_path)
    registry.update_model_status(kept[0], "archived", reason="leaks data")
    (tmp_path / "registry" / record_key(4)).write_bytes(b"")
    register(_open(tmp_path), 3)
    (tmp_path / "registry" / "models" / "m" / kept[0] / "state.json").write_bytes(b"")
    damaged = _repair(tmp_path).damaged
    assert "may tell of a later change" in damaged[f"models/m/{kept[0]}/state.json"]


def _fitting_hint(root: Path) -> None:
    """A hint that fits the log as it is, as somebody can make it who may write the registry."""
    registry = _open(root)
    (root / "registry" / "audit" / "head").unlink(missing_ok=True)
    registry.audit._remember(registry.audit.head())


def _change_last(root: Path) -> str:
    log = root / "registry"
    key = max(str(path.relative_to(log)) for path in (log / "audit").rglob("*.json"))
    content = (log / key).read_bytes()
    assert b'"actor":"alice"' in content
    (log / key).write_bytes(content.replace(b'"actor":"alice"', b'"actor":"bob"'))
    return key


@pytest.mark.parametrize("hint", ["gone", "made up"])
def test_a_last_record_that_was_changed_with_its_hint_is_named_by_a_repair(
    tmp_path: Path, kept: list[str], hint: str
) -> None:
    key = _change_last(tmp_path)
    (tmp_path / "registry" / "audit" / "head").unlink()
    if hint == "made up":
        _fitting_hint(tmp_path)
    assert not _wrong(tmp_path), "nothing in the registry shows it"
    damaged = _repair(tmp_path).damaged
    assert list(damaged) == [key]
    assert "has another record of this number" in damaged[key]


def test_records_that_were_cut_off_with_the_hint_are_named_by_a_repair(tmp_path: Path, kept: list[str]) -> None:
    _without_records(tmp_path, 2, 3)
    _fitting_hint(tmp_path)
    damaged = _repair(tmp_path).damaged
    assert "has this record, the log ends at record 1" in damaged[record_key(2)]


def test_a_copy_of_another_registry_contradicts_no_log(tmp_path: Path, kept: list[str]) -> None:
    stranger = ModelRegistry(tmp_path / "other", keys=Keyring.of(KEY), actor="eve")
    register(stranger, 3, name="z")
    register(stranger, 4, name="z")
    backup(stranger, tmp_path / "theirs")
    assert not _repair(tmp_path, "theirs").damaged


def test_a_restore_names_the_versions_that_were_deleted(
    tmp_path: Path, kept: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = ModelRegistry(tmp_path / "registry", encrypt=False)
    monkeypatch.setenv("MODEL_REGISTRY_URL", str(tmp_path / "registry"))
    monkeypatch.setenv("MODEL_KEY", KEY.decode())
    delete_model(_open(tmp_path), kept[0], "leaks data")
    grant(_open(tmp_path), registry.actor, "admin")
    assert main(["restore", str(tmp_path / "copy")]) == 0
    assert f"again     {kept[0]}: the audit log says that it was deleted\n" in capsys.readouterr().out
    assert main(["restore", str(tmp_path / "copy"), "--json"]) == 0
    assert "again" not in capsys.readouterr().out


def test_a_log_without_its_hint_does_not_pass_for_one_whose_end_is_known(tmp_path: Path, kept: list[str]) -> None:
    assert "audit/head" not in str(prove_audit_log(_open(tmp_path)))
    _without_records(tmp_path, 3, hint=False)
    assert "audit/head is missing, which would show whether records after 2 were cut off" in str(
        prove_audit_log(_open(tmp_path))
    )
