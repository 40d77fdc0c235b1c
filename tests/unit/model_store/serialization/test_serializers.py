"""Every format gives back a model that predicts the same, and none gives back more than a model."""

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import all_estimators
from xgboost import XGBClassifier

from model_store import ModelRegistry, SecureModelPersistence, SerializationFormat
from model_store.errors import InvalidInput, ModelStoreError, UntrustedType
from model_store.serialization.formats import dump_model, load_model
from model_store.serialization.model_files import inspect_model_file, load_model_file
from scripts.list_rules import candidates

DATA, TARGET = load_iris(return_X_y=True)
FRAUD = (TARGET == 1).astype(int)

MODELS: dict[str, Any] = {
    "xgboost": XGBClassifier(n_estimators=5),
    "lightgbm": LGBMClassifier(n_estimators=5, verbose=-1),
    "forest": RandomForestClassifier(5, random_state=0),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
}
CONVERSIONS = [
    (name, serializer)
    for name in MODELS
    for serializer in SerializationFormat
    if serializer != "data" and (serializer not in ("xgboost", "lightgbm") or serializer == name)
]


@pytest.fixture(scope="module")
def fitted() -> dict[str, Any]:
    return {name: model.fit(DATA, FRAUD) for name, model in MODELS.items()}


@pytest.mark.parametrize(("name", "serializer"), CONVERSIONS)
def test_each_format_gives_back_a_model_that_predicts_the_same(
    tmp_path: Path, fitted: dict[str, Any], name: str, serializer: SerializationFormat
) -> None:
    persistence = SecureModelPersistence(SecureModelPersistence.generate_encryption_key())
    persistence.save_model_secure(fitted[name], tmp_path / "a", format_type=serializer)
    loaded, metadata = persistence.load_model_secure(tmp_path / "a")
    rows = DATA
    assert metadata["format"] == serializer
    assert np.allclose(loaded.predict_proba(rows), fitted[name].predict_proba(rows), atol=1e-6)


@pytest.mark.parametrize(("name", "serializer"), CONVERSIONS)
def test_conversion_checks_that_predictions_agree(
    tmp_path: Path, fitted: dict[str, Any], name: str, serializer: SerializationFormat
) -> None:
    persistence = SecureModelPersistence()
    persistence.save_model_secure(fitted[name], tmp_path / "a")
    report = persistence.convert_model_format(tmp_path / "a", tmp_path / "b", serializer, "gzip")
    assert report["largest_difference"] <= 1e-6
    assert report["seconds"] >= 0


@pytest.mark.parametrize(
    ("name", "serializer"), [("forest", "xgboost"), ("xgboost", "lightgbm"), ("lightgbm", "xgboost")]
)
def test_an_unsupported_conversion_is_refused_and_writes_nothing(
    tmp_path: Path, fitted: dict[str, Any], name: str, serializer: str
) -> None:
    persistence = SecureModelPersistence()
    persistence.save_model_secure(fitted[name], tmp_path / "a")
    with pytest.raises(InvalidInput):
        persistence.convert_model_format(tmp_path / "a", tmp_path / "b", serializer)
    assert not (tmp_path / "b").exists()


def test_a_registered_model_keeps_its_format(tmp_path: Path, fitted: dict[str, Any]) -> None:
    registry = ModelRegistry(tmp_path / "r", encrypt=False)
    model_id = registry.register_model(model=fitted["xgboost"], model_name="m", format_type="xgboost")
    assert registry.get_metadata(model_id).serializer == "xgboost"
    assert isinstance(registry.load_model(model_id)[0], XGBClassifier)


@pytest.mark.parametrize("serializer", ["skops", "onnx", "xgboost", "lightgbm"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"\0" * 1000])
def test_bytes_that_are_no_model_are_refused(serializer: str, content: bytes) -> None:
    with pytest.raises(ModelStoreError):
        load_model(
            io.BufferedReader(io.BytesIO(content)),  # type: ignore[arg-type]
            SerializationFormat(serializer),
            model_class="xgboost.sklearn.XGBClassifier",
        )


def _skops(model: Any) -> bytes:
    buffer = io.BytesIO()
    dump_model(model, buffer, SerializationFormat.SKOPS)
    return buffer.getvalue()


def test_a_skops_file_cannot_name_a_function_to_run(tmp_path: Path) -> None:
    import os

    for function in (os.system, eval):
        content = _skops(FunctionTransformer(function))
        (tmp_path / "model.skops").write_bytes(content)
        with pytest.raises(UntrustedType):
            load_model_file(tmp_path / "model.skops")
        assert inspect_model_file(tmp_path / "model.skops")["untrusted"]


def test_a_skops_file_that_trusts_itself_is_refused(tmp_path: Path) -> None:
    content = _skops(XGBClassifier(n_estimators=1).fit(DATA, FRAUD))
    rewritten = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(rewritten, "w") as new:
        for entry in old.namelist():
            data = (
                old.read(entry).replace(b'"XGBClassifier"', b'"Popen"').replace(b'"xgboost.sklearn"', b'"subprocess"')
            )
            new.writestr(entry, data)
        new.writestr("trusted.json", '["subprocess.Popen"]')
    (tmp_path / "model.skops").write_bytes(rewritten.getvalue())
    with pytest.raises(UntrustedType, match=r"subprocess\.Popen"):
        load_model_file(tmp_path / "model.skops")


def test_an_onnx_file_is_read_without_any_unpickling(tmp_path: Path, fitted: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    dump_model(fitted["forest"], buffer, SerializationFormat.ONNX)
    (tmp_path / "model.onnx").write_bytes(buffer.getvalue())
    loaded = load_model_file(tmp_path / "model.onnx")
    assert np.allclose(loaded.predict_proba(DATA), fitted["forest"].predict_proba(DATA), atol=1e-6)
    found = inspect_model_file(tmp_path / "model.onnx")
    assert "ai.onnx.ml.TreeEnsemble" in found["named"]
    assert not found["untrusted"]
    assert found["refused"] is None


@pytest.mark.timeout(200)
def test_every_estimator_that_fits_loads_by_default() -> None:
    warnings.simplefilter("ignore")
    fitted, loaded, refused = 0, 0, {}
    for label, model in candidates():
        try:
            model.fit(abs(DATA), TARGET)
        except Exception:
            continue
        fitted += 1
        for serializer in (SerializationFormat.JOBLIB, SerializationFormat.PICKLE):
            buffer = io.BytesIO()
            dump_model(model, buffer, serializer)
            buffer.seek(0)
            try:
                load_model(io.BufferedReader(buffer), serializer)  # type: ignore[arg-type]
                loaded += 1
            except UntrustedType as error:
                refused[label.removeprefix("pipeline of ")] = error.name
    assert not refused
    assert loaded == 2 * fitted
    assert fitted > 0.85 * len(all_estimators())
    print(f"{loaded} times an estimator or pipeline was loaded; refused: {refused}")
