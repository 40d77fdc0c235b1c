"""A bundle whose manifest says something of its artifact that is not so, or what no registration writes, is refused."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from model_store import Keyring, ModelRegistry
from model_store.errors import IntegrityError, VersionConflict
from model_store.registry.aliases import Aliases
from model_store.registry.exchange.bundles import export_model, import_model
from tests.unit.model_store.making import KEY, register
from tests.unit.model_store.registry.test_hostile_bundles import write_bundle

_FALSE: dict[str, Any] = {
    "serializer": "onnx",
    "compression": "gzip",
    "encrypted": False,
    "model_class": "os.system",
    "payload_bytes": 1,
    "library_versions": {"numpy": "1"},
    "model_type": "XX",
    "created_at": "2999-01-01T00:00:00Z",
    "tags": ["a,b", "\x1b[31m"],
    "lineage": {"mlflow": 5, "git_commit": []},
}
_NO_TIME = {"created_at": "2026-99-99T99:99:99Z", "lineage": {"parameters": [1]}}


@pytest.mark.parametrize(
    ("field", "value"), [*_FALSE.items(), *_NO_TIME.items()], ids=[*_FALSE, "no time", "parameters"]
)
def test_what_the_artifact_contradicts_is_refused(
    registry: ModelRegistry, tmp_path: Path, field: str, value: Any
) -> None:
    model_id = register(registry, [1.0])
    export_model(registry, model_id, tmp_path / "honest.bundle")
    with tarfile.open(tmp_path / "honest.bundle") as bundle:
        members = {each.name: bundle.extractfile(each).read() for each in bundle}  # type: ignore[union-attr]
    manifest = {**json.loads(members["manifest.json"]), field: value}
    members["manifest.json"] = json.dumps(manifest).encode()
    other = ModelRegistry(tmp_path / "other", keys=Keyring.of(KEY))
    with pytest.raises(IntegrityError):
        import_model(other, write_bundle(members, tmp_path / "false.bundle"))
    assert other.list_models() == []
    assert import_model(other, tmp_path / "honest.bundle") == model_id


@pytest.mark.parametrize("number", [1_000_002, 999_999_999])
def test_a_number_that_leaves_none_for_others_is_refused(registry: ModelRegistry, tmp_path: Path, number: int) -> None:
    model_id = register(registry, [1.0])
    export_model(registry, model_id, tmp_path / "honest.bundle")
    with tarfile.open(tmp_path / "honest.bundle") as bundle:
        members = {each.name: bundle.extractfile(each).read() for each in bundle}  # type: ignore[union-attr]
    members["manifest.json"] = json.dumps({**json.loads(members["manifest.json"]), "version": number}).encode()
    other = ModelRegistry(tmp_path / "other", keys=Keyring.of(KEY))
    with pytest.raises(VersionConflict, match="at most 1000000 numbers may be left out"):
        import_model(other, write_bundle(members, tmp_path / "far.bundle"))
    assert other.list_models() == []
    register(other, [1.0])
    assert other.list_models()[0].version == 1


def test_registrations_go_on_after_the_number_of_an_import(registry: ModelRegistry, tmp_path: Path) -> None:
    far = _renumbered(registry, tmp_path, 900_000)
    other = ModelRegistry(tmp_path / "other", keys=Keyring.of(KEY))
    honest = [register(other, [1.0]) for _ in range(2)]
    stranger = import_model(other, far)
    newest = register(other, [2.0])
    assert [each.version for each in other.list_models()] == [1, 2, 900_000, 900_001]
    assert Aliases(other).resolve("m:latest") == newest
    assert [each.model_id for each in other.list_models()] == [*honest, stranger, newest]
    assert register(ModelRegistry(tmp_path / "other", keys=Keyring.of(KEY)), [3.0]).startswith("m_T_")
    assert other.list_models()[-1].version == 900_002


def test_many_imports_use_up_no_numbers(registry: ModelRegistry, tmp_path: Path) -> None:
    other = ModelRegistry(tmp_path / "other", keys=Keyring.of(KEY))
    import_model(other, _renumbered(registry, tmp_path, 900_000))
    with pytest.raises(VersionConflict, match="at most 1000000 numbers may be left out"):
        import_model(other, _renumbered(registry, tmp_path, 1_900_000))
    import_model(other, _renumbered(registry, tmp_path, 1_000_001))


def _renumbered(registry: ModelRegistry, tmp_path: Path, number: int) -> Path:
    """A bundle of a new version with another number."""
    model_id = registry.register_model([float(number)], "m", "Far", registry_only=True)
    export_model(registry, model_id, tmp_path / f"{number}.honest")
    with tarfile.open(tmp_path / f"{number}.honest") as bundle:
        members = {each.name: bundle.extractfile(each).read() for each in bundle}  # type: ignore[union-attr]
    members["manifest.json"] = json.dumps({**json.loads(members["manifest.json"]), "version": number}).encode()
    return write_bundle(members, tmp_path / f"{number}.bundle")
