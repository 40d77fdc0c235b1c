"""A registry that an earlier program wrote opens, verifies, loads and goes on."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from model_store import Keyring, ModelRegistry
from model_store.registry.aliases import Aliases
from model_store.registry.signing import parse_public_key
from model_store.registry.upkeep.maintenance import verify_everything

RECORDED = Path(__file__).resolve().parents[3] / "vectors" / "registry" / "recorded.tar.gz"
_VERSIONS, _ALIASES = 4, 2
_LEAST_SCORE = 0.9


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    with tarfile.open(RECORDED) as archive:
        archive.extractall(tmp_path, filter="data")
    return ModelRegistry(tmp_path / "registry", keys=Keyring.from_files(tmp_path / "model.key"))


def test_everything_recorded_is_intact(registry: ModelRegistry) -> None:
    findings = list(verify_everything(registry))
    assert {finding.subject for finding in findings if not finding.intact} == set()
    assert len(findings) == _VERSIONS + _ALIASES + 1


def test_states_aliases_and_signatures_are_read(registry: ModelRegistry, tmp_path: Path) -> None:
    listed = registry.list_models(name="fraud")
    assert [(model.version, str(model.status)) for model in listed] == [
        (1, "archived"),
        (2, "deployed"),
        (3, "trained"),
    ]
    aliases = Aliases(registry)
    assert aliases.resolve("fraud@champion") == listed[1].model_id
    assert aliases.resolve("fraud:3") == aliases.resolve("fraud@challenger") == listed[2].model_id
    public_key = parse_public_key((tmp_path / "signing.pem.pub").read_text())
    registry.verify_signature(listed[2].model_id, [public_key])


def test_every_version_loads_and_the_next_number_follows(registry: ModelRegistry) -> None:
    rows = np.random.default_rng(0).normal(size=(80, 3))
    plain = ModelRegistry(registry.storage.location, encrypt=False)
    for metadata in registry.list_models():
        model, _ = (registry if metadata.encrypted else plain).load_model(metadata.model_id)
        assert model.score(rows, rows[:, 0] > 0) > _LEAST_SCORE
    model_id = registry.register_model(LogisticRegression().fit(rows, rows[:, 0] > 0), "fraud")
    assert registry.get_metadata(model_id).version == 4
    assert registry.list_models(name="fraud")[-1].model_id == model_id
    registry.update_model_status(model_id, "staged")
    assert all(finding.intact for finding in verify_everything(registry))
