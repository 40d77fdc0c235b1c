"""What registration refuses, by a message that says why and what to do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import xgboost
from lightgbm import LGBMClassifier, LGBMRanker, LGBMRegressor
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multiclass import OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from xgboost import XGBClassifier, XGBRanker, XGBRegressor

from tests.kinds.data import numbers, three_classes
from tests.kinds.kind import Refused
from tests.kinds.onnx_files import network

REFUSED: list[Refused] = []
LR = LogisticRegression


def _refuse(name: str, message: str, make: Callable[[], Any], *arguments: str) -> None:
    def written(directory: Path) -> tuple[Path, list[str]]:
        path = directory / "model.joblib"
        joblib.dump(make(), path)
        return path, list(arguments)

    REFUSED.append(Refused(name, written, message))


def _fitted(model: Any, target: np.ndarray | None = None, **more: Any) -> Callable[[], Any]:
    data = numbers()
    return lambda: model.fit(data.train, data.target if target is None else target, **more)


def _both() -> np.ndarray:
    target = numbers().target
    return np.column_stack([target, 1 - target])


_refuse("XGBRanker", "XGBRanker|rank", _fitted(XGBRanker(n_estimators=2), qid=np.zeros(400, dtype=int)))
_refuse("XGBRegressor", "XGBRegressor|regress|squarederror", _fitted(XGBRegressor(n_estimators=2)))
_refuse("LGBMRegressor", "LGBMRegressor|regress", _fitted(LGBMRegressor(n_estimators=2, verbose=-1)))
_refuse("LGBMRanker", "LGBMRanker|rank", _fitted(LGBMRanker(n_estimators=2, verbose=-1), group=[200, 200]))
_refuse("a regression", "LinearRegression|regress", _fitted(LinearRegression()))
_refuse("a raw booster that ranks", "rank", lambda: _raw("rank:pairwise"))
_refuse("a raw booster that gives amounts", "squarederror|regress", lambda: _raw("reg:squarederror"))
_refuse(
    "margins instead of probabilities", "logitraw", _fitted(XGBClassifier(n_estimators=2, objective="binary:logitraw"))
)
_refuse("clusters", "KMeans|cluster", lambda: KMeans(3, n_init=1).fit(numbers().train))
_refuse("a scaler", "StandardScaler|transform|no classifier|predict", lambda: StandardScaler().fit(numbers().train))
_refuse("a model that is not fitted", "fit", LR)
_refuse("a text", "str", lambda: "model")
_refuse("nothing", "None", lambda: None)
_refuse("an array", "ndarray|array", lambda: np.zeros(3))
_refuse("votes without probabilities", "predict_proba|probabilit|voting", _fitted(VotingClassifier([("a", LR())])))
_refuse("LocalOutlierFactor without novelty", "novelty", lambda: LocalOutlierFactor().fit(numbers().train))
_refuse("OutputCodeClassifier", "OutputCodeClassifier|probabilit", _fitted(OutputCodeClassifier(LR(), random_state=0)))
_refuse("several answers a row", "MultiOutputClassifier|label|output", _fitted(MultiOutputClassifier(LR()), _both()))
_refuse("a chain of answers", "ClassifierChain|label|output", _fitted(ClassifierChain(LR()), _both()))
_refuse("labels a and b", "positive.class", _fitted(LR(), numbers().named("a", "b")))
_refuse("three classes of numbers", "positive.class", _fitted(LR(), three_classes().target))
_refuse("one class only", "class", _fitted(RandomForestClassifier(2), np.zeros(400, dtype=int)))
_refuse("a class that there is not", "chargeback", _fitted(LR()), "--positive-class", "chargeback")
_refuse(
    "pairs of classes",
    "decision_function_shape|ovr",
    _fitted(SVC(decision_function_shape="ovo"), three_classes().target),
    "--positive-class",
    "2",
)
_refuse("XGBoost's categories beyond ASCII", "ASCII", lambda: _categories(["grün", "über"]))
_refuse("threshold 50", "50", _fitted(LR()), "--threshold", "50")
_refuse("threshold below 0", "-0.1", _fitted(LR()), "--threshold=-0.1")
_refuse("threshold nan", "nan", _fitted(LR()), "--threshold", "nan")


def _categories(names: list[str]) -> XGBClassifier:
    data = numbers()
    table = pd.DataFrame(data.train, columns=list("abcd"))
    table["kind"] = pd.Categorical([names[value] for value in data.target])
    return XGBClassifier(n_estimators=2, enable_categorical=True).fit(table, data.target)


def _raw(objective: str) -> xgboost.Booster:
    data = numbers()
    matrix = xgboost.DMatrix(data.train, data.target)
    if objective.startswith("rank"):
        matrix.set_group([len(data.target)])
    return xgboost.train({"objective": objective}, matrix, 2)


def _refuse_file(name: str, message: str) -> Callable[[Callable[[Path], Path]], Callable[[Path], Path]]:
    def added(write: Callable[[Path], Path]) -> Callable[[Path], Path]:
        REFUSED.append(Refused(name, lambda directory: (write(directory), []), message))
        return write

    return added


@_refuse_file("ONNX that ends in a logit", "logit|probabilit|0 to 1|0 and 1")
def logit(directory: Path) -> Path:
    path = directory / "model.onnx"
    path.write_bytes(network(None, 1).SerializeToString())
    return path


@_refuse_file("ONNX of a regression", "regress|probabilit|class")
def onnx_regression(directory: Path) -> Path:
    data = numbers()
    path = directory / "model.onnx"
    model = LinearRegression().fit(data.train, data.target)
    path.write_bytes(to_onnx(model, np.asarray(data.train[:1], dtype=np.float32)).SerializeToString())
    return path


@_refuse_file("a ranking in its own file", "rank")
def ranking_file(directory: Path) -> Path:
    path = directory / "model.json"
    _raw("rank:pairwise").save_model(path)
    return path


@_refuse_file("two columns of one name", "amount")
def duplicate_names(directory: Path) -> Path:
    data = numbers()
    path = directory / "model.joblib"
    model = LR().fit(data.train, data.target)
    # Earlier versions of scikit-learn take such a frame.
    model.feature_names_in_ = np.array(["amount", "hour", "amount", "age"], dtype=object)
    joblib.dump(model, path)
    return path


@_refuse_file("a description with two columns of one name", "amount")
def duplicate_names_beside(directory: Path) -> Path:
    data = numbers()
    path = directory / "model.joblib"
    joblib.dump(LR().fit(data.train, data.target), path)
    return _described(path, ["amount", "hour", "amount", "age"])


def _beside(directory: Path, features: list[str]) -> Path:
    data = numbers()
    path = directory / "model.joblib"
    names = ["amount", "distance", "hour", "age"]
    joblib.dump(
        RandomForestClassifier(4, random_state=0).fit(pd.DataFrame(data.train, columns=names), data.target), path
    )
    return _described(path, features)


def _described(path: Path, features: list[str]) -> Path:
    described = {"features": [{"name": name, "type": "number"} for name in features]}
    path.with_name(f"{path.name}.metrics.json").write_text(json.dumps(described))
    return path


@_refuse_file("a description in another order", "order|amount")
def other_order(directory: Path) -> Path:
    return _beside(directory, ["hour", "distance", "amount", "age"])


@_refuse_file("a description of other names", "amonut|amount")
def other_names(directory: Path) -> Path:
    return _beside(directory, ["amonut", "distance", "hour", "age"])


@_refuse_file("a description of fewer columns", "age|feature|column")
def fewer_columns(directory: Path) -> Path:
    return _beside(directory, ["amount", "distance", "hour"])


@_refuse_file("LightGBM's own file, cut near its end", "end early|LightGBM")
def cut_lightgbm(directory: Path) -> Path:
    data = numbers()
    path = directory / "model.txt"
    booster = LGBMClassifier(n_estimators=3, verbose=-1).fit(data.train, data.target).booster_
    path.write_text(booster.model_to_string()[:-400])
    return path


@_refuse_file("ONNX with two outputs that may be probabilities", "cannot be told|probabilit")
def two_outputs(directory: Path) -> Path:
    path = directory / "model.onnx"
    model = network("Softmax", 2)
    model.graph.output.append(helper.make_tensor_value_info("active", TensorProto.FLOAT, ["batch", 8]))
    path.write_bytes(model.SerializeToString())
    return path


def _told(directory: Path, model: Any, **more: Any) -> Path:
    path = directory / "model.joblib"
    joblib.dump(model.fit(numbers().train, numbers().target), path)
    features = [{"name": f"feature_{number}", **more} for number in range(4)]
    path.with_name(f"{path.name}.metrics.json").write_text(json.dumps({"features": features}))
    return path


@_refuse_file("a description whose gap the model does not know", "gap|-999")
def other_gap(directory: Path) -> Path:
    return _told(directory, XGBClassifier(n_estimators=2), written=-999)


@_refuse_file("a description whose bins are no numbers", "bins")
def words_for_bins(directory: Path) -> Path:
    return _told(directory, LR(), bins={"edges": ["x"], "shares": [1]})
