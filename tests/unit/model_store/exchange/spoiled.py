"""A sound MLflow model, and what is asked of it."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store import ModelRegistry
from model_store.errors import (
    ModelStoreError,
)
from model_store.registry.exchange.importing import import_mlflow
from model_store.registry.request import RegistrationRequest

ROWS = np.random.default_rng(0).normal(size=(60, 2))
FRAUD = (ROWS[:, 0] > 0).astype(int)
ASKED = RegistrationRequest(model_name="fraud", positive_class=1, runtime=False)
MLMODEL: dict[str, Any] = {
    "flavors": {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "pickle", "code": None}},
    "mlflow_version": "3.17.2",
    "model_uuid": "0" * 32,
}


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}, *{before}, *{before}, *{before}, *{before}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


"""YAML that grows to six to the eighth texts."""


def refused(registry: ModelRegistry, path: Path, request: RegistrationRequest = ASKED) -> str:
    """The one line that an import is refused with; it leaves nothing in the registry."""
    started = time.monotonic()
    with pytest.raises(ModelStoreError) as caught:
        import_mlflow(registry, path, request)
    assert time.monotonic() - started < 20
    assert not registry.list_models()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1500, message
    assert "a secret" not in message
    return message
