"""A version is promoted from one registry into another, with what was decided about it."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sklearn.linear_model import LogisticRegression

from model_store import Keyring, ModelRegistry
from model_store.errors import AccessDenied, ChecksumMismatch, InvalidInput, VersionConflict
from model_store.keys.keyring import generate_key
from model_store.registry.access import AccessPolicy, Rights, Role
from model_store.registry.approvals import approval_problem, read_validation
from model_store.registry.promotion import promote_version
from model_store.registry.upkeep.key_rotation import rotate_keys
from model_store.registry.upkeep.maintenance import verify_everything
from tests.unit.model_store.making import register

_KEY = generate_key()
_SIGNER = Ed25519PrivateKey.generate()


def _open(path: Path, actor: str = "carol", **more: Any) -> ModelRegistry:
    return ModelRegistry(path, keys=Keyring.of(_KEY), actor=actor, **more)


@pytest.fixture
def staging(tmp_path: Path) -> ModelRegistry:
    return _open(tmp_path / "staging")


@pytest.fixture
def production(tmp_path: Path) -> ModelRegistry:
    return _open(tmp_path / "production")


def _register(registry: ModelRegistry, name: str = "fraud") -> str:
    model = LogisticRegression().fit([[0.0], [1.0], [0.2], [0.9]], [0, 1, 0, 1])
    return registry.register_model(model=model, model_name=name, signing_key=_SIGNER)


def _decided(registry: ModelRegistry, tmp_path: Path) -> str:
    """A version that is validated, approved by somebody else and served by staging."""
    model_id = _register(_open(Path(registry.storage.location), "alice"))
    report = tmp_path / "report.txt"
    report.write_text("recall 0.91")
    registry.update_model_status(model_id, "validated", "passed", evidence=report)
    registry.approve(model_id, report, "reviewed")
    registry.record_deployment(model_id, environment="staging", deployment_id="d1")
    return model_id


def test_a_version_goes_with_everything_that_was_decided(
    staging: ModelRegistry, production: ModelRegistry, tmp_path: Path
) -> None:
    model_id = _decided(staging, tmp_path)
    told = promote_version(staging, production, model_id, "release 7")
    assert told.state == "carried"
    here, there = (each.storage.location for each in (staging, production))
    prefix = f"models/fraud/{model_id}"
    for name in ("manifest.json", "artifact", "golden", "signature.json"):
        assert (Path(here) / prefix / name).read_bytes() == (Path(there) / prefix / name).read_bytes()
    metadata = production.get_metadata(model_id)
    assert str(metadata.status) == "validated", "what staging serves, production does not"
    assert not metadata.serving
    assert metadata.lineage == staging.get_metadata(model_id).lineage
    (approval,) = production.state(model_id)["approvals"]
    assert {**approval, "registry": None} == {**staging.state(model_id)["approvals"][0], "registry": None}
    assert approval_problem(production, model_id), "it needs an approval of its own"
    assert read_validation(production.state(model_id)) == read_validation(staging.state(model_id))
    assert production.verify_signature(model_id, [_SIGNER.public_key()])
    assert all(each.intact for each in verify_everything(production))
    assert production.load_model(model_id)[1].model_id == model_id


def test_both_registries_record_it(staging: ModelRegistry, production: ModelRegistry, tmp_path: Path) -> None:
    model_id = _decided(staging, tmp_path)
    promote_version(staging, production, model_id, "release 7")
    sent = list(staging.audit.records())[-1]
    assert (sent.action, sent.model_id, sent.reason) == ("export", model_id, "release 7")
    assert sent.details["promoted_to"] == production.storage.location
    got, decided = list(production.audit.records())
    assert (got.action, got.reason, got.details["promoted_from"]) == ("import", "release 7", staging.storage.location)
    assert (decided.action, decided.details["from"], decided.details["to"]) == ("status", "trained", "validated")
    assert decided.details["validated_by"] == "carol"
    evidence = [each["evidence"] for each in production.state(model_id)["approvals"]]
    assert decided.details["evidence"] == evidence
    assert decided.details["approved_by"] == ["carol"]
    assert decided.details["promoted_from"] == staging.storage.location
    assert production.state(model_id)["history"][-1]["why"] == f"promoted from {staging.storage.location} release 7"


def test_again_does_nothing_and_says_so(staging: ModelRegistry, production: ModelRegistry, tmp_path: Path) -> None:
    model_id = _decided(staging, tmp_path)
    promote_version(staging, production, model_id)
    state, records = production.state(model_id), len(list(production.audit.records()))
    assert promote_version(staging, production, model_id).copied == []
    assert production.state(model_id) == state
    assert len(list(production.audit.records())) == records


def test_what_is_decided_later_follows_and_what_the_target_decided_stays(
    staging: ModelRegistry, production: ModelRegistry, tmp_path: Path
) -> None:
    model_id = _register(_open(Path(staging.storage.location), "alice"))
    promote_version(staging, production, model_id)
    assert str(production.get_metadata(model_id).status) == "trained"
    report = tmp_path / "report.txt"
    report.write_text("recall 0.91")
    staging.update_model_status(model_id, "validated", evidence=report)
    staging.approve(model_id, report, "reviewed")
    promote_version(staging, production, model_id)
    assert str(production.get_metadata(model_id).status) == "validated"
    production.update_model_status(model_id, "staged")
    staging.withdraw_approval(model_id, "a mistake in the report")
    promote_version(staging, production, model_id)
    assert str(production.get_metadata(model_id).status) == "staged"
    assert "carol withdrew the approval" in approval_problem(production, model_id)


def test_a_publisher_brings_the_files_and_a_promoter_what_was_decided(
    staging: ModelRegistry, production: ModelRegistry, tmp_path: Path
) -> None:
    model_id = _decided(staging, tmp_path)
    there = Path(production.storage.location)
    policy = AccessPolicy(actors={"ci": Rights(Role.PUBLISHER), "rosa": Rights(Role.READER)})
    with pytest.raises(AccessDenied, match="import needs the role publisher"):
        promote_version(staging, _open(there, "rosa", policy=policy), model_id)
    told = promote_version(staging, _open(there, "ci", policy=policy), model_id)
    assert (told.state, told.status) == ("left to a promoter", "trained")
    told = promote_version(staging, production, model_id)
    assert (told.state, told.status) == ("carried", "validated")


def test_a_taken_number_and_a_taken_id_are_told(staging: ModelRegistry, production: ModelRegistry) -> None:
    model_id = _register(staging)
    taken = _register(production)
    words = "has another" if taken == model_id else f"fraud:1 is {taken} in this registry"
    with pytest.raises(VersionConflict, match=words):
        promote_version(staging, production, model_id)
    assert [each.model_id for each in production.list_models()] == [taken]


def test_a_damaged_version_is_not_promoted(staging: ModelRegistry, production: ModelRegistry) -> None:
    model_id = _register(staging)
    artifact = Path(staging.storage.location) / "models" / "fraud" / model_id / "artifact"
    artifact.write_bytes(artifact.read_bytes()[:-1])
    with pytest.raises(ChecksumMismatch, match="nothing was promoted: verify"):
        promote_version(staging, production, model_id)
    assert production.list_models() == []


def test_a_registry_is_not_promoted_into_itself(staging: ModelRegistry) -> None:
    with pytest.raises(InvalidInput, match="the same registry"):
        promote_version(staging, staging, _register(staging))


def test_a_registry_by_another_of_its_names_is_the_same(
    staging: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id, place = _register(staging), Path(staging.storage.location)
    (tmp_path / "link").symlink_to(place)
    monkeypatch.chdir(place.parent)
    for name in (tmp_path / "link", place.name, place.parent / ".." / place.parent.name / place.name, place.as_uri()):
        with pytest.raises(InvalidInput, match="the same registry"):
            promote_version(staging, ModelRegistry(name, actor="ann"), model_id)


def test_an_empty_location_is_not_this_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="an empty registry location is not allowed"):
        ModelRegistry("")
    assert not list(tmp_path.iterdir())


def test_rotated_keys_follow_where_that_is_asked_for(staging: ModelRegistry, production: ModelRegistry) -> None:
    model_id = _register(staging)
    promote_version(staging, production, model_id)
    new = generate_key()
    rotate_keys(staging, [model_id], Keyring.of(new).providers)
    assert promote_version(staging, production, model_id).copied == []
    assert len(promote_version(staging, production, model_id, follow_keys=True).copied) >= 2
    assert production.key_ids(model_id) == staging.key_ids(model_id)
    assert production.verify_artifact(model_id)


def test_a_changed_letter_of_a_promoted_manifest_is_found(staging: ModelRegistry, production: ModelRegistry) -> None:
    model_id = register(staging)
    promote_version(staging, production, model_id)
    assert not production.damaged_models()
    manifest = production.manifest_path(model_id)
    manifest.write_text(manifest.read_text().replace('"description": ""', '"description": "x"'))
    assert list(production.damaged_models()) == [model_id]
