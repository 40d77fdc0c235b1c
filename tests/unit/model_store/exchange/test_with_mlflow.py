"""Models that MLflow itself has made are imported; exported ones are read by MLflow itself. MLflow 2 and 3."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.compose import make_column_transformer
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from xgboost import XGBClassifier

from model_store import Keyring, ModelRegistry
from model_store.errors import InvalidInput, UntrustedType
from model_store.registry.exchange.exporting import export_mlflow
from model_store.registry.exchange.importing import import_mlflow
from model_store.registry.request import RegistrationRequest
from tests.checkout import SOURCE
from tests.mlflow_environment import python_with_mlflow
from tests.unit.model_store.making import KEY

_UNNAMED = ("sklearn-unnamed", "xgboost-xgb")
_TAKEN = {
    "2": ("sklearn-cloudpickle", "sklearn-unnamed", "xgboost-xgb", "lightgbm-class"),
    "3": ("sklearn-skops", "xgboost-class", "xgboost-booster", "lightgbm-class", "lightgbm-booster"),
}
_TYPES = {"sklearn": "LogisticRegression", "xgboost": "XGBoost", "lightgbm": "LightGBM"}


@dataclass
class Made:
    """What one release of MLflow has made."""

    release: str
    python: Callable[..., None]
    directory: Path
    registry: ModelRegistry

    def take(self, path: Path | str, name: str = "", **asked: Any) -> str:
        request = RegistrationRequest(model_name=name, positive_class=1, runtime=False, **asked)
        return import_mlflow(self.registry, self.directory / path, request)[0]


@pytest.fixture(scope="module")
def every_release(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    @cache
    def make(release: str) -> Made:
        directory = tmp_path_factory.mktemp(f"mlflow{release}")
        python = python_with_mlflow(release)
        python("make", directory)
        return Made(release, python, directory, ModelRegistry(directory / "registry", keys=Keyring.of(KEY)))

    return make


@pytest.fixture(params=["2", "3"])
def made(request: pytest.FixtureRequest, every_release: Callable[[str], Made]) -> Made:
    return every_release(request.param)


@pytest.fixture
def latest(every_release: Callable[[str], Made]) -> Made:
    return every_release("3")


def _model_directory(made: Made) -> Path:
    """Where the run has logged its model."""
    (found,) = made.directory.glob(
        "mlruns/*/*/artifacts/model" if made.release == "2" else "mlruns/*/models/*/artifacts"
    )
    return found


def test_each_flavour_answers_as_it_did_in_mlflow(made: Made) -> None:
    told = json.loads((made.directory / "answers.json").read_text())
    rows = pd.DataFrame(told["rows"], columns=told["columns"])
    names = _TAKEN[made.release]
    with ThreadPoolExecutor(2) as pool:
        ids = list(pool.map(lambda name: made.take(name, name), names))
    for name, model_id in zip(names, ids, strict=True):
        model, metadata = made.registry.load_model(model_id)
        asked = rows.to_numpy() if name in _UNNAMED or name == "lightgbm-booster" else rows
        assert np.allclose(model.predict_proba(asked)[:, 1], told["answers"][name], rtol=0, atol=1e-7), name
        assert list(metadata.feature_names) == told["columns"], "the signature names what the estimator does not"
        assert metadata.model_type == _TYPES[name.split("-")[0]]
        facts = metadata.lineage["mlflow"]
        assert facts["flavour"] == name.split("-")[0]
        assert str(facts["mlflow_version"]).startswith(made.release)
        assert len(facts["model_uuid"]) == 32
    first = made.registry.get_metadata(ids[0])
    assert first.lineage["mlflow"]["metadata"] == {"owner": {"team": "cards"}}
    assert first.lineage["mlflow"]["serialization_format"] == names[0].removeprefix("sklearn-")
    assert first.lineage["git_commit"] is None, "the commit of this checkout is not the model's"


def test_a_run_gives_name_metrics_parameters_and_tags(made: Made) -> None:
    run = made.directory / "mlruns"
    # MLflow 3 gives a model the metrics of the step that it was logged at, here the first.
    auc = {"2": 0.94, "3": 0.91}[made.release]
    request = RegistrationRequest(model_name="", runtime=False, reason="moved", performance_metrics={"recall": 0.5})
    model_id, notes = import_mlflow(made.registry, _model_directory(made), request)
    found = made.registry.get_metadata(model_id)
    assert found.model_name == "october-try"
    assert found.performance_metrics == {"auc": auc, "val/precision": 0.5, "recall": 0.5}
    assert "'lost'" in notes[0]
    assert found.lineage["parameters"]["rows"] == "300"
    assert found.lineage["mlflow"]["tags"] == {"team": "cards"}
    run_id = (made.directory / "run_id").read_text()
    assert (found.lineage["mlflow"]["run_id"], found.author, found.description) == (run_id, "dana", "first try")
    assert found.lineage["mlflow"]["saved_input_example_info"]["type"] == "dataframe"
    record = list(made.registry.audit.records())[-1]
    assert (record.action, record.model_id, record.reason) == ("import", model_id, "moved")
    # The same by the run's directory, which is how people find it.
    again = made.take(next(run.glob(f"*/{run_id}")), "again")
    assert made.registry.get_metadata(again).performance_metrics["auc"] == auc


def test_a_registered_model_names_itself_and_archives_are_read(latest: Made, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="--name card_fraud"):
        latest.take("downloaded")
    packed = Path(shutil.make_archive(str(tmp_path / "model"), "zip", latest.directory, "downloaded"))
    first = latest.registry.get_metadata(latest.take(packed, "packed"))
    assert first.lineage["mlflow"]["registered_model_name"] == "card fraud"
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(latest.directory / "xgboost-class", ".")
    assert latest.registry.get_metadata(latest.take(tmp_path / "model.tar.gz", "packed")).version == 2


def test_refusals_say_what_to_do(latest: Made) -> None:
    with pytest.raises(UntrustedType, match=r"cloudpickle has put code of the author's own into it") as caught:
        latest.take("own-code", "own")
    assert caught.value.name.startswith("cloudpickle.")
    with pytest.raises(InvalidInput, match="another order than the model: number 1 is 'distance'"):
        latest.take("contradiction", "other")
    with pytest.raises(InvalidInput, match="the signature has 5 columns, the model takes 3"):
        latest.take("too-wide", "wide")
    with pytest.raises(InvalidInput, match=r"holds [0-9]+ MLflow models; name one of them"):
        latest.take(".", "all")
    assert not [model for model in latest.registry.list_models() if model.model_name in ("own", "other", "wide", "all")]


def _exported() -> dict[str, tuple[Any, Any, str]]:
    """By name: a fitted model, rows to ask it, and the flavour that holds it."""
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(200, 2)), columns=["amount", "hour"])
    fraud = (frame["amount"] > 0.2).astype(int)
    mixed = frame.assign(merchant=random.choice(["shop", "web"], 200).astype(object))
    kinds = mixed.astype({"merchant": "category"})
    with_gaps = frame.mask(random.random(frame.shape) < 0.1, 0.0)
    columns = make_column_transformer((OneHotEncoder(), ["merchant"]), remainder="passthrough")
    texts = ["pay now", "thanks a lot", "win now", "see you"] * 10
    return {
        "pipeline": (make_pipeline(columns, XGBClassifier(n_estimators=3)).fit(mixed, fraud), mixed, "sklearn"),
        "forest": (RandomForestClassifier(3, random_state=0).fit(frame.to_numpy(), fraud), frame.to_numpy(), "sklearn"),
        "boosted": (XGBClassifier(n_estimators=3).fit(frame, fraud), frame, "xgboost"),
        "zeros": (XGBClassifier(n_estimators=3, missing=0.0).fit(with_gaps, fraud), with_gaps, "sklearn"),
        "light": (LGBMClassifier(n_estimators=3, verbose=-1).fit(frame, fraud), frame, "lightgbm"),
        "categories": (LGBMClassifier(n_estimators=3, verbose=-1).fit(kinds, fraud), kinds, "lightgbm"),
        "detector": (IsolationForest(n_estimators=5, random_state=0).fit(frame), frame, "sklearn"),
        "texts": (
            make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, [1, 0] * 20),
            np.array(texts),
            "sklearn",
        ),
    }


@dataclass
class Exported:
    """Versions that were exported, with the models that they are of."""

    registry: ModelRegistry
    directory: Path
    models: dict[str, tuple[Any, Any, str]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    directory = tmp_path_factory.mktemp("exported")
    registry, models = ModelRegistry(directory / "registry", keys=Keyring.of(KEY)), _exported()
    questions, ids = {}, {}
    models["booster"] = (models["light"][0].booster_, models["light"][1], "lightgbm")
    for name, (model, rows, _) in models.items():
        about = {} if name == "detector" else {"positive_class": 1}
        ids[name] = registry.register_model(model, name, runtime=False, performance_metrics={"auc": 0.9}, **about)
        some = pd.DataFrame(rows).head(50)
        asked = {"columns": [str(each) for each in some.columns], "rows": some.to_numpy(dtype=object).tolist()}
        asked |= {"framed": isinstance(rows, pd.DataFrame), "categories": name == "categories"}
        questions[str(directory / name)] = asked
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: export_mlflow(registry, ids[name], directory / name), ids))
    (directory / "questions.json").write_text(json.dumps(questions))
    return Exported(registry, directory, models)


def test_mlflow_reads_what_is_exported(made: Made, exported: Exported, tmp_path: Path) -> None:
    made.python("read", exported.directory / "questions.json", tmp_path / "answers.json")
    answers = json.loads((tmp_path / "answers.json").read_text())
    for name, (model, rows, flavour) in exported.models.items():
        answer, some = answers[str(exported.directory / name)], rows[:50]
        assert answer["flavour"] == flavour, name
        assert np.array_equal(answer["predicted"], model.predict(some)), name
        scores = model.predict_proba(some)[:, 1] if hasattr(model, "predict_proba") else model.predict(some)
        assert np.array_equal(answer["scores"], np.asarray(scores, dtype=float)), name
        metadata = exported.registry.get_metadata(answer["metadata"]["model_id"])
        assert (metadata.model_name, metadata.digest) == (name, answer["metadata"]["digest"])
        assert answer["inputs"] == (None if name in ("forest", "texts", "categories") else list(metadata.feature_names))


def test_an_export_is_for_its_maker_only_and_recorded(exported: Exported) -> None:
    for name in exported.models:
        directory = exported.directory / name
        assert directory.stat().st_mode & 0o777 == 0o700
        assert all(each.stat().st_mode & 0o777 == 0o600 for each in directory.iterdir())
        assert {"MLmodel", "requirements.txt", "python_env.yaml", "conda.yaml"} < {e.name for e in directory.iterdir()}
    records = [each for each in exported.registry.audit.records() if each.action == "export"]
    assert len(records) == len(exported.models)
    assert {"format": "mlflow", "encrypted": False, "file": "pipeline"} in [each.details for each in records]


def test_an_export_comes_back(exported: Exported) -> None:
    request = RegistrationRequest(model_name="trip", positive_class=1, runtime=False)
    model_id, _ = import_mlflow(exported.registry, exported.directory / "boosted", request)
    again, metadata = exported.registry.load_model(model_id)
    model, rows, _ = exported.models["boosted"]
    assert np.array_equal(again.predict_proba(rows), model.predict_proba(rows))
    assert metadata.lineage["mlflow"]["metadata"]["performance_metrics"] == {"auc": 0.9}


def test_the_command_line_says_that_an_export_is_open(exported: Exported, tmp_path: Path) -> None:
    key = tmp_path / "model.key"
    key.write_text(KEY.decode())
    key.chmod(0o600)
    environment = {
        **os.environ,
        "MODEL_REGISTRY_URL": str(exported.directory / "registry"),
        "MODEL_KEY_FILE": str(key),
    }

    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        command = [sys.executable, str(SOURCE / "scripts" / "manage_models.py"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stderr
        return done.stdout, done.stderr

    printed, told = run("export", "boosted:1", "out", "--format", "mlflow", "--json")
    answer = json.loads(printed)
    assert (answer["encrypted"], answer["directory"]) == (False, "out")
    assert answer["files"].keys() == {each.name for each in (tmp_path / "out").iterdir()}
    assert "not encrypted" in told
    printed, _ = run("import", "out", "--name", "again", "--positive-class", "1", "--no-runtime", "--json")
    taken = json.loads(printed)
    assert taken["mlflow"]["metadata"]["model_id"] == answer["model_id"]
    _, told = run("import", "out", code=2)
    assert told.splitlines()[-1].startswith("error: MLflow has recorded no name")
    run("export", "boosted:1", "one.bundle")
    _, told = run("import", "one.bundle", "--name", "again", code=2)
    refusal = "error: --name is for MLflow models; a bundle's version stays the one that was exported"
    assert told.splitlines()[-1] == refusal
    assert run("import", "one.bundle")[0] == f"imported {answer['model_id']}\n"
