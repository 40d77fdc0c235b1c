"""An export for MLflow is whole or not there, and needs right and key."""

import stat
from pathlib import Path

import pytest
from xgboost import XGBClassifier

from model_store import Keyring, ModelRegistry
from model_store.errors import (
    InvalidInput,
    ModelStoreError,
    StorageFailed,
    VersionConflict,
)
from model_store.keys.keyring import generate_key
from model_store.registry.exchange.exporting import export_mlflow
from tests.unit.model_store.exchange.spoiled import FRAUD, ROWS
from tests.unit.model_store.making import KEY


@pytest.fixture
def exported(tmp_path: Path) -> tuple[ModelRegistry, str]:
    registry = ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY))
    model = XGBClassifier(n_estimators=2).fit(ROWS, FRAUD)
    return registry, registry.register_model(model, "fraud", runtime=False)


def test_an_export_is_whole_or_not_there(exported: tuple[ModelRegistry, str], tmp_path: Path) -> None:
    registry, model_id = exported
    out = tmp_path / "out"
    left = tmp_path / ".out.partial"
    left.mkdir(mode=0o755)
    (left / "model.ubj").write_text("what a killed export has left, not encrypted")
    export_mlflow(registry, model_id, out)
    assert not left.exists()
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    with pytest.raises(VersionConflict, match="is there already"):
        export_mlflow(registry, model_id, out)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(VersionConflict, match="is there already"):
        export_mlflow(registry, model_id, tmp_path / "link")
    (tmp_path / ".linked.partial").symlink_to(tmp_path / "out")
    with pytest.raises(StorageFailed):
        export_mlflow(registry, model_id, tmp_path / "linked")
    assert (out / "MLmodel").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed):
        export_mlflow(registry, model_id, tmp_path / "file" / "out")
    assert len(list(out.parent.glob("*partial*"))) == 1
    (tmp_path / "there").mkdir()
    assert "MLmodel" in export_mlflow(registry, model_id, tmp_path / "there")
    assert (tmp_path / "there" / model_id / "MLmodel").is_file()


def test_an_export_needs_the_right_and_the_key(exported: tuple[ModelRegistry, str], tmp_path: Path) -> None:
    registry, model_id = exported
    other = ModelRegistry(tmp_path / "registry", keys=Keyring.of(generate_key()))
    with pytest.raises(ModelStoreError, match="key"):
        export_mlflow(other, model_id, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [each.action for each in registry.audit.records()][-1] == "export", "recorded before it is decrypted"
    artifact = registry.artifact_path(model_id)
    artifact.chmod(0o600)
    content = bytearray(artifact.read_bytes())
    content[-100] ^= 1
    artifact.write_bytes(content)
    with pytest.raises(ModelStoreError):
        export_mlflow(registry, model_id, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_no_flavour_holds_is_not_exported(registry: ModelRegistry, tmp_path: Path) -> None:
    model_id = registry.register_model({"not": "a model"}, "plain", model_type="T", registry_only=True)
    with pytest.raises(InvalidInput, match="export a bundle: without --format"):
        export_mlflow(registry, model_id, tmp_path / "out")
    assert not (tmp_path / "out").exists()
