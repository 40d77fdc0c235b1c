"""Hints that are wrong, a last record that is damaged, and files in places where others belong."""

import os
import shutil
from pathlib import Path

import pytest

from model_store import ModelRegistry
from model_store.errors import StorageFailed
from model_store.registry.recovery.backups import backup
from model_store.registry.recovery.log_repair import record_key
from model_store.registry.recovery.repair import repair
from model_store.registry.upkeep.maintenance import verify_everything
from model_store.storage.directory import DirectoryStorage
from tests.unit.model_store.making import register


def _open(place: Path) -> ModelRegistry:
    return ModelRegistry(place, encrypt=False, actor="ann")


def _broken(registry: ModelRegistry) -> list[str]:
    return [each.subject for each in verify_everything(registry) if not each.intact]


@pytest.mark.parametrize("damage", [b"", b"{}", None])
def test_a_damaged_last_record_is_brought_back_after_another_one_was_written(
    tmp_path: Path, damage: bytes | None
) -> None:
    registry = _open(tmp_path / "r")
    model_id = register(registry)
    registry.update_model_status(model_id, "deprecated")
    backup(registry, tmp_path / "copy")
    last = tmp_path / "r" / record_key(3)
    last.unlink()
    if damage is None:
        last.mkdir()
    else:
        last.write_bytes(damage)
    _open(tmp_path / "r").update_model_status(model_id, "archived")
    assert _broken(registry) == ["audit"]
    outcome = repair(_open(tmp_path / "r"), DirectoryStorage(tmp_path / "copy"))
    assert outcome.copied == [record_key(3)]
    assert not _broken(registry)


@pytest.mark.parametrize("hint", ["9:" + "5" * 64, "9:" + "5" * 64 + ":" + "6" * 16, "another log's"])
def test_a_wrong_hint_of_the_logs_end_leaves_no_gap(tmp_path: Path, hint: str) -> None:
    registry, other = _open(tmp_path / "r"), _open(tmp_path / "other")
    model_id = register(registry)
    if hint == "another log's":
        for _ in range(4):
            register(other)
        hint = (tmp_path / "other" / "audit" / "head").read_text()
    (tmp_path / "r" / "audit" / "head").write_text(hint)
    _open(tmp_path / "r").update_model_status(model_id, "deprecated")
    assert not _broken(registry)


@pytest.mark.parametrize("content", [b"", b"2026-11-27T10:00:00Z"])
def test_a_stray_number_does_not_end_a_model_name(tmp_path: Path, content: bytes) -> None:
    registry = _open(tmp_path / "r")
    register(registry)
    claims = tmp_path / "r" / "models" / "m" / ".versions"
    (claims / "999999999").write_bytes(content)
    (claims / ".last").unlink()
    assert [_open(tmp_path / "r").get_metadata(register(_open(tmp_path / "r"))).version for _ in range(2)] == [2, 3]


def test_a_pipe_in_the_place_of_evidence_stops_no_backup_and_a_file_in_that_of_claims_no_repair(tmp_path: Path) -> None:
    registry = _open(tmp_path / "r")
    model_id = register(registry)
    report = tmp_path / "report"
    report.write_text("recall 0.9")
    registry.update_model_status(model_id, "validated", evidence=report)
    backup(registry, tmp_path / "copy")
    evidence, claims = (
        registry.manifest_path(model_id).with_name("evidence"),
        tmp_path / "r" / "models" / "m" / ".versions",
    )
    shutil.rmtree(evidence)
    os.mkfifo(evidence)
    shutil.rmtree(claims)
    claims.write_text("x")
    assert [key for key in backup(registry, tmp_path / "copy")["damaged"] if "evidence" in key]
    repair(registry, DirectoryStorage(tmp_path / "copy"))
    assert not _broken(registry)
    assert (claims / "1").exists()


def test_a_directory_in_the_place_of_a_lock_is_named(tmp_path: Path) -> None:
    registry = _open(tmp_path / "r")
    model_id = register(registry)
    registry.update_model_status(model_id, "deprecated")
    for lock in (tmp_path / "r" / ".locks").iterdir():
        lock.unlink()
        lock.mkdir()
    with pytest.raises(StorageFailed, match="a directory where the registry needs a file; remove it"):
        registry.update_model_status(model_id, "archived")
