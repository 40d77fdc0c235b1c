"""What a container finds in the mounted checkout, and what it says when that is not enough."""

from pathlib import Path

import numpy as np
import pytest
from xgboost import XGBClassifier

from model_store import Keyring, ModelRegistry
from model_store.keys.keyring import ensure_key_file
from serving.errors import SettingsError
from serving.process.discovery import complete_environment
from serving.settings import ServingSettings


def _checkout(root: Path) -> tuple[ModelRegistry, str]:
    (root / ".secrets").mkdir(mode=0o700)
    keys = Keyring.from_files(ensure_key_file(root / ".secrets" / "model.key"))
    (root / ".secrets" / "api_keys.json").write_text('{"keys": []}')
    registry = ModelRegistry(root / "registry", keys=keys)
    data = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    model = XGBClassifier(n_estimators=2).fit(data, (data[:, 0] > 0).astype(int))
    schema = [{"name": name, "type": "number"} for name in "ab"]
    return registry, registry.register_model(model, "fraud", feature_schema=schema, runtime=True)


def test_model_digests_and_keys_come_from_the_checkout(tmp_path: Path) -> None:
    registry, model_id = _checkout(tmp_path)
    told = {"FRAUD_DETECTION_HOME": str(tmp_path), "MODEL_ID": model_id}
    settings = ServingSettings.from_environment(complete_environment(told))
    metadata = registry.get_metadata(model_id)
    assert metadata.runtime_digest
    assert (settings.model_sha256, settings.model_runtime_sha256) == (metadata.digest, metadata.runtime_digest)
    assert settings.model_key_file == tmp_path / ".secrets" / "model.key"
    assert settings.api_keys_file == tmp_path / ".secrets" / "api_keys.json"
    given = "sha256:" + "0" * 64
    found = complete_environment({**told, "MODEL_SHA256": given})
    assert found["MODEL_SHA256"] == given
    assert "MODEL_RUNTIME_SHA256" not in found, "a digest of the deployer's is not completed from the registry"


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    told = {"FRAUD_DETECTION_HOME": str(tmp_path), "MODEL_ID": "m_A_20260101_000000", "ENVIRONMENT": "production"}
    with pytest.raises(SettingsError, match=r"lacks 3 thing.*manifest.*MODEL_KEY_FILE.*API_KEYS_FILE.*docker run"):
        complete_environment(told)
    with pytest.raises(SettingsError, match="MODEL_ID"):
        complete_environment({"FRAUD_DETECTION_HOME": str(tmp_path)})


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    _, model_id = _checkout(tmp_path)
    manifest = next((tmp_path / "registry" / "models").glob("*/*/manifest.json"))
    manifest.chmod(0o600)
    manifest.write_text("[]")
    with pytest.raises(SettingsError, match="intact manifest"):
        complete_environment({"FRAUD_DETECTION_HOME": str(tmp_path), "MODEL_ID": model_id})


def test_outside_of_an_image_nothing_is_looked_for() -> None:
    assert complete_environment({"MODEL_ID": "m"}) == {"MODEL_ID": "m"}


def test_the_key_signs_receipts_of_an_artifact_that_needs_none_where_it_is_safe(tmp_path: Path) -> None:
    key = ensure_key_file(tmp_path / ".secrets" / "model.key")
    (tmp_path / ".secrets" / "api_keys.json").write_text('{"keys": []}')
    registry = ModelRegistry(tmp_path / "registry", encrypt=False)
    data = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    model = XGBClassifier(n_estimators=2).fit(data, (data[:, 0] > 0).astype(int))
    schema = [{"name": name, "type": "number"} for name in "ab"]
    model_id = registry.register_model(model, "plain", feature_schema=schema, runtime=True)
    told = {"FRAUD_DETECTION_HOME": str(tmp_path), "MODEL_ID": model_id}
    assert complete_environment(told)["MODEL_KEY_FILE"] == str(key)
    key.chmod(0o644)
    assert "MODEL_KEY_FILE" not in complete_environment(told), "a key that others can read is not used"
    key.unlink()
    assert "MODEL_KEY_FILE" not in complete_environment(told)
