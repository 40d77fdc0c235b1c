"""Writes a table of trees as ONNX, so that ONNX Runtime branches and sums as the library does.

Thresholds, leaves and sums keep the library's own precision. Trees stand in the library's order behind one that holds
the base, since ONNX Runtime sums them in order: for one sum the result is the library's to the last bit.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from model_store.contract.trees import LEAF, ZERO, Trees

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
    helper, numpy_helper = _helper(), _numpy_helper()
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, value: "np.ndarray[Any, Any]") -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    double = helper.TensorProto.DOUBLE
    rows = INPUT
    if trees.value_bits == 32:
        nodes.append(helper.make_node("Cast", [rows], ["cut"], to=helper.TensorProto.FLOAT))
        nodes.append(helper.make_node("Cast", ["cut"], ["widened"], to=double))
        rows = "widened"
    gap = constant("gap", np.array(np.nan)) if trees.gap_values or trees.zero_is_gap else ""
    if trees.gap_values:
        values = np.full(trees.width, np.nan)
        for number, value in trees.gap_values.items():
            values[number] = np.float64(np.float32(value))
        nodes.append(helper.make_node("Equal", [rows, constant("gap_values", values)], ["is_gap"]))
        nodes.append(helper.make_node("Where", ["is_gap", gap, rows], ["with_gaps"]))
        rows = "with_gaps"
    if trees.zero_is_gap:
        limit = np.full(trees.width, -1.0)
        limit[list(trees.zero_is_gap)] = ZERO
        nodes.append(helper.make_node("Abs", [rows], ["sizes"]))
        nodes.append(helper.make_node("LessOrEqual", ["sizes", constant("zeros", limit)], ["is_zero"]))
        nodes.append(helper.make_node("Where", ["is_zero", gap, rows], ["without_zeros"]))
        rows = "without_zeros"
    if trees.gap_is_zero:
        mask = np.zeros((1, trees.width), dtype=bool)
        mask[0, list(trees.gap_is_zero)] = True
        nodes.append(helper.make_node("IsNaN", [rows], ["gaps"]))
        nodes.append(helper.make_node("And", ["gaps", constant("takes_zero", mask)], ["to_zero"]))
        nodes.append(helper.make_node("Where", ["to_zero", constant("zero", np.array(0.0)), rows], ["filled"]))
        rows = "filled"
    if trees.sum_bits == 32:
        nodes.append(helper.make_node("Cast", [rows], ["narrow"], to=helper.TensorProto.FLOAT))
        rows = "narrow"
    nodes.append(_ensemble(trees, rows, "sums_of_leaves"))
    sums = "sums_of_leaves"
    if trees.sum_bits == 32:
        nodes.append(helper.make_node("Cast", [sums], ["wide_sums"], to=double))
        sums = "wide_sums"
    if trees.divisor != 1:
        nodes.append(helper.make_node("Div", [sums, constant("divisor", np.array(float(trees.divisor)))], ["means"]))
        sums = "means"
    if trees.link == "softmax":
        nodes.append(helper.make_node("Softmax", [sums], [OUTPUT], axis=1))
    else:
        chance = sums
        if trees.link == "logistic":
            nodes.append(helper.make_node("Sigmoid", [sums], ["chance"]))
            chance = "chance"
        nodes.append(helper.make_node("Sub", [constant("one", np.array(1.0)), chance], ["other"]))
        both = [chance, "other"] if trees.link == "identity" and positive_index == 0 else ["other", chance]
        nodes.append(helper.make_node("Concat", both, [OUTPUT], axis=1))
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info(INPUT, double, [None, trees.width])],
        [helper.make_tensor_value_info(OUTPUT, double, [None, classes])],
        constants,
    )
    return _serialized(graph)


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
