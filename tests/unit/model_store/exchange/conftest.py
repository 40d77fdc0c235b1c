"""A sound MLflow model in a directory."""

import pickle
from pathlib import Path

import pytest
import yaml
from sklearn.linear_model import LogisticRegression

from tests.unit.model_store.exchange.spoiled import FRAUD, MLMODEL, ROWS


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A sound model's pickle."""
    return pickle.dumps(LogisticRegression().fit(ROWS, FRAUD))


@pytest.fixture
def directory(tmp_path: Path, sound: bytes) -> Path:
    """A sound MLflow model in a directory; each test spoils it."""
    made = tmp_path / "outside" / "model"
    made.mkdir(parents=True)
    (made / "model.pkl").write_bytes(sound)
    (made / "MLmodel").write_text(yaml.safe_dump(MLMODEL))
    (tmp_path / "model.key").write_text("a secret")
    return made
