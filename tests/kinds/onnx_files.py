"""ONNX files as others write them: skl2onnx, onnxmltools, and what PyTorch's exporter makes. ONNX Runtime answers."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
from lightgbm import LGBMClassifier
from onnx import TensorProto, helper, numpy_helper
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as ToolsFloatTensorType
from skl2onnx import convert_sklearn, to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from xgboost import XGBClassifier

from tests.kinds.data import counts, frame, numbers, part, three_classes
from tests.kinds.kind import Group, Rows, Trained

onnx_files = Group("ONNX files")
_INPUT = [("input", FloatTensorType([None, 4]))]
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(string)": object,
    "tensor(int64)": np.int64,
}


def _asked(
    path: Path, answer: Callable[[list[Any]], np.ndarray], *, one_by_one: bool = False
) -> Callable[[Any], np.ndarray]:
    """What ONNX Runtime answers to rows in the types that the file asks for."""

    @cache
    def session() -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])

    def scores(rows: Any) -> np.ndarray:
        parts = [rows[number : number + 1] for number in range(len(rows))] if one_by_one else [rows]
        found = [answer(session().run(None, _fed(session(), part_))) for part_ in parts]
        return np.concatenate(found).astype(np.float64)

    return scores


def _fed(session: onnxruntime.InferenceSession, rows: Any) -> Mapping[str, np.ndarray]:
    wanted = {item.name: _TYPES[item.type] for item in session.get_inputs()}
    if isinstance(rows, pd.DataFrame):
        return {name: rows[[name]].to_numpy().astype(kind) for name, kind in wanted.items()}
    ((name, kind),) = wanted.items()
    return {name: np.asarray(rows).astype(kind)}


def _written(
    directory: Path, model: Any, rows: Rows, answer: Callable[[list[Any]], np.ndarray], **more: Any
) -> Trained:
    path = directory / "model.onnx"
    path.write_bytes(model.SerializeToString())
    one_by_one = more.pop("one_by_one", False)
    return Trained(path, rows, _asked(path, answer, one_by_one=one_by_one), **more)


def _column(number: int) -> Callable[[list[Any]], np.ndarray]:
    return lambda outputs: np.asarray(outputs[1])[:, number]


def _key(name: Any) -> Callable[[list[Any]], np.ndarray]:
    return lambda outputs: np.array([item[name] for item in outputs[1]])


def _linear(target: np.ndarray | None = None) -> tuple[LogisticRegression, np.ndarray]:
    data = numbers()
    return LogisticRegression().fit(data.train, data.target if target is None else target), np.asarray(data.rows)


@onnx_files.add("skl2onnx, zipmap (its default)", cheap=True)
def zipmap(directory: Path) -> Trained:
    model, rows = _linear()
    return _written(directory, convert_sklearn(model, initial_types=_INPUT), rows, _key(1))


@onnx_files.add("skl2onnx, to_onnx")
def by_example(directory: Path) -> Trained:
    model, rows = _linear()
    return _written(directory, to_onnx(model, rows[:1].astype(np.float32)), rows, _key(1))


@onnx_files.add("skl2onnx, zipmap columns")
def zipmap_columns(directory: Path) -> Trained:
    model, rows = _linear()
    made = convert_sklearn(model, initial_types=_INPUT, options={id(model): {"zipmap": "columns"}})
    return _written(directory, made, rows, lambda outputs: np.ravel(outputs[2]))


@onnx_files.add("skl2onnx, no zipmap")
def no_zipmap(directory: Path) -> Trained:
    model, rows = _linear()
    made = convert_sklearn(model, initial_types=_INPUT, options={id(model): {"zipmap": False}})
    return _written(directory, made, rows, _column(1))


@onnx_files.add("skl2onnx, 64-bit input")
def double_input(directory: Path) -> Trained:
    data = numbers()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(data.train, data.target)
    types = [("input", DoubleTensorType([None, 4]))]
    made = convert_sklearn(model, initial_types=types, options={id(model): {"zipmap": False}})
    return _written(directory, made, data.rows, _column(1))


@onnx_files.add("skl2onnx, labels fraud and legit")
def onnx_labels(directory: Path) -> Trained:
    model, rows = _linear(numbers().named("fraud", "legit"))
    return _written(directory, convert_sklearn(model, initial_types=_INPUT), rows, _key("fraud"))


@onnx_files.add("skl2onnx, labels fraud and legit, no zipmap")
def onnx_labels_without_zipmap(directory: Path) -> Trained:
    model, rows = _linear(numbers().named("fraud", "legit"))
    made = convert_sklearn(model, initial_types=_INPUT, options={id(model): {"zipmap": False}})
    return _written(directory, made, rows, _column(0))


@onnx_files.add("skl2onnx, three classes")
def onnx_three_classes(directory: Path) -> Trained:
    data = three_classes()
    model = RandomForestClassifier(6, random_state=0).fit(data.train, data.target)
    made = convert_sklearn(model, initial_types=_INPUT)
    return _written(directory, made, data.rows, _key(0), registration={"positive_class": 0})


@onnx_files.add("skl2onnx, one input a column of a data frame")
def onnx_columns(directory: Path) -> Trained:
    data = part(frame(unseen=True), "merchant", "amount", "age")
    columns = ColumnTransformer(
        [
            ("merchant", OneHotEncoder(handle_unknown="ignore"), ["merchant"]),
            ("rest", StandardScaler(), ["amount", "age"]),
        ]
    )
    train = data.train.astype({"merchant": object}) if isinstance(data.train, pd.DataFrame) else data.train
    model = make_pipeline(columns, LogisticRegression()).fit(train, data.target)
    types = [
        ("merchant", StringTensorType([None, 1])),
        ("amount", FloatTensorType([None, 1])),
        ("age", FloatTensorType([None, 1])),
    ]
    return _written(directory, convert_sklearn(model, initial_types=types), data.rows, _key(1))


@onnx_files.add("onnxmltools, XGBoost")
def tools_xgboost(directory: Path) -> Trained:
    data = numbers()
    model = XGBClassifier(n_estimators=12, n_jobs=1).fit(data.train, data.target)
    made = convert_xgboost(model, initial_types=[("input", ToolsFloatTensorType([None, 4]))])
    return _written(directory, made, data.rows, _column(1))


@onnx_files.add("onnxmltools, LightGBM")
def tools_lightgbm(directory: Path) -> Trained:
    data = numbers()
    model = LGBMClassifier(n_estimators=12, n_jobs=1, verbose=-1).fit(data.train, data.target)
    made = convert_lightgbm(model, initial_types=[("input", ToolsFloatTensorType([None, 4]))])
    return _written(directory, made, data.rows, _key(1))


def network(last: str | None, width: int, batch: int | str = "batch", *, flat: bool = False) -> onnx.ModelProto:
    """What PyTorch's exporter makes of two linear layers.

    Args:
        last: the function at the end, such as `Sigmoid`; None for none.
        width: of the output.
        batch: the size of a batch, or its name.
        flat: whether the output has one dimension only.
    """
    rng = np.random.default_rng(2)
    shapes = {"0.weight": (8, 4), "0.bias": (8,), "2.weight": (width, 8), "2.bias": (width,)}
    weights = [
        numpy_helper.from_array((rng.normal(size=shape) * 1.5).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Gemm", ["input", "0.weight", "0.bias"], ["hidden"], transB=1),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "2.weight", "2.bias"], ["logit" if last or flat else "output"], transB=1),
    ]
    if last:
        more: dict[str, Any] = {"axis": 1} if last == "Softmax" else {}
        nodes.append(helper.make_node(last, ["logit"], ["answer" if flat else "output"], **more))
    if flat:
        weights.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "axes"))
        nodes.append(helper.make_node("Squeeze", ["answer", "axes"], ["output"]))
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 4])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch] if flat else [batch, width])],
        weights,
    )
    model = helper.make_model(graph, producer_name="pytorch", opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def _near_rows() -> np.ndarray:
    return np.asarray(numbers(extremes=False).rows)


@onnx_files.add("PyTorch, one sigmoid", cheap=True)
def one_sigmoid(directory: Path) -> Trained:
    return _written(directory, network("Sigmoid", 1), _near_rows(), lambda outputs: outputs[0][:, 0])


@onnx_files.add("PyTorch, one sigmoid, flat")
def flat_sigmoid(directory: Path) -> Trained:
    return _written(directory, network("Sigmoid", 1, flat=True), _near_rows(), lambda outputs: outputs[0])


@onnx_files.add("PyTorch, softmax of two")
def softmax(directory: Path) -> Trained:
    return _written(directory, network("Softmax", 2), _near_rows(), lambda outputs: outputs[0][:, 1])


@onnx_files.add("PyTorch, batches of one row only")
def batch_of_one(directory: Path) -> Trained:
    made = network("Sigmoid", 1, batch=1)
    return _written(directory, made, _near_rows(), lambda outputs: outputs[0][:, 0], one_by_one=True)


@onnx_files.add("whole numbers in, and nothing else")
def whole_numbers(directory: Path) -> Trained:
    data = counts()
    model = LogisticRegression().fit(data.train, data.target)
    made = convert_sklearn(model, initial_types=[("input", Int64TensorType([None, 4]))], options={"zipmap": False})
    refused = np.array([[1.0, 2.0, 3.0, 0.7], [np.nan, 1.0, 1.0, 1.0], [1e30, 1.0, 1.0, 1.0]])
    return _written(directory, made, data.rows, _column(1), refused=refused)


@onnx_files.add("probabilities before another output of the same range")
def another_output(directory: Path) -> Trained:
    made = network("Softmax", 2)
    made.graph.node[-1].output[0] = made.graph.output[0].name = "probabilities"
    made.graph.node.append(helper.make_node("Sigmoid", ["active"], ["attention"]))
    made.graph.output.append(helper.make_tensor_value_info("attention", TensorProto.FLOAT, ["batch", 8]))
    return _written(directory, made, _near_rows(), lambda outputs: outputs[0][:, 1])
