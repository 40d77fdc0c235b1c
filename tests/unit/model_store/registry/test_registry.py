"""The registry: versions are kept, never changed, and found again."""

import json
import multiprocessing
import os
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from model_store import Keyring, ModelRegistry, ModelStatus
from model_store.errors import (
    ChecksumMismatch,
    ContextMismatch,
    IllegalTransition,
    InvalidInput,
    KeyFileUnsafe,
    KeyNotFound,
    ModelNotFound,
    StorageFailed,
    TrailingData,
    Truncated,
)
from model_store.keys.keyring import ensure_key_file, read_key_file, write_key_file
from model_store.registry.aliases import Aliases
from model_store.registry.files.manifest import parse_model_name
from tests.unit.model_store.making import KEY


@pytest.fixture(scope="module")
def model() -> LogisticRegression:
    data = np.random.default_rng(0).normal(size=(50, 3))
    return LogisticRegression().fit(data, data[:, 0] > 0)


def test_a_registered_model_predicts_as_before(registry: ModelRegistry, model: LogisticRegression) -> None:
    model_id = registry.register_model(
        model=model,
        model_name="fraud_detector",
        description="d",
        tags=["a", "b"],
        author="me",
        performance_metrics={"accuracy": 0.96},
    )
    data = np.random.default_rng(1).normal(size=(20, 3))
    loaded, metadata = registry.load_model(model_id)
    assert (loaded.predict_proba(data) == model.predict_proba(data)).all()
    assert metadata == registry.get_metadata(model_id)
    metadata = registry.get_metadata(model_id)
    assert (metadata.description, metadata.tags, metadata.author) == ("d", ("a", "b"), "me")
    assert metadata.performance_metrics == {"accuracy": 0.96}
    assert metadata.feature_names == ("feature_0", "feature_1", "feature_2")
    assert metadata.encrypted
    assert registry.verify_artifact(model_id) == metadata.digest


def test_the_id_is_made_of_name_type_and_time(registry: ModelRegistry, model: LogisticRegression) -> None:
    before = datetime.now(UTC).strftime("%Y%m%d_%H%M%S")
    model_id = registry.register_model(model=model, model_name="fraud_detector")
    name_and_type, date, time = model_id.rsplit("_", 2)
    assert name_and_type == "fraud_detector_LogisticRegression"
    assert f"{date}_{time}" >= before


@pytest.mark.parametrize(
    ("estimator", "model_type"),
    [
        (XGBClassifier(n_estimators=1), "XGBoost"),
        (LogisticRegression(), "LogisticRegression"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "LogisticRegression"),
    ],
)
def test_the_type_is_told_from_the_estimator(registry: ModelRegistry, estimator: Any, model_type: str) -> None:
    data = np.random.default_rng(0).normal(size=(20, 2))
    estimator.fit(data, (data[:, 0] > 0).astype(int))
    model_id = registry.register_model(model=estimator, model_name="m")
    assert registry.get_metadata(model_id).model_type == model_type


def test_versions_of_one_second_are_all_kept(registry: ModelRegistry) -> None:
    model_ids = [
        registry.register_model(model=number, model_name="m", model_type="T", registry_only=True) for number in range(5)
    ]
    assert len(set(model_ids)) == 5
    assert [registry.load_model(model_id)[0] for model_id in model_ids] == [0, 1, 2, 3, 4]


def _register_some(root: Path, key: bytes, start: int) -> list[str]:
    registry = ModelRegistry(root, keys=Keyring.of(key))
    return [
        registry.register_model(model=start + n, model_name="m", model_type="T", registry_only=True) for n in range(5)
    ]


def test_processes_that_register_at_once_lose_nothing(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        lists = pool.starmap(_register_some, [(tmp_path / "r", KEY, start) for start in (0, 100, 200)])
    model_ids = [model_id for found in lists for model_id in found]
    registry = ModelRegistry(tmp_path / "r", keys=Keyring.of(KEY))
    assert len(set(model_ids)) == 15
    assert sorted(registry.load_model(item.model_id)[0] for item in registry.list_models()) == sorted(
        start + n for start in (0, 100, 200) for n in range(5)
    )


def test_listing_filters_by_status_and_name(registry: ModelRegistry) -> None:
    first = registry.register_model(model=1, model_name="one", model_type="T", registry_only=True)
    registry.register_model(model=2, model_name="two", model_type="T", registry_only=True)
    registry.update_model_status(first, ModelStatus.DEPLOYED)
    assert [item.model_id for item in registry.list_models(status="deployed")] == [first]
    assert [item.model_name for item in registry.list_models(status=ModelStatus.TRAINED)] == ["two"]
    assert [item.model_id for item in registry.list_models(name="one")] == [first]
    with pytest.raises(InvalidInput, match="allowed: trained"):
        registry.list_models(status="shiny")


def test_a_status_changes_only_where_it_leads_and_says_who_and_why(registry: ModelRegistry) -> None:
    model_id = registry.register_model(model=1, model_name="m", model_type="T", registry_only=True)
    registry.update_model_status(model_id, "deployed", reason="release 7")
    with pytest.raises(IllegalTransition, match="it leads to: validated, staged, deprecated"):
        registry.update_model_status(model_id, "trained")
    last = registry.state(model_id)["history"][-1]
    assert (last["status"], last["by"], last["why"]) == ("deployed", "tester", "release 7")


def test_a_recorded_deployment_sets_the_status_and_survives(registry: ModelRegistry) -> None:
    model_id = registry.register_model(model=1, model_name="m", model_type="T", registry_only=True)
    registry.record_deployment(model_id, environment="development", deployment_id="deploy_1")
    registry.record_deployment(model_id, environment="development", deployment_id="deploy_2")
    assert registry.get_metadata(model_id).status is ModelStatus.DEPLOYED
    assert [item["deployment_id"] for item in registry.state(model_id)["deployments"]] == ["deploy_1", "deploy_2"]


def test_an_unchanged_file_is_found_again_by_its_digest(registry: ModelRegistry, tmp_path: Path) -> None:
    file = tmp_path / "model.joblib"
    file.write_bytes(b"content")
    model_id = registry.register_model(model=1, model_name="m", model_type="T", registry_only=True, source=file)
    source = registry.get_metadata(model_id).source
    assert source is not None
    assert source.name == "model.joblib"
    assert [item.model_id for item in registry.find_by_source(source.sha256)] == [model_id]
    assert registry.find_by_source("0" * 64) == []


def test_an_artifact_that_was_changed_is_named_and_not_loaded(registry: ModelRegistry) -> None:
    model_id = registry.register_model(model=[1] * 1000, model_name="m", model_type="T", registry_only=True)
    path = registry.artifact_path(model_id)
    intact = path.read_bytes()
    for damaged, error in (
        (intact[:-1], Truncated),
        (intact + b"x", TrailingData),
        (intact[:-40] + bytes([intact[-40] ^ 1]) + intact[-39:], ChecksumMismatch),
    ):
        path.write_bytes(damaged)
        with pytest.raises(error, match=model_id):
            registry.verify_artifact(model_id)
    path.unlink()
    with pytest.raises(Truncated, match="missing"):
        registry.verify_artifact(model_id)


def test_an_artifact_of_another_version_is_refused(registry: ModelRegistry) -> None:
    first = registry.register_model(model=1, model_name="m", model_type="T", registry_only=True)
    second = registry.register_model(model=2, model_name="m", model_type="T", registry_only=True)
    registry.artifact_path(first).write_bytes(registry.artifact_path(second).read_bytes())
    with pytest.raises(ContextMismatch):
        registry.load_model(first)
    with pytest.raises(ChecksumMismatch):
        registry.verify_artifact(first)


@pytest.mark.parametrize(
    "model_id", ["m_T_20200101_000000", "../../etc/passwd", "", "m", "m_T_20200101_000000/../x", "m_T_2020_0"]
)
def test_an_unknown_id_is_not_found_whatever_it_looks_like(registry: ModelRegistry, model_id: str) -> None:
    with pytest.raises(ModelNotFound):
        registry.get_metadata(model_id)


@pytest.mark.parametrize(
    "arguments",
    [
        {"model_name": "../m"},
        {"model_name": ".."},
        {"model_name": ".m"},
        {"model_name": "m."},
        {"model_name": "a..b"},
        {"model_name": "a._b"},
        {"model_name": "a/b"},
        {"model_name": "m\n"},
        {"model_name": "m" * 64},
        {"model_name": "1m"},
        {"model_name": ""},
        {"model_type": "a_b"},
        {"tags": ["a,b"]},
        {"tags": [""]},
        {"performance_metrics": {"a": float("nan")}},
        {"performance_metrics": {"a": True}},
        {"performance_metrics": {"a": "0.9"}},
        {"performance_metrics": {"a": None}},
        {"performance_metrics": {"a": 10**400}},
        {"performance_metrics": {"a": np.bool_(True)}},
        {"performance_metrics": {"a": np.float32("inf")}},
        {"performance_metrics": {"a": np.array([0.9])}},
        {"performance_metrics": {"a": np.array(1j)}},
        {"performance_metrics": {"a": np.datetime64("2026-01-01")}},
    ],
)
def test_an_invalid_registration_is_refused_and_registers_nothing(registry: ModelRegistry, arguments: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(InvalidInput):
        registry.register_model(**{"model": 1, "model_name": "m", "model_type": "T", **arguments})
    assert registry.list_models() == []


@pytest.mark.parametrize("name", ["fraud_detector_model-v1.2.3", "a.b", "m.1", "a_b.c-d", "m" * 63])
def test_names_may_hold_dots_and_are_found_again_in_ids_and_references(registry: ModelRegistry, name: str) -> None:
    model_id = registry.register_model(model=1, model_name=name, model_type="T", registry_only=True)
    assert parse_model_name(model_id) == name
    assert registry.manifest_path(model_id).parent.parent.name == name
    Aliases(registry).set(name, "champion", model_id)
    aliases = Aliases(registry)
    assert aliases.all() == {name: {"champion": model_id}}
    assert [aliases.resolve(f"{name}{end}") for end in ("@champion", ":1")] == [model_id, model_id]
    assert [item.model_id for item in registry.list_models(name=name)] == [model_id]
    assert registry.load_model(model_id)[0] == 1


@pytest.mark.parametrize("name", ["..", "../models/m", "m/..", "", "."])
def test_a_name_with_a_path_has_no_versions_and_no_aliases(registry: ModelRegistry, name: str) -> None:
    registry.register_model(model=1, model_name="m", model_type="T", registry_only=True)
    assert registry.list_models(name=name) == []
    for reference in (f"{name}:1", f"{name}@champion"):
        with pytest.raises(ModelNotFound):
            Aliases(registry).resolve(reference)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.9), 0.9),
        (np.float32(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.int64(3), 3.0),
        (np.array(0.9), 0.9),
        (np.array(3), 3.0),
        (Fraction(1, 2), 0.5),
        (3, 3.0),
    ],
)
def test_metrics_are_what_numpy_and_python_call_numbers(
    registry: ModelRegistry, value: object, expected: float
) -> None:
    metrics: Any = {"m": value}
    model_id = registry.register_model(
        model=1, model_name="m", model_type="T", registry_only=True, performance_metrics=metrics
    )
    found = registry.get_metadata(model_id).performance_metrics["m"]
    assert (type(found), found) == (float, expected)


def test_registering_needs_a_key_unless_encryption_is_turned_off(tmp_path: Path) -> None:
    with pytest.raises(KeyNotFound):
        ModelRegistry(tmp_path / "r", keys=Keyring()).register_model(
            model=1, model_name="m", model_type="T", registry_only=True
        )
    assert not list((tmp_path / "r").rglob("manifest.json"))
    open_registry = ModelRegistry(tmp_path / "r", encrypt=False)
    model_id = open_registry.register_model(model=1, model_name="m", model_type="T", registry_only=True)
    assert open_registry.load_model(model_id)[0] == 1
    assert not open_registry.get_metadata(model_id).encrypted


def test_a_registry_where_a_file_is_in_the_way_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("")
    registry = ModelRegistry(tmp_path / "r", encrypt=False)
    with pytest.raises(StorageFailed, match=str(tmp_path / "r")):
        registry.register_model(model=1, model_name="m", model_type="T", registry_only=True)
    with pytest.raises(StorageFailed):
        registry.list_models()


def test_the_location_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_REGISTRY_URL", (tmp_path / "with space").as_uri())
    ModelRegistry(encrypt=False).register_model(model=1, model_name="m", model_type="T", registry_only=True)
    assert (tmp_path / "with space" / "models" / "m").is_dir()
    with pytest.raises(InvalidInput, match="ftp"):
        ModelRegistry("ftp://x")


def test_the_manifest_is_written_once_and_is_plain_json(registry: ModelRegistry) -> None:
    model_id = registry.register_model(model=1, model_name="m", model_type="T", registry_only=True)
    before = registry.manifest_path(model_id).read_bytes()
    registry.update_model_status(model_id, "staged")
    assert registry.manifest_path(model_id).read_bytes() == before
    assert json.loads(before)["model_id"] == model_id


def test_a_key_file_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "k" / "model.key"
    fingerprint = write_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_key_file(path)
    assert Keyring.from_files(path).primary.key_id == fingerprint
    assert ensure_key_file(path) == path


def test_a_key_file_that_others_can_read_or_that_holds_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.key"
    write_key_file(path)
    path.chmod(0o644)
    with pytest.raises(KeyFileUnsafe, match="chmod 600"):
        read_key_file(path)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(KeyFileUnsafe, match="44 characters"):
        read_key_file(path)
    with pytest.raises(KeyFileUnsafe, match="No such file"):
        read_key_file(tmp_path / "nowhere")


def test_keys_come_from_file_and_environment(tmp_path: Path) -> None:
    path = ensure_key_file(tmp_path / "model.key")
    ring = Keyring.from_environment({"MODEL_KEY_FILE": str(path), "MODEL_KEY": KEY.decode()})
    assert len({provider.key_id for provider in ring.providers}) == 2
    assert Keyring.from_environment({}).providers == ()
    assert os.environ.get("MODEL_KEY") is None
