"""Ways to abuse ONNX models, each with its rule and a near twin."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from model_store.serialization.formats import SerializationFormat
from tests.unit.model_store.serialization.file_mechanism import FileMechanism, data, written

ONNX: list[FileMechanism] = []


def _add(name: str, suffix: str, rule: str, bad: Callable[[], bytes], good: Callable[[], bytes]) -> None:
    ONNX.append(FileMechanism(name, suffix, rule, bad, good))


@cache
def _onnx() -> bytes:
    from sklearn.linear_model import LogisticRegression

    return written(LogisticRegression().fit(*data()), SerializationFormat.ONNX)


def _graph(change: Callable[[Any], None]) -> Callable[[], bytes]:
    def make() -> bytes:
        import onnx

        model = onnx.load_from_string(_onnx())
        change(model)
        return bytes(model.SerializeToString())

    return make


def _outside(model: Any) -> None:
    from onnx import TensorProto

    tensor = model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="model.key")


def _other_domain(model: Any) -> None:
    model.opset_import.add(domain="mine", version=1)
    model.graph.node.add(op_type="Anything", domain="mine", input=[], output=["x"])


def _in_a_function(model: Any) -> None:
    function = model.functions.add(name="f", domain="ai.onnx.ml")
    function.node.add(op_type="Anything", domain="mine", input=[], output=["x"])


def _deep(model: Any) -> None:
    graph = model.graph
    for _ in range(60):
        node = graph.node.add(op_type="If", input=[graph.input[0].name] if graph.input else [], output=["y"])
        attribute = node.attribute.add(name="then_branch", type=5)
        attribute.g.name = "g"
        graph = attribute.g


_add("ONNX, weights in another file", ".onnx", "onnx", _graph(_outside), _onnx)
_add("ONNX, operators of another library", ".onnx", "onnx", _graph(_other_domain), _onnx)
_add("ONNX, such operators in a function", ".onnx", "onnx", _graph(_in_a_function), _onnx)
_add("ONNX, graphs in graphs without an end", ".onnx", "onnx", _graph(_deep), _onnx)
_add("ONNX, a version of the future", ".onnx", "onnx",
     _graph(lambda model: setattr(model.opset_import[0], "version", 1 << 20)), _onnx)  # fmt: skip


def _loop(model: Any) -> None:
    from onnx import TensorProto, helper

    asked = model.graph.input[0].name
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("goes", TensorProto.BOOL, [])],
    )
    model.graph.node.append(helper.make_node("Cast", [asked], ["rounds"], to=TensorProto.INT64))
    model.graph.node.append(helper.make_node("Loop", ["rounds", ""], [], body=body))


def _sized(model: Any) -> None:
    from onnx import TensorProto, helper

    model.graph.node.append(helper.make_node("Cast", [model.graph.input[0].name], ["size"], to=TensorProto.INT64))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["size"], ["many"]))


def _large(model: Any) -> None:
    import onnx
    from onnx import helper

    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1 << 34]), "size"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["size"], ["many"]))


def _words(model: Any) -> None:
    from onnx import TensorProto, helper

    model.graph.node.append(helper.make_node("Cast", [model.graph.input[0].name], ["words"], to=TensorProto.INT64))
    model.graph.node.append(
        helper.make_node(
            "TfIdfVectorizer", ["words"], ["counts"], max_gram_length=1, max_skip_count=0, min_gram_length=1, mode="TF",
            ngram_counts=[0], ngram_indexes=[1 << 28], pool_int64s=[1],
        )
    )  # fmt: skip


def _own_function(model: Any) -> None:
    function = model.functions.add(name="f", domain="ai.onnx.ml")
    function.node.add(op_type="Identity", input=["x"], output=["y"])


def _disordered(model: Any) -> None:
    model.graph.node.insert(0, model.graph.node[-1])
    del model.graph.node[-1]


_add("ONNX, as many rounds as it is asked for", ".onnx", "onnx", _graph(_loop), _onnx)
_add("ONNX, as many values as it is asked for", ".onnx", "onnx", _graph(_sized), _onnx)
_add("ONNX, more values than any memory", ".onnx", "onnx", _graph(_large), _onnx)
_add("ONNX, a word's column far outside", ".onnx", "onnx", _graph(_words), _onnx)
_add("ONNX, a function of its own", ".onnx", "onnx", _graph(_own_function), _onnx)
_add("ONNX, nodes out of order", ".onnx", "onnx", _graph(_disordered), _onnx)
_add("ONNX, cut", ".onnx", "onnx", lambda: _onnx()[:-20], _onnx)
