"""Two people approve a version in the registry where it counts, whatever way it came there."""

from pathlib import Path

import pytest

from model_store import Keyring, ModelRegistry
from model_store.errors import AccessDenied
from model_store.registry.approvals import approval_problem, is_withdrawn, registrants
from model_store.registry.bundles import export_model, import_model
from model_store.registry.granting import grant
from model_store.registry.promotion import promote_version
from model_store.registry.repair import repair
from tests.unit.model_store.making import KEY, register


def _open(path: Path, actor: str) -> ModelRegistry:
    return ModelRegistry(path, keys=Keyring.of(KEY), actor=actor)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.txt"
    path.write_text("recall 0.93")
    return path


@pytest.fixture
def own(tmp_path: Path, report: Path) -> tuple[ModelRegistry, str]:
    """A directory that one person made, and a version that three names registered, validated and approved there."""
    place = tmp_path / "own"
    model_id = register(_open(place, "carol"))
    grant(_open(place, "carol"), "bob", "promoter")
    bob = _open(place, "bob")
    bob.update_model_status(model_id, "validated", evidence=report)
    bob.approve(model_id, report, "fine")
    assert approval_problem(bob, model_id) == ""
    return bob, model_id


def test_an_approval_of_any_directory_does_not_count_after_a_promotion(
    tmp_path: Path, own: tuple[ModelRegistry, str], report: Path
) -> None:
    source, model_id = own
    target = _open(tmp_path / "production", "root")
    promote_version(source, target, model_id, "release 7")
    assert approval_problem(target, model_id) == (
        f"bob approved it in {source.storage.location}; an approval counts in the registry where it is given"
    )
    (told,) = (each for each in target.audit.records() if each.action == "status")
    assert told.details["validated_by"] == "bob"
    assert told.details["approved_by"] == ["bob"]
    assert told.details["evidence"] == [each["sha256"] for each in target.state(model_id)["evidence"]][:1]
    grant(target, "vera", "promoter")
    _open(tmp_path / "production", "vera").approve(model_id, report, "read it here")
    assert approval_problem(target, model_id) == ""
    promote_version(source, target, model_id, "again")
    assert approval_problem(target, model_id) == ""
    own_again = _open(tmp_path / "third", "root")
    promote_version(target, own_again, model_id)
    assert "vera approved it in" in approval_problem(own_again, model_id), "nor does it two promotions on"


def test_a_withdrawn_approval_ends_the_way_back_although_one_from_elsewhere_stands(
    tmp_path: Path, own: tuple[ModelRegistry, str], report: Path
) -> None:
    source, model_id = own
    target = _open(tmp_path / "production", "root")
    promote_version(source, target, model_id)
    vera = _open(tmp_path / "production", "vera")
    grant(target, "vera", "promoter")
    vera.approve(model_id, report, "read it here")
    state = target.state(model_id)
    for each in state["approvals"]:
        if each["by"] == "vera":
            each["withdrawn"] = {"at": each["at"], "by": "vera", "reason": "wrong labels"}
    assert is_withdrawn(state)


def test_who_brings_a_version_does_not_approve_it(tmp_path: Path, own: tuple[ModelRegistry, str], report: Path) -> None:
    source, model_id = own
    promoted = _open(tmp_path / "promoted", "root")
    promote_version(source, promoted, model_id)
    export_model(source, model_id, tmp_path / "x.bundle")
    imported = _open(tmp_path / "imported", "root")
    import_model(imported, tmp_path / "x.bundle")
    repaired = _open(tmp_path / "repaired", "root")
    register(repaired, name="other")
    repair(repaired, source.storage)
    for registry in (promoted, imported, repaired):
        with pytest.raises(AccessDenied, match="somebody else has to approve"):
            registry.approve(model_id, report, "mine")
        assert {"root", "carol"} <= registrants(registry.get_metadata(model_id), registry.state(model_id))


def test_who_carries_the_validation_later_does_not_approve_it(
    tmp_path: Path, own: tuple[ModelRegistry, str], report: Path
) -> None:
    source, model_id = own
    target = _open(tmp_path / "production", "root")
    grant(target, "ci", "publisher")
    grant(target, "rosa", "promoter")
    assert promote_version(source, _open(tmp_path / "production", "ci"), model_id).state == "left to a promoter"
    promote_version(source, _open(tmp_path / "production", "rosa"), model_id)
    for actor in ("ci", "rosa"):
        grant(target, actor, "promoter")
        with pytest.raises(AccessDenied, match="somebody else has to approve"):
            _open(tmp_path / "production", actor).approve(model_id, report, "mine")
    target.approve(model_id, report, "read it")
    assert approval_problem(target, model_id) == ""


def test_a_reason_makes_nobody_an_importer(tmp_path: Path, report: Path) -> None:
    registry = _open(tmp_path / "registry", "alice")
    model_id = register(registry)
    grant(registry, "bob", "promoter")
    bob = _open(tmp_path / "registry", "bob")
    bob.approve(model_id, report, "read it")
    bob.update_model_status(model_id, "deprecated", "imported data drifted")
    assert approval_problem(registry, model_id) == ""


def test_a_state_of_before_tells_its_importer_by_its_history(tmp_path: Path, report: Path) -> None:
    alice = _open(tmp_path / "own", "alice")
    model_id = register(alice)
    export_model(alice, model_id, tmp_path / "x.bundle")
    registry = _open(tmp_path / "registry", "irene")
    import_model(registry, tmp_path / "x.bundle")
    registry.change_state(model_id, lambda state: state.pop("brought_by"))
    with pytest.raises(AccessDenied, match="alice, irene"):
        registry.approve(model_id, report, "mine")
    grant(registry, "bob", "promoter")
    bob = _open(tmp_path / "registry", "bob")
    bob.approve(model_id, report, "read it")
    bob.update_model_status(model_id, "deprecated", "imported data drifted")
    assert approval_problem(registry, model_id) == ""
