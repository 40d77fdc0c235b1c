"""What a repair brings back of approvals: the log's last word counts, and the source has to be of the same registry."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from model_store import Keyring, ModelRegistry
from model_store.errors import VersionConflict
from model_store.registry.approvals import approval_problem
from model_store.registry.files.layout import storage_at
from model_store.registry.granting import grant
from model_store.registry.recovery.backups import backup
from model_store.registry.recovery.repair import repair
from tests.unit.model_store.making import KEY, register


def _open(root: Path, actor: str = "alice") -> ModelRegistry:
    return ModelRegistry(root / "registry", keys=Keyring.of(KEY), actor=actor)


@pytest.fixture
def approved(tmp_path: Path) -> str:
    """A version that bob approves; the backup `copy` is made then."""
    registry = _open(tmp_path)
    model_id = register(registry)
    for name in ("bob", "eve"):
        grant(registry, name, "promoter")
    (tmp_path / "report").write_text("read")
    _open(tmp_path, "bob").approve(model_id, tmp_path / "report", "read it")
    backup(registry, tmp_path / "copy")
    return model_id


def _fails(registry: ModelRegistry, change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def conflict(*_: object, **__: object) -> None:
        raise VersionConflict("somebody else changed it")

    with monkeypatch.context() as patch:
        patch.setattr(registry.storage, "compare_and_swap", conflict)
        with pytest.raises(VersionConflict):
            change()


def _repaired(root: Path, model_id: str, source: Path) -> str:
    """The problem with the approval after the state is lost and brought back."""
    (root / "registry" / "models" / "m" / model_id / "state.json").write_bytes(b"")
    registry = _open(root)
    repair(registry, storage_at(source))
    return approval_problem(registry, model_id)


@pytest.mark.parametrize("later", ["nothing", "an approval that fails", "an approval that is lost with the state"])
def test_what_was_withdrawn_stays_withdrawn_whatever_comes_later(
    tmp_path: Path, approved: str, later: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _open(tmp_path, "bob").withdraw_approval(approved, "wrong labels")
    eve = _open(tmp_path, "eve")
    if later == "an approval that fails":
        _fails(eve, lambda: eve.approve(approved, tmp_path / "report", "mine"), monkeypatch)
    elif later != "nothing":
        eve.approve(approved, tmp_path / "report", "mine")
    assert "wrong labels" in _repaired(tmp_path, approved, tmp_path / "copy")


def test_a_withdrawal_that_failed_withdraws_nothing(
    tmp_path: Path, approved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = _open(tmp_path, "bob")
    _fails(bob, lambda: bob.withdraw_approval(approved, "wrong labels"), monkeypatch)
    assert approval_problem(bob, approved) == ""
    assert _repaired(tmp_path, approved, tmp_path / "copy") == ""


def test_an_approval_after_a_withdrawal_is_brought_back(tmp_path: Path, approved: str) -> None:
    bob = _open(tmp_path, "bob")
    bob.withdraw_approval(approved, "wrong labels")
    (tmp_path / "report").write_text("read again")
    bob.approve(approved, tmp_path / "report", "right labels")
    backup(bob, tmp_path / "copy")
    assert _repaired(tmp_path, approved, tmp_path / "copy") == ""


def test_a_source_without_a_log_is_not_taken_for_the_same_registry(tmp_path: Path, approved: str) -> None:
    for name in ("audit", "anchors"):
        shutil.rmtree(tmp_path / "copy" / name, ignore_errors=True)
    assert _repaired(tmp_path, approved, tmp_path / "copy") == "nobody has approved it"


def test_a_copy_whose_first_record_is_damaged_is_of_the_same_registry(tmp_path: Path, approved: str) -> None:
    (tmp_path / "copy" / "audit" / "000000" / "000000001.json").write_bytes(b"")
    assert _repaired(tmp_path, approved, tmp_path / "copy") == ""
