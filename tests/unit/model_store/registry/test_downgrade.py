"""Encryption is a property of a version: an open artifact in the place of an encrypted one is refused everywhere."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from model_store import Keyring, ModelRegistry, SecureModelPersistence
from model_store.errors import EncryptionExpected
from model_store.keys.keyring import ensure_key_file
from model_store.registry.exchange.bundles import export_model, import_model
from model_store.registry.files.layout import encryption_context
from model_store.registry.measuring.proofs import prove_version
from serving.inference.model import load_served_model
from serving.settings import ServingSettings


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return ensure_key_file(tmp_path / "model.key")


@pytest.fixture
def registry(tmp_path: Path, key_file: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "registry", keys=Keyring.from_files(key_file))


def _model(weight: float) -> LogisticRegression:
    rows = np.random.default_rng(0).normal(size=(80, 2))
    return LogisticRegression().fit(rows, (weight * rows[:, 0] > 0).astype(int))


def _with_an_open_artifact(registry: ModelRegistry, **fields: Any) -> str:
    """A version whose artifact somebody without a key has replaced, with a manifest that says so or does not."""
    model_id = registry.register_model(_model(1.0), "fraud")
    metadata = registry.get_metadata(model_id)
    written = SecureModelPersistence().save_model_secure(
        _model(-1.0), registry.artifact_path(model_id), context=encryption_context(metadata)
    )
    path = registry.manifest_path(model_id)
    manifest = json.loads(path.read_text())
    manifest |= {
        "digest": written["digest"],
        "size_bytes": written["final_size"],
        "payload_bytes": written["compressed_size"],
        **fields,
    }
    path.chmod(0o600)
    path.write_text(json.dumps(manifest))
    return model_id


@pytest.mark.parametrize("fields", [{}, {"encrypted": False, "key_fingerprints": []}], ids=["promised", "denied"])
def test_a_registry_that_encrypts_loads_no_open_artifact(registry: ModelRegistry, fields: dict[str, Any]) -> None:
    model_id = _with_an_open_artifact(registry, **fields)
    with pytest.raises(EncryptionExpected):
        registry.load_model(model_id)
    with pytest.raises(EncryptionExpected):
        prove_version(registry, model_id)


def test_a_registry_that_is_open_in_so_many_words_loads_it(registry: ModelRegistry, tmp_path: Path) -> None:
    model_id = _with_an_open_artifact(registry, encrypted=False, key_fingerprints=[])
    model, _ = ModelRegistry(tmp_path / "registry", encrypt=False).load_model(model_id)
    assert isinstance(model, LogisticRegression)


def test_the_service_demands_what_the_manifest_says(registry: ModelRegistry, key_file: Path, tmp_path: Path) -> None:
    model_id = _with_an_open_artifact(registry)
    (tmp_path / "api_keys.json").write_text(json.dumps({"keys": []}))
    settings = ServingSettings.from_environment(
        {
            "MODEL_ID": model_id,
            "MODEL_URI": registry.artifact_path(model_id).parent.as_uri(),
            "MODEL_SHA256": registry.get_metadata(model_id).digest,
            "MODEL_KEY_FILE": str(key_file),
            "API_KEYS_FILE": str(tmp_path / "api_keys.json"),
        }
    )
    with pytest.raises(EncryptionExpected):
        load_served_model(settings)


@pytest.mark.parametrize("encrypts", [True, False])
def test_an_open_artifact_enters_only_a_registry_that_keeps_such(
    tmp_path: Path, key_file: Path, encrypts: bool
) -> None:
    theirs = ModelRegistry(tmp_path / "theirs", encrypt=False)
    export_model(theirs, theirs.register_model(_model(1.0), "fraud"), tmp_path / "a.bundle")
    keys = Keyring.from_files(key_file) if encrypts else None
    ours = ModelRegistry(tmp_path / "ours", keys=keys, encrypt=encrypts)
    if not encrypts:
        assert import_model(ours, tmp_path / "a.bundle") in {each.model_id for each in ours.list_models()}
        return
    with pytest.raises(EncryptionExpected):
        import_model(ours, tmp_path / "a.bundle")
    assert ours.list_models() == []


def test_a_loader_with_a_key_takes_no_open_artifact_unless_it_is_told_to(tmp_path: Path) -> None:
    SecureModelPersistence().save_model_secure(_model(1.0), tmp_path / "open.artifact")
    persistence = SecureModelPersistence(SecureModelPersistence.generate_encryption_key())
    with pytest.raises(EncryptionExpected, match="encrypted=False"):
        persistence.load_model_secure(tmp_path / "open.artifact")
    persistence.load_model_secure(tmp_path / "open.artifact", encrypted=False)
