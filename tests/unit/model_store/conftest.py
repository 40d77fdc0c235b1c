"""A registry in a directory."""

from pathlib import Path

import pytest

from model_store import Keyring, ModelRegistry
from tests.unit.model_store.making import KEY


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), actor="tester")
