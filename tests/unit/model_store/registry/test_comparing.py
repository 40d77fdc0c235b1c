"""What vanished from a registry, and what nobody recorded, is found by `verify`; a backup brings it back."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conventions import exit_codes
from model_store import Keyring, ModelRegistry
from model_store.errors import IllegalTransition, InUse, ModelStoreError, VersionConflict
from model_store.registry.aliases import Aliases
from model_store.registry.exchange.bundles import export_model, import_model
from model_store.registry.granting import grant
from model_store.registry.log.recorded import read_recorded
from model_store.registry.recovery.backups import backup, restore
from model_store.registry.recovery.repair import repair
from model_store.registry.signing import read_signing_key, write_signing_key
from model_store.registry.upkeep.leftovers import leftovers
from model_store.registry.upkeep.maintenance import cleanup_leftovers, delete_model, verify_everything
from scripts.manage_models import main
from tests.unit.model_store.making import KEY, intact, register, rewrite_manifest


@pytest.fixture
def whole(registry: ModelRegistry, tmp_path: Path) -> tuple[ModelRegistry, list[str], Path]:
    """A registry with three versions, two of them signed, an alias and a grant; the ids; its backup."""
    write_signing_key(tmp_path / "a.key")
    key = read_signing_key(tmp_path / "a.key")
    ids = [register(registry, 1, signing_key=key), register(registry, 2), register(registry, 3, "other")]
    registry.sign_model(ids[1], key)
    Aliases(registry).set("m", "champion", ids[0])
    grant(registry, "bob", "promoter")
    backup(registry, tmp_path / "backup")
    return registry, ids, tmp_path / "backup"


def _again(registry: ModelRegistry) -> ModelRegistry:
    return ModelRegistry(registry.storage.location, keys=Keyring.of(KEY), actor="tester")


def _wrong(registry: ModelRegistry) -> dict[str, str]:
    return {found.subject: found.detail for found in verify_everything(_again(registry)) if not found.intact}


LOSSES = {
    "a version": ("models/m/{1}", "{1}"),
    "a model with all its versions": ("models/other", "{2}"),
    "an alias file": ("aliases/m.json", "m@champion"),
    "all aliases": ("aliases", "m@champion"),
    "the signature of a registration": ("models/m/{0}/signature.json", "{0}"),
    "a signature that was added": ("models/m/{1}/signature.json", "{1}"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_vanished_is_found_and_repair_brings_it_back(
    whole: tuple[ModelRegistry, list[str], Path], loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, ids, kept = whole
    assert intact(registry)
    path, subject = (text.format(*ids) for text in LOSSES[loss])
    lost = registry.storage.path(path)
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    assert list(_wrong(registry)) == [subject]
    monkeypatch.setenv("MODEL_REGISTRY_URL", registry.storage.location)
    assert main(["verify"]) == exit_codes.NOT_INTACT
    repair(_again(registry), registry_storage(kept))
    assert _wrong(registry) == {}
    assert lost.exists()


def registry_storage(place: Path) -> object:
    """The storage of a backup."""
    return ModelRegistry(place).storage


def test_a_lost_access_policy_is_found_and_its_owner_makes_a_new_one(
    whole: tuple[ModelRegistry, list[str], Path],
) -> None:
    registry, _, kept = whole
    registry.storage.path("access.json").unlink()
    assert "access take-over" in _wrong(registry)["access"]
    assert intact(ModelRegistry(kept)), "a backup has no policy"


def test_the_loss_of_a_version_that_no_backup_has_is_recorded(
    whole: tuple[ModelRegistry, list[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, ids, _ = whole
    shutil.rmtree(registry.storage.path(f"models/m/{ids[1]}"))
    assert f"delete {ids[1]} --reason WHY" in _wrong(registry)[ids[1]]
    monkeypatch.setenv("MODEL_REGISTRY_URL", registry.storage.location)
    assert main(["delete", ids[1]]) == exit_codes.NOT_FOUND
    admin = ModelRegistry(registry.storage.location, keys=Keyring.of(KEY), actor="tester")
    delete_model(admin, ids[1], "the disk took it")
    assert _wrong(registry) == {}
    assert list(registry.audit.records())[-1].details == {"lost": True}


def test_a_version_that_no_record_tells_of_is_found(
    whole: tuple[ModelRegistry, list[str], Path], tmp_path: Path
) -> None:
    registry, _, _ = whole
    stranger = ModelRegistry(tmp_path / "stranger", keys=Keyring.of(KEY))
    model_id = register(stranger, 5, "foreign")
    shutil.copytree(stranger.storage.path("models/foreign"), registry.storage.path("models/foreign"))
    assert "no record of the audit log tells who brought it" in _wrong(registry)[model_id]


def test_two_versions_with_one_number_are_found(registry: ModelRegistry) -> None:
    first, second = register(registry, 1), register(registry, 2)
    rewrite_manifest(registry, second, version=1)
    assert first in _wrong(registry)["m:1"]


def test_versions_that_a_restore_or_an_import_brings_are_recorded(
    whole: tuple[ModelRegistry, list[str], Path], tmp_path: Path
) -> None:
    registry, ids, kept = whole
    export_model(registry, ids[0], tmp_path / "one.bundle")
    other = ModelRegistry(tmp_path / "new", keys=Keyring.of(KEY), actor="else")
    import_model(other, tmp_path / "one.bundle")
    restore(other, kept)
    assert _wrong(other) == {}
    shutil.rmtree(other.storage.path("models/other"))
    assert list(_wrong(other)) == [ids[2]]
    other.storage.path(f"models/m/{ids[0]}/signature.json").unlink()
    assert sorted(_wrong(other)) == sorted([ids[0], ids[2]])


class _Died(BaseException):
    """A process that ends here."""


def test_a_registration_that_was_ended_is_no_loss(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    register(registry)

    def die(*_: object) -> bool:
        raise _Died

    with monkeypatch.context() as ended:
        ended.setattr(registry.storage, "publish", die)
        with pytest.raises(_Died):
            register(registry, 2)
    assert _wrong(registry) == {}
    assert [record.details.get("outcome") for record in registry.audit.records()] == [None, None, "interrupted"]
    (registry.storage.path(".staging") / "m_T_20200101_000000").mkdir()
    registry.audit.append("register", "m_T_20200101_000000", signed=[], version=9)
    assert _wrong(registry) == {}, "its directory tells that it was begun"
    assert leftovers(registry.storage) == [".staging/m_T_20200101_000000"]
    cleanup_leftovers(registry, dry_run=False)
    assert _wrong(registry) == {}, "and the record of the cleanup that it was ended"


def _refused(deed: Callable[[], object], error: type[ModelStoreError]) -> None:
    with pytest.raises(error):
        deed()


def test_what_was_recorded_and_did_not_take_effect_has_a_second_record(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = register(registry)
    other = _again(registry)
    swap = registry.storage.compare_and_swap

    def slow(key: str, content: bytes, expected: bytes) -> None:
        monkeypatch.setattr(registry.storage, "compare_and_swap", swap)
        other.update_model_status(
            model_id, "validated" if "staged" in str(other.state(model_id)) else "staged", evidence=Path(__file__)
        )
        swap(key, content, expected)

    for deed in (
        lambda: registry.update_model_status(model_id, "deprecated"),
        lambda: registry.record_deployment(model_id, environment="production", deployment_id="d"),
    ):
        monkeypatch.setattr(registry.storage, "compare_and_swap", slow)
        _refused(deed, VersionConflict)
        assert list(registry.audit.records())[-1].details["outcome"] == "failed"
    assert "serving" not in registry.state(model_id)


def test_a_deletion_that_is_refused_leaves_the_version_expected(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = register(registry)

    def die(_: str) -> None:
        raise InUse("somebody uses it")

    monkeypatch.setattr(registry.storage, "remove", die)
    _refused(lambda: delete_model(registry, model_id), InUse)
    assert model_id in read_recorded(registry.storage).versions


def test_an_archived_version_does_not_begin_to_serve(registry: ModelRegistry) -> None:
    model_id = register(registry)
    registry.update_model_status(model_id, "archived")
    before = [record.action for record in registry.audit.records()]
    with pytest.raises(IllegalTransition, match="is archived and cannot serve; first: "):
        registry.record_deployment(model_id, environment="production", deployment_id="d")
    assert [record.action for record in registry.audit.records()] == before
    assert "serving" not in registry.state(model_id)


def test_a_deployment_is_recorded_before_it_serves_and_its_success_afterwards(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = register(registry)
    seen = []
    change = registry.change_state

    def watched(*given: object, **more: object) -> None:
        seen.append([record.details.get("outcome") for record in registry.audit.records()])
        change(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(registry, "change_state", watched)
    registry.record_deployment(model_id, environment="production", deployment_id="d")
    assert seen == [[None, None]]
    assert [record.details.get("outcome") for record in registry.audit.records()] == [None, None, "succeeded"]


@pytest.mark.parametrize("with_index", [True, False])
def test_numbers_are_not_given_again_after_their_claims_are_lost(
    registry: ModelRegistry, tmp_path: Path, *, with_index: bool
) -> None:
    ids = [register(registry, value) for value in range(4)]
    export_model(registry, ids[3], tmp_path / "four.bundle")
    for model_id in ids[2:]:
        delete_model(registry, model_id)
    lost = registry.storage.path("models/m/.versions")
    shutil.rmtree(lost if with_index else lost.parent)
    assert register(_again(registry), 4) not in ids
    assert _again(registry).list_models()[-1].version == 5
    assert sorted(path.name for path in lost.iterdir() if path.name.isdigit()) == ["1", "2", "3", "4", "5"]
    shutil.rmtree(lost)
    other = ModelRegistry(tmp_path / "other", keys=Keyring.of(KEY))
    for value in range(3):
        stranger = other.register_model(value, "m", model_type="U", registry_only=True)
    export_model(other, stranger, tmp_path / "three.bundle")
    with pytest.raises(VersionConflict, match="has, or had, this number"):
        import_model(_again(registry), tmp_path / "three.bundle")
