"""Names that a deployer trusts: from the stack's config into the service, and no further."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from model_store import Keyring, ModelRegistry
from model_store.errors import InvalidInput, UntrustedType
from model_store.keys.keyring import ensure_key_file
from model_store.serialization.full_names import require_full_names
from serving.errors import SettingsError
from serving.inference.model import load_served_model
from serving.settings import ServingSettings


class OwnRegression(LogisticRegression):  # type: ignore[misc]
    """An estimator that is on no list."""


OWN = f"{OwnRegression.__module__}.{OwnRegression.__qualname__}"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a service for a model that names something off the list."""
    key_file = ensure_key_file(tmp_path / "model.key")
    registry = ModelRegistry(tmp_path / "registry", keys=Keyring.from_files(key_file))
    rows = np.random.default_rng(0).normal(size=(60, 2))
    model = OwnRegression().fit(rows, (rows[:, 0] > 0).astype(int))
    model_id = registry.register_model(model=model, model_name="own", model_type="Own")
    (tmp_path / "api_keys.json").write_text(json.dumps({"keys": []}))
    return {
        "MODEL_ID": model_id,
        "MODEL_URI": registry.artifact_path(model_id).parent.as_uri(),
        "MODEL_SHA256": registry.get_metadata(model_id).digest,
        "MODEL_KEY_FILE": str(key_file),
        "API_KEYS_FILE": str(tmp_path / "api_keys.json"),
    }


def test_a_name_off_the_list_serves_only_where_it_is_trusted(environment: dict[str, str]) -> None:
    with pytest.raises(UntrustedType, match="OwnRegression"):
        load_served_model(ServingSettings.from_environment(environment))
    trusting = ServingSettings.from_environment({**environment, "MODEL_TRUSTED_TYPES": f"numpy.mean, {OWN}"})
    assert trusting.trusted_types == ("numpy.mean", OWN)
    model = load_served_model(trusting)
    (low,), (high,) = (model.runtime.compute([[value, 0.0]]) for value in (-3.0, 3.0))
    assert 0 < low < 0.5 < high < 1


@pytest.mark.parametrize("text", ["numpy", "numpy.*", "numpy..mean", "a b.c", ".a.b", "1.2", "numpy.mean;os.system"])
def test_a_trusted_type_without_a_module_is_refused_by_name(environment: dict[str, str], text: str) -> None:
    with pytest.raises(SettingsError, match="MODEL_TRUSTED_TYPES"):
        ServingSettings.from_environment({**environment, "MODEL_TRUSTED_TYPES": text})
    with pytest.raises(InvalidInput, match="full names"):
        require_full_names([text])


def test_without_the_variable_nothing_more_is_trusted(environment: dict[str, str]) -> None:
    for more in ({}, {"MODEL_TRUSTED_TYPES": ""}, {"MODEL_TRUSTED_TYPES": " , "}):
        assert ServingSettings.from_environment({**environment, **more}).trusted_types == ()
