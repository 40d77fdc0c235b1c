"""Evidence, validation and approval of a version, and where a version serves."""

import json
import os
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression

from model_store import Keyring, ModelRegistry
from model_store.errors import (
    AccessDenied,
    ChecksumMismatch,
    EvidenceMissing,
    FileMissing,
    IllegalTransition,
    InvalidInput,
    ModelStoreError,
    StorageFailed,
    Truncated,
)
from model_store.registry.access import AccessPolicy, Rights, Role
from model_store.registry.approvals import approval_problem, read_validation
from model_store.registry.exchange.bundles import export_model, import_model
from model_store.registry.files.evidence import MOST_EVIDENCE_BYTES
from model_store.registry.files.layout import storage_at
from model_store.registry.recovery.backups import backup, restore
from model_store.registry.recovery.repair import repair
from model_store.registry.upkeep.maintenance import reasons_to_keep
from tests.unit.model_store.making import KEY, intact, register


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return _as(tmp_path, "alice")


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.txt"
    path.write_text("recall 0.93 on the holdout of October")
    return path


def _as(tmp_path: Path, actor: str) -> ModelRegistry:
    return ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), actor=actor)


def _evidence_file(registry: ModelRegistry) -> Path:
    (found,) = Path(registry.storage.location).rglob("evidence/*")
    return found


def test_an_actor_other_than_the_registrant_approves(tmp_path: Path, registry: ModelRegistry, report: Path) -> None:
    model_id = register(registry)
    with pytest.raises(AccessDenied, match="somebody else has to approve"):
        registry.approve(model_id, report, "looks good")
    assert approval_problem(registry, model_id) == "nobody has approved it"
    assert "evidence" not in registry.state(model_id)
    approval = _as(tmp_path, "bob").approve(model_id, report, "looks good")
    assert approval["by"] == "bob"
    assert approval_problem(registry, model_id) == ""
    assert [record.action for record in registry.audit.records()] == ["register", "refused", "approve"]
    last = list(registry.audit.records())[-1]
    assert last.details == {"evidence": approval["evidence"], "manifest": approval["manifest"]}
    assert intact(registry)


def test_the_author_that_a_registration_names_does_not_approve(tmp_path: Path, report: Path) -> None:
    model_id = register(_as(tmp_path, "ci"), author="carol")
    with pytest.raises(AccessDenied, match="carol, ci"):
        _as(tmp_path, "carol").approve(model_id, report, "mine")


def test_the_registrant_and_the_importer_cannot_approve(tmp_path: Path, registry: ModelRegistry, report: Path) -> None:
    model_id = register(registry, author="the fraud team")
    export_model(registry, model_id, tmp_path / "x.bundle")
    other = ModelRegistry(tmp_path / "other", keys=Keyring.of(KEY), actor="irene")
    import_model(other, tmp_path / "x.bundle")
    for actor in ("irene", "alice"):
        with pytest.raises(AccessDenied):
            ModelRegistry(tmp_path / "other", keys=Keyring.of(KEY), actor=actor).approve(model_id, report, "mine")
    ModelRegistry(tmp_path / "other", keys=Keyring.of(KEY), actor="bob").approve(model_id, report, "read it")
    assert approval_problem(other, model_id) == ""


def test_an_approval_needs_the_right_a_reason_and_a_file(tmp_path: Path, registry: ModelRegistry, report: Path) -> None:
    model_id = register(registry)
    bob = _as(tmp_path, "bob")
    policy = AccessPolicy(default=Rights(Role.PUBLISHER))
    with pytest.raises(AccessDenied, match="needs the role promoter"):
        ModelRegistry(tmp_path / "registry", actor="pia", policy=policy).approve(model_id, report, "why not")
    with pytest.raises(InvalidInput, match="a reason is needed"):
        bob.approve(model_id, report, "  ")
    (tmp_path / "empty").touch()
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MOST_EVIDENCE_BYTES + 1)
    os.mkfifo(tmp_path / "pipe")
    for name, kind in {
        "none": FileMissing,
        "empty": InvalidInput,
        "large": InvalidInput,
        "pipe": StorageFailed,
    }.items():
        with pytest.raises(kind, match=name):
            bob.approve(model_id, tmp_path / name, "why")
    with pytest.raises(InvalidInput, match="directory"):
        bob.approve(model_id, tmp_path, "why")
    assert "approvals" not in registry.state(model_id)
    assert not list((tmp_path / "registry").rglob("evidence"))


def test_a_withdrawn_approval_stays_and_does_not_count(tmp_path: Path, registry: ModelRegistry, report: Path) -> None:
    model_id, bob = register(registry), _as(tmp_path, "bob")
    with pytest.raises(InvalidInput, match="no approval to withdraw"):
        bob.withdraw_approval(model_id, "why")
    bob.approve(model_id, report, "fine")
    with pytest.raises(InvalidInput, match="a reason is needed"):
        bob.withdraw_approval(model_id, "")
    assert registry.withdraw_approval(model_id, "the labels were wrong") == 1
    assert "the labels were wrong" in approval_problem(registry, model_id)
    (kept,) = registry.state(model_id)["approvals"]
    assert (kept["by"], kept["withdrawn"]["by"]) == ("bob", "alice")
    bob.approve(model_id, report, "with the right labels")
    assert approval_problem(registry, model_id) == ""


def test_an_approval_of_another_manifest_or_forged_by_the_registrant_does_not_count(
    tmp_path: Path, registry: ModelRegistry, report: Path
) -> None:
    model_id = register(registry)
    _as(tmp_path, "bob").approve(model_id, report, "fine")
    stored = dict(registry.state(model_id)["approvals"][0])
    registry.change_state(model_id, lambda state: state.update(approvals=[{**stored, "by": "alice"}]))
    assert "approved it alone" in approval_problem(registry, model_id)
    registry.change_state(
        model_id, lambda state: state.update(approvals=[{**stored, "manifest": f"sha256:{'0' * 64}"}])
    )
    assert "another manifest" in approval_problem(registry, model_id)


def test_verify_compares_evidence_with_its_digest(tmp_path: Path, registry: ModelRegistry, report: Path) -> None:
    model_id = register(registry)
    _as(tmp_path, "bob").approve(model_id, report, "fine")
    backup(registry, tmp_path / "backup")
    damaged = _evidence_file(registry)
    damaged.write_text("recall 0.99")
    with pytest.raises(ChecksumMismatch, match="evidence file"):
        registry.verify_artifact(model_id)
    assert "not intact" in approval_problem(registry, model_id)
    assert not intact(registry)
    assert repair(registry, storage_at(tmp_path / "backup")).copied == [str(damaged.relative_to(tmp_path / "registry"))]
    assert intact(registry)
    _evidence_file(registry).unlink()
    with pytest.raises(Truncated, match="is missing"):
        registry.verify_artifact(model_id)


def test_evidence_and_approvals_travel_in_backups_and_not_in_bundles(
    tmp_path: Path, registry: ModelRegistry, report: Path
) -> None:
    model_id = register(registry)
    backup(registry, tmp_path / "backup")
    _as(tmp_path, "bob").approve(model_id, report, "fine")
    backup(registry, tmp_path / "backup")
    restored = ModelRegistry(tmp_path / "restored", keys=Keyring.of(KEY), actor="zoe")
    restore(restored, tmp_path / "backup")
    assert approval_problem(restored, model_id) == ""
    assert intact(restored)
    export_model(registry, model_id, tmp_path / "x.bundle")
    other = ModelRegistry(tmp_path / "other", keys=Keyring.of(KEY), actor="irene")
    import_model(other, tmp_path / "x.bundle")
    assert approval_problem(other, model_id) == "nobody has approved it"
    assert not list((tmp_path / "other").rglob("evidence"))


def test_validated_needs_evidence(registry: ModelRegistry, report: Path) -> None:
    model_id = register(registry)
    with pytest.raises(EvidenceMissing, match="--evidence FILE"):
        registry.update_model_status(model_id, "validated")
    assert str(registry.get_metadata(model_id).status) == "trained"
    registry.update_model_status(model_id, "validated", "passed", evidence=report)
    found = read_validation(registry.state(model_id))
    assert found is not None
    assert (found["by"], found["reason"], len(found["evidence"])) == ("alice", "passed", 1)
    assert intact(registry)


def test_the_evidence_of_an_approval_is_enough_to_validate(
    tmp_path: Path, registry: ModelRegistry, report: Path
) -> None:
    model_id = register(registry)
    _as(tmp_path, "bob").approve(model_id, report, "fine")
    registry.update_model_status(model_id, "validated")
    assert str(registry.get_metadata(model_id).status) == "validated"


def test_metrics_that_the_registration_computed_are_evidence_where_it_did(tmp_path: Path) -> None:
    registry = _as(tmp_path, "alice")
    rows, labels = [[0.0], [1.0]] * 20, [0, 1] * 20
    (tmp_path / "holdout.csv").write_text(
        "a,label\n" + "".join(f"{row[0]},{y}\n" for row, y in zip(rows, labels, strict=True))
    )
    model = LogisticRegression().fit(rows, labels)
    given = registry.register_model(model=model, model_name="given", performance_metrics={"accuracy": 0.99})
    with pytest.raises(EvidenceMissing):
        registry.update_model_status(given, "validated")
    schema = [{"name": "a", "type": "number"}]
    computed = registry.register_model(
        model=model, model_name="m", holdout=tmp_path / "holdout.csv", label="label", feature_schema=schema
    )
    export_model(registry, computed, tmp_path / "x.bundle")
    registry.update_model_status(computed, "validated")
    assert "accuracy" in registry.state(computed)["validated"]["metrics"]
    other = ModelRegistry(tmp_path / "other", keys=Keyring.of(KEY), actor="irene")
    import_model(other, tmp_path / "x.bundle")
    with pytest.raises(EvidenceMissing):
        other.update_model_status(computed, "validated")


def test_a_version_in_staging_can_become_validated_and_serves_on(registry: ModelRegistry, report: Path) -> None:
    model_id = register(registry)
    registry.record_deployment(model_id, environment="staging", deployment_id="d1")
    assert str(registry.get_metadata(model_id).status) == "deployed"
    registry.update_model_status(model_id, "validated", evidence=report)
    found = registry.get_metadata(model_id)
    assert (str(found.status), list(found.serving)) == ("validated", ["staging"])
    registry.record_deployment(model_id, environment="production", deployment_id="d2")
    assert read_validation(registry.state(model_id)) is not None
    assert sorted(registry.get_metadata(model_id).serving) == ["production", "staging"]


def test_one_version_serves_in_an_environment(registry: ModelRegistry, report: Path) -> None:
    first, second = register(registry), register(registry, name="other")
    registry.update_model_status(first, "validated", evidence=report)
    registry.record_deployment(first, environment="staging", deployment_id="d1")
    registry.record_deployment(second, environment="staging", deployment_id="d2")
    found = {model.model_id: model for model in registry.list_models()}
    assert (str(found[first].status), dict(found[first].serving), found[first].ran) == ("validated", {}, ("staging",))
    assert (str(found[second].status), list(found[second].serving)) == ("deployed", ["staging"])
    assert "is deployed in staging" in reasons_to_keep(registry)[second]
    assert "rollback in staging" in reasons_to_keep(registry)[first]
    registry.record_end("staging")
    assert str(registry.get_metadata(second).status) == "trained"
    assert registry.list_models(status="deployed") == []


def test_a_version_that_serves_is_not_archived_and_is_kept(registry: ModelRegistry, report: Path) -> None:
    model_id = register(registry)
    registry.record_deployment(model_id, environment="staging", deployment_id="d1")
    registry.update_model_status(model_id, "validated", evidence=report)
    with pytest.raises(IllegalTransition, match="serves in staging"):
        registry.update_model_status(model_id, "archived")
    assert reasons_to_keep(registry)[model_id] == "is deployed in staging"


def test_a_state_of_before_reads_on_and_is_brought_over_by_the_next_deployment(registry: ModelRegistry) -> None:
    versions = [register(registry) for _ in range(3)]
    for number, model_id in enumerate(versions):
        prefix = Path(registry.storage.location) / "models" / "m" / model_id
        state = {
            "status": "deployed",
            "history": [
                {"status": "trained", "at": "2026-10-01T10:00:00Z", "by": "alice", "why": "registered"},
                {"status": "validated", "at": "2026-10-01T11:00:00Z", "by": "bob", "why": "reviewed"},
                {"status": "deployed", "at": f"2026-10-0{number + 2}T10:00:00Z", "by": "alice", "why": "d"},
            ],
            "deployments": [
                {"environment": "production", "deployment_id": f"d{number}", "at": f"2026-10-0{number + 2}T10:00:00Z"}
            ],
        }
        (prefix / "state.json").write_text(json.dumps(state))
    before = [path.read_bytes() for path in sorted(Path(registry.storage.location).rglob("state.json"))]
    listed = registry.list_models()
    assert [list(model.serving) for model in listed] == [[], [], ["production"]]
    found = read_validation(registry.state(versions[0]))
    assert found is not None
    assert found["by"] == "bob"
    assert before == [path.read_bytes() for path in sorted(Path(registry.storage.location).rglob("state.json"))]
    registry.record_deployment(versions[0], environment="production", deployment_id="d9")
    assert [str(model.status) for model in registry.list_models()] == ["deployed", "validated", "validated"]
    assert [list(model.serving) for model in registry.list_models()] == [["production"], [], []]


@pytest.mark.parametrize(
    "damage",
    [
        {"approvals": [{"by": "bob"}]},
        {"approvals": "bob"},
        {"evidence": [{"sha256": "../../x"}]},
        {"validated": {"at": 5, "by": "bob"}},
        {"serving": {"production": "d1"}},
    ],
)
def test_a_state_with_decisions_of_another_kind_is_damaged(registry: ModelRegistry, damage: dict[str, object]) -> None:
    model_id = register(registry)
    path = Path(registry.storage.location) / "models" / "m" / model_id / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    with pytest.raises(ModelStoreError, match="state cannot be read"):
        registry.get_metadata(model_id)
    assert list(registry.damaged_models()) == [model_id]
