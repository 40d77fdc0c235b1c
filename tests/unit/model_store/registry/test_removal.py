"""What a removal leaves taken, and what nobody begins with a version that is being removed."""

import json
import multiprocessing
import shutil
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from model_store import Keyring, ModelRegistry
from model_store.errors import InUse, ModelNotFound, VersionConflict
from model_store.registry.aliases import Aliases
from model_store.registry.exchange.bundles import export_model, import_model
from model_store.registry.files.evidence import read_evidence, store_evidence
from model_store.registry.files.layout import rfc3339, storage_at
from model_store.registry.files.unfinished import begin_removal
from model_store.registry.recovery.backups import backup, restore
from model_store.registry.signing import read_signing_key, write_signing_key
from model_store.registry.taken import Claims
from model_store.registry.upkeep.leftovers import leftovers, remove_leftovers
from model_store.registry.upkeep.maintenance import Finding, delete_model, verify_everything
from tests.unit.model_store.making import KEY, intact, register

_WRITERS = 4
_EACH = 400


def _opened(directory: Path, actor: str = "tester") -> ModelRegistry:
    return ModelRegistry(directory, keys=Keyring.of(KEY), actor=actor)


def test_no_version_gets_the_id_of_one_that_was_deleted(tmp_path: Path) -> None:
    ids, numbers = [], []
    for _ in range(12):
        registry = _opened(tmp_path / "registry")
        ids.append(register(registry))
        numbers.append(registry.get_metadata(ids[-1]).version)
        delete_model(_opened(tmp_path / "registry"), ids[-1])
    assert len(set(ids)) == len(ids)
    assert numbers == list(range(1, 13))
    # Nor in a registry that was made of a backup.
    backup(registry, tmp_path / "backup")
    register(registry)
    backup(registry, tmp_path / "backup")
    rebuilt = _opened(tmp_path / "rebuilt")
    restore(rebuilt, tmp_path / "backup")
    new = register(rebuilt)
    assert new not in ids
    assert rebuilt.get_metadata(new).version == 14


def _claim_many(directory: Path, barrier: Barrier, answers: "multiprocessing.Queue[list[tuple[int, str]]]") -> None:
    claims = Claims(storage_at(directory))
    barrier.wait(60)
    answers.put([claims.claim("m", "T", datetime.now(UTC).replace(microsecond=0)) for _ in range(_EACH)])


def test_writers_that_begin_together_never_take_one_number_or_id(memory: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(_WRITERS), context.Queue()
    given = (memory / "together", barrier, answers)
    writers = [context.Process(target=_claim_many, args=given, daemon=True) for _ in range(_WRITERS)]
    for writer in writers:
        writer.start()
    claimed = [each for _ in writers for each in answers.get(timeout=100)]
    for writer in writers:
        writer.join()
    assert sorted(number for number, _ in claimed) == list(range(1, _WRITERS * _EACH + 1))
    assert len({model_id for _, model_id in claimed}) == len(claimed)


@pytest.fixture
def bundle(tmp_path: Path) -> tuple[Path, str]:
    """The first version of another registry."""
    other = _opened(tmp_path / "other")
    # Of another type: two registries give one id to what they register in one second.
    model_id = other.register_model("theirs", "m", model_type="U", registry_only=True)
    export_model(other, model_id, tmp_path / "x.bundle")
    return tmp_path / "x.bundle", model_id


def test_a_number_of_a_deleted_version_is_not_imported(tmp_path: Path, bundle: tuple[Path, str]) -> None:
    registry = _opened(tmp_path / "registry")
    own = register(registry)
    with pytest.raises(VersionConflict, match=f"m:1 is {own} in this registry"):
        import_model(registry, bundle[0])
    delete_model(registry, own)
    with pytest.raises(VersionConflict, match=f"m:1 is taken in this registry: {own} has, or had, this number"):
        import_model(registry, bundle[0])
    assert registry.list_models() == []
    assert intact(registry)


def test_a_version_that_was_deleted_comes_back_by_its_own_bundle(tmp_path: Path) -> None:
    registry = _opened(tmp_path / "registry")
    own = register(registry, "mine")
    export_model(registry, own, tmp_path / "own.bundle")
    delete_model(registry, own)
    assert import_model(registry, tmp_path / "own.bundle") == own
    assert registry.load_model(own)[0] == "mine"
    delete_model(registry, own)
    assert import_model(registry, tmp_path / "own.bundle") == own


def test_a_number_that_a_registration_has_just_claimed_is_not_imported(
    tmp_path: Path, bundle: tuple[Path, str]
) -> None:
    registry = _opened(tmp_path / "registry")
    claim = tmp_path / "registry" / "models" / "m" / ".versions" / "1"
    claim.parent.mkdir(parents=True)
    claim.write_text(rfc3339(datetime.now(UTC)))
    with pytest.raises(VersionConflict, match="a registration of this moment has this number"):
        import_model(registry, bundle[0])
    # A registry of before: the version is long gone, and its claim holds a time only.
    claim.write_text(rfc3339(datetime.now(UTC) - timedelta(days=400)))
    assert import_model(registry, bundle[0]) == bundle[1]


def test_nothing_begins_with_a_version_that_is_being_deleted(tmp_path: Path) -> None:
    registry = _opened(tmp_path / "registry", "alice")
    other, model_id = register(registry), register(registry)
    Aliases(registry).set("m", "champion", other)
    # A deletion at work, as the state says; or one that was ended a moment ago.
    registry.change_state(model_id, lambda state: begin_removal(state, "bob"))
    with pytest.raises(VersionConflict, match="was deleted by somebody else at the same time; the alias is as before"):
        Aliases(registry).set("m", "champion", model_id)
    assert Aliases(registry).of("m") == {"champion": other}
    with pytest.raises(VersionConflict, match="is being deleted by bob; if that was ended, delete it again"):
        registry.record_deployment(model_id, environment="e", deployment_id="d")
    with pytest.raises(VersionConflict, match="is being deleted by bob"):
        registry.update_model_status(model_id, "staged")
    assert intact(registry)
    path = registry.manifest_path(model_id).with_name("state.json")
    state = json.loads(path.read_text())
    state["removing"]["at"] = rfc3339(datetime.now(UTC) - timedelta(minutes=2))
    path.write_text(json.dumps(state))
    registry.record_deployment(model_id, environment="e", deployment_id="d")
    assert "removing" not in registry.state(model_id)
    with pytest.raises(InUse):
        delete_model(registry, model_id)
    registry.change_state(other, lambda state: begin_removal(state, "bob"))
    Aliases(registry).remove("m", "champion")
    delete_model(registry, other)
    assert [model.model_id for model in registry.list_models()] == [model_id]


def test_what_is_added_to_a_version_while_it_is_deleted_is_taken_away(tmp_path: Path) -> None:
    registry = _opened(tmp_path / "registry")
    model_id = register(registry)
    files = registry.manifest_path(model_id).parent
    delete_model(registry, model_id)
    with pytest.raises(ModelNotFound, match="was deleted by somebody else at the same time"):
        store_evidence(registry.storage, model_id, read_evidence(Path(__file__)))
    assert not files.exists()
    # Ended in between: it is no damage, and cleanup takes it away.
    files.mkdir()
    (files / "signature.json").write_text("{}")
    assert intact(registry)
    assert registry.list_models() == []
    assert leftovers(registry.storage) == [f"models/m/{model_id}"]
    remove_leftovers(registry.storage)
    assert not files.exists()
    files.mkdir()
    assert not intact(registry), "an empty directory of a version is damage: its files were removed by other means"


def test_verify_names_the_version_that_a_signature_belongs_to(tmp_path: Path) -> None:
    write_signing_key(tmp_path / "a.key")
    registry = _opened(tmp_path / "registry")
    signed = register(registry, signing_key=read_signing_key(tmp_path / "a.key"))
    other = register(registry)
    assert intact(registry)
    path = registry.manifest_path(other).with_name("signature.json")
    shutil.copy(registry.manifest_path(signed).with_name("signature.json"), path)
    (found,) = [each for each in _findings(registry) if not each.intact]
    assert found.subject == other
    assert f"the signature.json is not intact: the signature is of another manifest, of {signed}" in found.detail
    path.write_text("{}")
    assert [each.subject for each in _findings(registry) if not each.intact] == [other]
    path.unlink()
    assert intact(registry)


def test_verify_finds_any_changed_letter_of_an_unsigned_manifest(tmp_path: Path) -> None:
    registry = _opened(tmp_path / "registry")
    model_id = register(registry, description="trained on October")
    path = registry.manifest_path(model_id)
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(content.replace(b"October", b"November"))
    (found,) = [each for each in _findings(registry) if not each.intact]
    assert f"{model_id}: the manifest.json is not the registered one" in found.detail
    path.write_bytes(content)
    assert intact(registry)


def _findings(registry: ModelRegistry) -> list[Finding]:
    return list(verify_everything(registry))


@pytest.mark.parametrize("hint", [None, "3", "nonsense", "3 2020-01-01T00:00:00Z T"])
def test_a_registry_of_before_goes_on_counting(tmp_path: Path, hint: str | None) -> None:
    """Its claims hold a time only, its hint a number; a hint may be lost, old or damaged."""
    registry = _opened(tmp_path / "registry")
    ids = [register(registry, number) for number in range(3)]
    claims = tmp_path / "registry" / "models" / "m" / ".versions"
    for claim in claims.iterdir():
        claim.write_text(claim.read_text().split()[0])
    (claims / ".last").unlink()
    if hint is not None:
        (claims / ".last").write_text(hint)
    for number in range(3):
        ids.append(register(_opened(tmp_path / "registry")))
        assert registry.get_metadata(ids[-1]).version == 4 + number
    assert len(set(ids)) == 6
    assert intact(registry)


def test_types_of_one_second_have_short_ids_each(tmp_path: Path) -> None:
    registry = _opened(tmp_path / "registry")
    for _ in range(20):
        ids = [registry.register_model(1, "m", model_type=kind, registry_only=True) for kind in ("A", "B")]
        if ids[0].rsplit("_", 1)[1][:6] == ids[1].rsplit("_", 1)[1][:6]:
            break
        ids = []
        registry = _opened(tmp_path / f"again{_}")
    assert ids
    assert not any("-" in each for each in ids)
