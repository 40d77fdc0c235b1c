"""Writes a table of trees as ONNX, so that ONNX Runtime branches and sums as the library does.

Thresholds, leaves and sums keep the library's own precision. Trees stand in the library's order behind one that holds
the base, since ONNX Runtime sums them in order: for one sum the result is the library's to the last bit.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from model_store.serialization.trees import LEAF, ZERO, Trees

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "rows", "sums"
_IR_VERSION, _OPSET, _ML_OPSET = 10, 21, 5
_LESS_OR_EQUAL, _LESS = 0, 1
_SUM = 1


def sums_as_onnx(trees: Trees) -> bytes:
    """A model that takes prepared rows, shape (n, width), and returns the sums, shape (n, targets).

    Both are of the precision that the library sums in.
    """
    kind = _kind(trees)
    graph = _helper().make_graph(
        [_ensemble(trees, INPUT, OUTPUT)],
        "trees",
        [_helper().make_tensor_value_info(INPUT, kind, [None, trees.width])],
        [_helper().make_tensor_value_info(OUTPUT, kind, [None, len(trees.base)])],
    )
    return _serialized(graph)


def classifier_as_onnx(trees: Trees, classes: int, positive_index: int) -> bytes:
    """A model that takes raw 64-bit rows, shape (n, width), and returns probabilities, shape (n, classes).

    Args:
        trees: of the classifier.
        classes: how many.
        positive_index: the class whose probability the sums of a forest are; for two classes only.
    """
    helper = _helper()
    graph = _Graph()
    _add_probabilities(graph, trees, _add_sums(graph, trees, _add_preparation(graph, trees)), positive_index)
    made = helper.make_graph(
        graph.nodes,
        "classifier",
        [helper.make_tensor_value_info(INPUT, helper.TensorProto.DOUBLE, [None, trees.width])],
        [helper.make_tensor_value_info(OUTPUT, helper.TensorProto.DOUBLE, [None, classes])],
        graph.constants,
    )
    return _serialized(made)


class _Graph:
    """Nodes and constants of a graph on its way."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Adds a node; returns its output's name."""
        self.nodes.append(_helper().make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: "np.ndarray[Any, Any]") -> str:
        """Adds a constant; returns its name."""
        self.constants.append(_numpy_helper().from_array(value, name))
        return name


def _add_preparation(graph: _Graph, trees: Trees) -> str:
    """Rows as `Trees.prepared` makes them."""
    kinds, rows = _helper().TensorProto, INPUT
    if trees.value_bits == 32:
        rows = graph.node("Cast", [rows], "cut", to=kinds.FLOAT)
        rows = graph.node("Cast", [rows], "widened", to=kinds.DOUBLE)
    gap = graph.constant("gap", np.array(np.nan)) if trees.gap_values or trees.zero_is_gap else ""
    if trees.gap_values:
        values = np.full(trees.width, np.nan)
        for number, value in trees.gap_values.items():
            values[number] = np.float64(np.float32(value))
        is_gap = graph.node("Equal", [rows, graph.constant("gap_values", values)], "is_gap")
        rows = graph.node("Where", [is_gap, gap, rows], "with_gaps")
    if trees.zero_is_gap:
        limit = np.full(trees.width, -1.0)
        limit[list(trees.zero_is_gap)] = ZERO
        sizes = graph.node("Abs", [rows], "sizes")
        is_zero = graph.node("LessOrEqual", [sizes, graph.constant("zeros", limit)], "is_zero")
        rows = graph.node("Where", [is_zero, gap, rows], "without_zeros")
    if trees.gap_is_zero:
        mask = np.zeros((1, trees.width), dtype=bool)
        mask[0, list(trees.gap_is_zero)] = True
        gaps = graph.node("IsNaN", [rows], "gaps")
        to_zero = graph.node("And", [gaps, graph.constant("takes_zero", mask)], "to_zero")
        rows = graph.node("Where", [to_zero, graph.constant("zero", np.array(0.0)), rows], "filled")
    return rows


def _add_sums(graph: _Graph, trees: Trees, rows: str) -> str:
    kinds = _helper().TensorProto
    if trees.sum_bits == 32:
        rows = graph.node("Cast", [rows], "narrow", to=kinds.FLOAT)
    graph.nodes.append(_ensemble(trees, rows, "sums_of_leaves"))
    sums = "sums_of_leaves"
    if trees.sum_bits == 32:
        sums = graph.node("Cast", [sums], "wide_sums", to=kinds.DOUBLE)
    if trees.divisor != 1:
        divisor = graph.constant("divisor", np.array(float(trees.divisor)))
        sums = graph.node("Div", [sums, divisor], "means")
    return sums


def _add_probabilities(graph: _Graph, trees: Trees, sums: str, positive_index: int) -> None:
    if trees.link == "softmax":
        graph.node("Softmax", [sums], OUTPUT, axis=1)
        return
    chance = graph.node("Sigmoid", [sums], "chance") if trees.link == "logistic" else sums
    other = graph.node("Sub", [graph.constant("one", np.array(1.0)), chance], "other")
    both = [chance, other] if trees.link == "identity" and positive_index == 0 else [other, chance]
    graph.node("Concat", both, OUTPUT, axis=1)


def _ensemble(trees: Trees, source: str, target: str) -> Any:
    helper, numpy_helper = _helper(), _numpy_helper()
    number_type: Any = np.float32 if trees.sum_bits == 32 else np.float64
    inner = np.flatnonzero(trees.left != LEAF)
    leaves = trees.leaves
    place = np.empty(len(trees.left), dtype=np.int64)
    bases = len(trees.base)
    # A tree that is a leaf alone becomes a node of which both branches are that leaf; so do the bases.
    lone = [root for root in trees.roots if trees.left[root] == LEAF]
    place[inner] = np.arange(len(inner)) + bases + len(lone)
    place[leaves] = np.arange(len(leaves)) + bases
    root_of_lone = {root: bases + number for number, root in enumerate(lone)}
    target_of = _target_of_nodes(trees)
    lone_leaves = np.array([*range(bases), *(place[root] for root in lone)], dtype=np.int64)
    flat = len(lone_leaves)
    left, right = trees.left[inner], trees.right[inner]
    left_leaf, right_leaf = trees.left[left] == LEAF, trees.left[right] == LEAF
    return helper.make_node(
        "TreeEnsemble",
        [source],
        [target],
        domain="ai.onnx.ml",
        n_targets=bases,
        aggregate_function=_SUM,
        post_transform=0,
        tree_roots=[
            *range(bases),
            *(int(root_of_lone[root]) if root in root_of_lone else int(place[root]) for root in trees.roots),
        ],
        nodes_modes=numpy_helper.from_array(
            np.full(flat + len(inner), _LESS if trees.operator == "<" else _LESS_OR_EQUAL, dtype=np.uint8)
        ),
        nodes_featureids=[0] * flat + trees.feature[inner].tolist(),
        nodes_splits=numpy_helper.from_array(
            np.concatenate([np.zeros(flat), _rounded(trees, trees.threshold[inner])]).astype(number_type)
        ),
        nodes_truenodeids=[*lone_leaves.tolist(), *place[left].tolist()],
        nodes_trueleafs=[1] * flat + left_leaf.astype(int).tolist(),
        nodes_falsenodeids=[*lone_leaves.tolist(), *place[right].tolist()],
        nodes_falseleafs=[1] * flat + right_leaf.astype(int).tolist(),
        nodes_missing_value_tracks_true=[0] * flat + trees.gaps_left[inner].astype(int).tolist(),
        leaf_targetids=[*range(bases), *target_of[leaves].tolist()],
        leaf_weights=numpy_helper.from_array(
            np.concatenate([np.asarray(trees.base), trees.value[leaves]]).astype(number_type)
        ),
    )


def _rounded(trees: Trees, thresholds: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Thresholds of the graph's precision that split every value of that precision as the library's do."""
    if trees.sum_bits == 64:
        return thresholds
    found = thresholds.astype(np.float32)
    if trees.operator == "<=":
        return np.where(found > thresholds, np.nextafter(found, np.float32(-np.inf)), found)
    return np.where(found < thresholds, np.nextafter(found, np.float32(np.inf)), found)


def _target_of_nodes(trees: Trees) -> "np.ndarray[Any, Any]":
    ends = [*trees.roots[1:], len(trees.left)]
    return np.repeat(np.asarray(trees.targets), np.diff([*trees.roots, ends[-1]]))


def _kind(trees: Trees) -> int:
    return int(_helper().TensorProto.FLOAT if trees.sum_bits == 32 else _helper().TensorProto.DOUBLE)


def _serialized(graph: Any) -> bytes:
    helper = _helper()
    opsets = [helper.make_opsetid("ai.onnx.ml", _ML_OPSET), helper.make_opsetid("", _OPSET)]
    model: onnx.ModelProto = helper.make_model(
        graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="fraud-detection"
    )
    return bytes(model.SerializeToString())


def _helper() -> Any:
    import onnx.helper

    return onnx.helper


def _numpy_helper() -> Any:
    import onnx.numpy_helper

    return onnx.numpy_helper
