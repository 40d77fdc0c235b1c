"""Order by number whatever the clock says; what cannot be stored is one clear error, and nothing is half done."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from model_store import ModelRegistry
from model_store.errors import IllegalTransition, InvalidInput, ModelStoreError
from model_store.registry.files.layout import storage_at
from model_store.registry.registration import enter_status
from model_store.registry.upkeep.maintenance import cleanup
from tests.unit.model_store.making import rewrite_manifest


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "registry", encrypt=False)


def _model() -> Any:
    return LogisticRegression().fit([[0.0], [1.0]], [0, 1])


def test_a_clock_that_is_set_back_makes_no_version_older(registry: ModelRegistry) -> None:
    first, second, newest = (registry.register_model(_model(), "fraud") for _ in range(3))
    # As if the clock had been a year ahead at the first registration.
    rewrite_manifest(registry, first, created_at="2099-01-01T00:00:00Z")
    again = ModelRegistry(registry.storage.location, encrypt=False)
    assert [model.model_id for model in again.list_models()] == [first, second, newest]
    going, _ = cleanup(again, 1, dry_run=False)
    assert going == [first, second]


def test_a_status_that_somebody_else_set_meanwhile_decides(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = registry.register_model(_model(), "fraud")
    other = ModelRegistry(registry.storage.location, encrypt=False, actor="somebody else")
    append = registry.audit.append

    def after_the_first_look(*arguments: Any, **details: Any) -> Any:
        other.change_state(model_id, lambda state: enter_status(state, "archived", "somebody else", "too old"))  # type: ignore[arg-type]
        return append(*arguments, **details)

    monkeypatch.setattr(registry.audit, "append", after_the_first_look)
    with pytest.raises(IllegalTransition, match="archived does not lead to deployed"):
        registry.update_model_status(model_id, "deployed")
    assert str(registry.get_metadata(model_id).status) == "archived"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tags": "prod"}, r"tags is 'prod'"),
        ({"description": "caf\udce9"}, "the description is not Unicode"),
        ({"author": "\ud800"}, "the author is not Unicode"),
        ({"tags": ["\udce9"]}, "the tag is not Unicode"),
        ({"description": "x" * ((1 << 20) + 1)}, "the description has 1048577 bytes"),
        ({"performance_metrics": {"auc": 10**400}}, "metric 'auc'"),
    ],
)
def test_a_value_that_cannot_be_stored_is_refused_by_name(
    registry: ModelRegistry, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        registry.register_model(_model(), "fraud", **given)
    assert registry.list_models() == []


def test_numbers_of_numpy_are_metrics(registry: ModelRegistry) -> None:
    model_id = registry.register_model(_model(), "fraud", performance_metrics={"auc": np.float32(0.5)})  # type: ignore[dict-item]
    assert registry.get_metadata(model_id).performance_metrics == {"auc": 0.5}


@pytest.mark.parametrize(
    "location", ["file:///tmp/reg#3", "file:///tmp/reg?x", "s3://bucket/reg#3", "s3://me@bucket/reg"]
)
def test_a_location_never_opens_another(location: str) -> None:
    with pytest.raises(InvalidInput, match="not allowed"):
        storage_at(location)


def test_a_number_sign_may_be_part_of_a_directory(tmp_path: Path) -> None:
    assert storage_at(f"file://{tmp_path}/reg%233").location == f"{tmp_path}/reg#3"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"status": 5}', b"\x00" * 50, b'{"status": "gone"}'])
@pytest.mark.parametrize("file", ["manifest.json", "state.json"])
def test_a_damaged_file_is_named_and_harms_no_other(registry: ModelRegistry, file: str, content: bytes) -> None:
    damaged, intact = (registry.register_model(_model(), name) for name in ("broken", "whole"))
    (Path(registry.storage.location) / "models/broken" / damaged / file).write_bytes(content)
    again = ModelRegistry(registry.storage.location, encrypt=False)
    assert [model.model_id for model in again.list_models()] == [intact]
    assert list(again.damaged_models()) == [damaged]
    with pytest.raises(ModelStoreError, match=damaged):
        again.get_metadata(damaged)
