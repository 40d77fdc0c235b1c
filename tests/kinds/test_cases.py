"""What others reported of similar tools: the ways of registering, and the files, that the catalogue does not vary.

Which column is fraud, precision, gaps and sentinels, text and categories, thresholds and detectors are kinds of the
catalogue; here are the same models registered in other formats, without an optimized form, and as other files.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from xgboost import XGBClassifier

from model_store import ModelRegistry
from model_store.contract.form import FormRunner
from model_store.errors import UntrustedType
from model_store.serialization.model_files import load_model_file
from tests.kinds.catalogue import kind_named
from tests.kinds.command_line import register
from tests.kinds.data import PAST_32_BITS, numbers
from tests.kinds.kind import Trained, trained
from tests.kinds.measured import measure_trained
from tests.kinds.served import served

_ONNX = {"format_type": "onnx"}
_NATIVE = {"runtime": False}


def _assert_served(model: Trained, directory: Path, **registration: Any) -> None:
    found = measure_trained(model, directory, **registration)
    assert not found.problems, "\n".join(found.problems)


@pytest.mark.parametrize(
    ("group", "name", "registration"),
    [
        ("numbers past 32 bits", "8-digit BINs in LightGBM", _NATIVE),
        ("XGBoost", "missing=-999", {"format_type": "xgboost"}),
        ("XGBoost", "missing=-999", _NATIVE),
        ("LightGBM", "zero_as_missing", {"format_type": "lightgbm"}),
        ("LightGBM", "rf", {"format_type": "lightgbm"}),
        ("ONNX files", "skl2onnx, zipmap (its default)", _ONNX),
        ("ONNX files", "skl2onnx, zipmap columns", _ONNX),
        ("ONNX files", "skl2onnx, no zipmap", _ONNX),
        ("scikit-learn classifiers", "RandomForestClassifier that is certain", {"format_type": "skops"}),
        ("classes and thresholds", "labels fraud and legit, fraud sorted first", {"format_type": "pickle"}),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else value,
)
def test_another_format_of_the_artifact_changes_no_answer(
    group: str, name: str, registration: dict[str, Any], tmp_path: Path
) -> None:
    _assert_served(kind_named(group, name).train(tmp_path), tmp_path, **registration)


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("LightGBM", "rf"),
        ("LightGBM", "zero_as_missing"),
        ("XGBoost", "missing=-999"),
        ("XGBoost", "num_parallel_tree"),
    ],
)
def test_a_format_that_changes_answers_is_refused_or_gives_the_models_own(
    group: str, name: str, tmp_path: Path
) -> None:
    model = kind_named(group, name).train(tmp_path)
    file = tmp_path / "model.joblib"
    joblib.dump(model.model, file)
    ended = register(tmp_path, file, "--format", "onnx")
    if ended.code:
        assert ended.code == 2
        assert "onnx" in ended.errors.lower()
    else:
        _assert_served(model, tmp_path / "served", **_ONNX)


@pytest.mark.parametrize("compression", ["gzip", "zlib", "bz2", "lzma", "xz", "lz4"])
def test_every_compression_of_joblib_is_read(compression: str, tmp_path: Path) -> None:
    data = numbers()
    model = XGBClassifier(n_estimators=3, n_jobs=1).fit(data.train, data.target)
    file = tmp_path / f"{compression}.joblib"
    joblib.dump(model, file, compress=(compression, 3))
    np.testing.assert_array_equal(load_model_file(file).predict_proba(data.rows), model.predict_proba(data.rows))


@pytest.mark.parametrize("name", ["my models", "modèle#1", "100%20", "a?b"])
def test_a_registry_may_be_in_a_directory_of_any_name(name: str, tmp_path: Path) -> None:
    data = numbers()
    _assert_served(trained(LogisticRegression().fit(data.train, data.target), data.rows), tmp_path / name)


def test_a_number_past_32_bits_is_answered_by_what_works_with_64(tmp_path: Path) -> None:
    data = numbers()
    model = VotingClassifier([("a", LogisticRegression())], voting="soft").fit(data.train, data.target)
    _assert_served(trained(model, np.array([[PAST_32_BITS, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])), tmp_path)


@pytest.mark.parametrize("value", [np.float64(0.9), np.float32(0.9), np.int64(3), np.array(0.9), 3])
def test_metrics_may_be_numbers_of_numpy(value: Any, tmp_path: Path) -> None:
    data = numbers()
    model = LogisticRegression().fit(data.train, data.target)
    registry = ModelRegistry(tmp_path, encrypt=False)
    model_id = registry.register_model(model=model, model_name="fraud", performance_metrics={"measured": value})
    assert registry.get_metadata(model_id).performance_metrics["measured"] == float(value)


def test_a_metric_called_threshold_does_not_decide(tmp_path: Path) -> None:
    data = numbers()
    model = trained(LogisticRegression().fit(data.train, data.target), data.rows)
    _assert_served(model, tmp_path, performance_metrics={"threshold": 0.99})


@pytest.mark.parametrize("form", ["a gap", "its sentinel"])
def test_a_missing_value_is_sent_as_the_contract_writes_it(form: str, tmp_path: Path) -> None:
    model = kind_named("XGBoost", "missing=-999").train(tmp_path)
    rows = np.asarray(model.rows)[:40]
    gaps = np.where(rows == -999, np.nan, rows) if form == "a gap" else rows
    own = model.scores(rows)
    _assert_served(replace(model, rows=gaps, scores=lambda _rows: own), tmp_path)


def test_an_unknown_code_is_refused_where_the_encoder_refuses_it(tmp_path: Path) -> None:
    model = kind_named("encoders of columns", "OneHotEncoder of codes by index").train(tmp_path)
    with served(model, tmp_path) as service:
        (body,) = service.bodies(np.array([[99.0, 0.0, 0.0, 0.0]]))
        status, answer = service.post({"transactions": [body]})
        assert status == 422
        assert answer["error"]["field"] == f"transactions[0].{service.names[0]}"


def test_a_service_names_the_field_of_a_gap_that_is_not_allowed(tmp_path: Path) -> None:
    model = kind_named("scikit-learn classifiers", "LogisticRegression").train(tmp_path)
    with served(model, tmp_path) as service:
        (body,) = service.bodies(np.array([[1.0, 2.0, np.nan, 3.0]]))
        status, answer = service.post({"transaction": body})
        assert status == 422
        assert answer["error"]["field"] == f"transaction.{service.names[2]}"


def test_a_name_that_is_trusted_at_registration_can_be_served(tmp_path: Path) -> None:
    model = kind_named("scalers, imputers and other steps", "FunctionTransformer of numpy.log1p").train(tmp_path)
    _assert_served(model, tmp_path)


def test_a_function_of_another_library_is_not_trusted(tmp_path: Path) -> None:
    import os

    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    data = numbers()
    model = make_pipeline(FunctionTransformer(os.fspath), LogisticRegression())
    model.steps[-1][1].fit(data.train, data.target)
    file = tmp_path / "model.joblib"
    joblib.dump(model, file)
    with pytest.raises(UntrustedType, match=r"fspath|FunctionTransformer"):
        load_model_file(file)


@pytest.mark.parametrize("body", ["transaction", "transactions"])
def test_a_form_that_fails_is_answered_and_counted_as_an_error(
    body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: Any) -> Any:
        raise RuntimeError("the runtime is out of memory")

    model = kind_named("scikit-learn classifiers", "LogisticRegression").train(tmp_path)
    with served(model, tmp_path) as service:
        (row,) = service.bodies(model.rows[:1])
        for name in ("one", "many"):
            monkeypatch.setattr(FormRunner, name, fail)
        status, answer = service.post({body: row if body == "transaction" else [row, row]})
        assert (status, answer["error"]["code"]) == (500, "internal")
        assert service.get("/status")["total"]["errors"] == 1
