"""Model files in the libraries' own formats: what loads, what is refused by name, what never reaches a library."""

import pickle
import re
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pytest
import xgboost

from model_store.errors import InvalidInput, ModelStoreError, UnreadableModel
from model_store.registry.files.model_directory import cleanup_model_files
from model_store.serialization.model_files import inspect_model_file, load_model_file, read_model_file

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(90, 3))
BINARY = (ROWS[:, 0] > 0).astype(int)
THREE = np.arange(90) % 3


def _xgboost(objective: str) -> Any:
    target = THREE if objective.startswith("multi:") else BINARY
    data = xgboost.DMatrix(ROWS, target, group=[90] if objective.startswith("rank:") else None)
    classes = {"num_class": 3} if objective.startswith("multi:") else {}
    return xgboost.train({"objective": objective, **classes}, data, 3)


def _lightgbm(objective: str) -> Any:
    classes = {"num_class": 3} if objective.startswith("multiclass") else {}
    target = THREE if classes else BINARY
    group = [90] if objective == "lambdarank" else None
    return lightgbm.train(
        {"objective": objective, "verbose": -1, **classes}, lightgbm.Dataset(ROWS, target, group=group), 3
    )


@pytest.mark.parametrize("suffix", [".json", ".ubj"])
@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob"])
def test_a_model_that_xgboost_saved_answers_as_its_booster(tmp_path: Path, suffix: str, objective: str) -> None:
    booster = _xgboost(objective)
    booster.save_model(tmp_path / f"model{suffix}")
    found = read_model_file(tmp_path / f"model{suffix}")
    answers = found.model.predict_proba(ROWS)
    expected = booster.predict(xgboost.DMatrix(ROWS))
    assert np.array_equal(answers if answers.shape[1] == 3 else answers[:, 1], expected)
    assert found.versions == {"xgboost": xgboost.__version__}


@pytest.mark.parametrize("objective", ["rank:pairwise", "reg:squarederror", "count:poisson", "binary:logitraw"])
@pytest.mark.parametrize("suffix", [".json", ".ubj"])
def test_an_xgboost_objective_without_a_probability_is_refused_by_name(
    tmp_path: Path, objective: str, suffix: str
) -> None:
    _xgboost(objective).save_model(tmp_path / f"model{suffix}")
    with pytest.raises(InvalidInput, match=objective):
        load_model_file(tmp_path / f"model{suffix}")


@pytest.mark.parametrize("objective", ["binary", "multiclass", "cross_entropy"])
def test_a_model_that_lightgbm_saved_answers_as_its_booster(tmp_path: Path, objective: str) -> None:
    booster = _lightgbm(objective)
    booster.save_model(tmp_path / "model.txt")
    found = read_model_file(tmp_path / "model.txt")
    answers = found.model.predict_proba(ROWS)
    assert np.array_equal(answers if objective == "multiclass" else answers[:, 1], booster.predict(ROWS))
    assert found.versions == {"lightgbm": "v4"}


@pytest.mark.parametrize("objective", ["regression", "lambdarank", "poisson"])
def test_a_lightgbm_objective_without_a_probability_is_refused_by_name(tmp_path: Path, objective: str) -> None:
    _lightgbm(objective).save_model(tmp_path / "model.txt")
    with pytest.raises(InvalidInput, match=objective):
        load_model_file(tmp_path / "model.txt")


@pytest.mark.parametrize("suffix", [".json", ".ubj", ".txt"])
@pytest.mark.parametrize(
    "content", [b"", b"{}", b"garbage", b"[" * 100_000, b"{" + b"\0" * 40 + b"}", b'{"learner": []}']
)
def test_bytes_that_are_no_model_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"model{suffix}").write_bytes(content)
    with pytest.raises(UnreadableModel):
        load_model_file(tmp_path / f"model{suffix}")


def test_a_cut_or_lengthened_ubjson_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.ubj"
    content = bytes(_xgboost("binary:logistic").save_raw("ubj"))
    for changed in (content[:-1], content[: len(content) // 2] + b"}", content + b"}", b"{" + content):
        file.write_bytes(changed)
        with pytest.raises(UnreadableModel):
            load_model_file(file)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("left_child=", "left_child=99 "),
        ("num_leaves=", "num_leaves=9"),
        ("split_feature=", "split_feature=7"),
        ("Tree=1", "Tree=2"),
        ("leaf_value=", "leaf_volume="),
        ("tree_sizes=", "tree_sizes=9"),
        ("left_child=", "left_child=-"),
    ],
)
def test_a_lightgbm_file_whose_trees_are_broken_never_reaches_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    text = _lightgbm("binary").model_to_string()
    (tmp_path / "model.txt").write_text(text.replace(before, after, 1))
    monkeypatch.setattr(lightgbm, "Booster", lambda **_: pytest.fail("the library was asked"))
    with pytest.raises(UnreadableModel, match="not a LightGBM model"):
        load_model_file(tmp_path / "model.txt")


def test_lz4_frames_are_read_and_broken_ones_refused(tmp_path: Path) -> None:
    joblib.dump({"a": np.arange(5000.0)}, tmp_path / "model.joblib", compress=("lz4", 3))
    assert load_model_file(tmp_path / "model.joblib")["a"][-1] == 4999
    for broken in (b"\x04\x22\x4d\x18" + b"\0" * 40, (tmp_path / "model.joblib").read_bytes()[:-100]):
        (tmp_path / "broken.joblib").write_bytes(broken)
        with pytest.raises(ModelStoreError):
            load_model_file(tmp_path / "broken.joblib")


def test_a_pickle_tells_the_versions_that_wrote_it_and_warnings_come_once(tmp_path: Path) -> None:
    import sklearn
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, BINARY)
    content = pickle.dumps([model, xgboost.XGBClassifier(n_estimators=2).fit(ROWS, BINARY)])
    file = tmp_path / "model.pkl"
    file.write_bytes(content)
    found = read_model_file(file)
    assert found.versions == {"scikit-learn": sklearn.__version__, "xgboost": xgboost.__version__}
    assert found.warnings == []
    old = "1" + sklearn.__version__[1:-1] + "0"
    file.write_bytes(content.replace(sklearn.__version__.encode(), old.encode()))
    found = read_model_file(file)
    assert found.versions["scikit-learn"] == old
    assert len(found.warnings) == len(set(found.warnings)) == 3  # One each for scaler, regression and pipeline.
    assert not any("\n" in warning for warning in found.warnings)


@pytest.mark.parametrize("way", ["a compressed pickle", "skops", "JSON"])
def test_xgboost_tells_its_version_in_every_form(tmp_path: Path, way: str) -> None:
    import skops.io

    model = xgboost.XGBClassifier(n_estimators=2).fit(ROWS, BINARY)
    path = tmp_path / {"a compressed pickle": "model.joblib", "skops": "model.skops", "JSON": "model.json"}[way]
    if way == "a compressed pickle":
        joblib.dump({"padding": np.zeros(1 << 20), "model": model}, path, compress=("gzip", 3))
    elif way == "skops":
        skops.io.dump(model, path)
    else:
        model.save_model(path)
    assert read_model_file(path).versions["xgboost"] == xgboost.__version__


@pytest.mark.parametrize(
    ("version", "told"), [("[1,0,0]", {"xgboost": "1.0.0"}), ("[3,2,-1]", {}), ("[3,2,99999999]", {})]
)
def test_only_a_valid_library_version_is_reported(tmp_path: Path, version: str, told: dict[str, str]) -> None:
    path = tmp_path / "model.json"
    xgboost.XGBClassifier(n_estimators=2).fit(ROWS, BINARY).save_model(path)
    text, count = re.subn(r'"version":\[[\d,]+\]', f'"version":{version}', path.read_text())
    assert count == 1
    path.write_text(text)
    found = read_model_file(path).versions
    assert {name: each for name, each in found.items() if name == "xgboost"} == told


def test_native_files_name_nothing(tmp_path: Path) -> None:
    _lightgbm("binary").save_model(tmp_path / "model.txt")
    assert inspect_model_file(tmp_path / "model.txt") == {"named": [], "untrusted": [], "refused": None}


def test_cleaning_up_leaves_other_json_and_text_files_alone(tmp_path: Path) -> None:
    for name in ("notes.txt", "keys.json", "a_v1.ubj", "a_v2.ubj"):
        (tmp_path / name).write_text("x")
    assert len(cleanup_model_files(tmp_path, 1, dry_run=False)) == 1
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".txt", ".ubj"]


@pytest.mark.parametrize("key", ["name", "na\\u006de"])
def test_an_objective_that_two_readers_would_take_for_another_is_refused(tmp_path: Path, key: str) -> None:
    """XGBoost takes the first of two keys and no escapes; Python the last, and both."""
    content = bytes(_xgboost("binary:logistic").save_raw("json")).decode()
    twice = content.replace('"name":"binary:logistic"', f'"name":"binary:logitraw","{key}":"binary:logistic"')
    assert twice != content
    (tmp_path / "model.json").write_text(twice)
    with pytest.raises(UnreadableModel, match="key is"):
        load_model_file(tmp_path / "model.json")
