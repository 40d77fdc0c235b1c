"""Checks numbers that compiled code uses as indexes, before compiled code reads them.

A tree whose child lies outside its nodes, or leads back, makes a library read foreign memory or run forever. All
functions raise ValueError with a message.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MOST_CLASSES = 1_000_000
MOST_CATEGORY = 1 << 24
_NO_CHILD = -1


def require_tree(left: Any, right: Any, *, internal: Any, what: str) -> None:
    """Raises ValueError unless children make one tree below node 0, without a circle.

    Args:
        left: for each node its left child.
        right: for each node its right child.
        internal: for each node whether it has children.
        what: words for the tree in a message.
    """
    count = len(left)
    if not count:
        raise ValueError(f"{what} has no node")
    inner = np.flatnonzero(internal)
    children = (np.asarray(left)[inner], np.asarray(right)[inner])
    seen = np.zeros(count, dtype=bool)
    for side in children:
        if side.dtype.kind not in "iu":
            raise ValueError(f"{what} has children that are not whole numbers")
        if len(side) and (side.min() < 1 or side.max() >= count):
            raise ValueError(f"{what} has a child outside its nodes")
        seen[side] = True
    # Each node has one way in at most.
    if np.count_nonzero(seen) != 2 * len(inner):
        raise ValueError(f"{what} has a node with two parents")
    # Libraries number children after their parents, which excludes circles; other trees are walked.
    forward = all((side > inner).all() for side in children)
    if not forward and not _reaches_leaves(np.asarray(left), np.asarray(right), np.asarray(internal), count):
        raise ValueError(f"{what} has a circle")


def _reaches_leaves(left: Any, right: Any, internal: Any, count: int) -> bool:
    """Whether every path from node 0 ends in a leaf; walks level by level, at most as deep as there are nodes."""
    level, seen = np.array([0]), 0
    while len(level):
        seen += len(level)
        if seen > count:
            return False
        inner = level[internal[level].astype(bool)]
        level = np.concatenate([left[inner], right[inner]]).astype(np.int64, copy=False)
    return True


def require_within(values: Any, limit: int, what: str, low: int = 0) -> None:
    """Raises ValueError unless each value lies from `low` to below `limit`."""
    found = np.asarray(values)
    # Written so that NaN lies outside.
    if found.size and not (found.min() >= low and found.max() < limit):
        raise ValueError(f"{what} lies outside its range")


def require_sklearn_tree(nodes: Any, values: Any, features: int, outputs: int, classes: int) -> None:
    """Checks the arrays of a `sklearn.tree._tree.Tree`."""
    names = ("left_child", "right_child", "feature", "threshold")
    if not isinstance(nodes, np.ndarray) or nodes.ndim != 1 or nodes.dtype.names is None:
        raise ValueError("a tree's nodes do not have the fields of scikit-learn's nodes")
    if any(name not in nodes.dtype.names for name in names):
        raise ValueError("a tree's nodes do not have the fields of scikit-learn's nodes")
    if not isinstance(values, np.ndarray) or values.shape != (len(nodes), outputs, classes):
        raise ValueError("a tree does not have values for each node")
    if nodes.dtype["left_child"].kind != "i" or nodes.dtype["feature"].kind != "i":
        raise ValueError("a tree's nodes do not have the fields of scikit-learn's nodes")
    left, right = nodes["left_child"], nodes["right_child"]
    internal = left != _NO_CHILD
    if not np.array_equal(internal, right != _NO_CHILD):
        raise ValueError("a node of a tree has one child only")
    require_tree(left, right, internal=internal, what="a tree")
    require_within(nodes["feature"][internal], features, "a feature index of a tree")


def require_histogram_tree(nodes: Any, bitsets: Any, features: int | None) -> None:
    """Checks the arrays of a HistGradientBoosting predictor."""
    names = ("left", "right", "feature_idx", "is_leaf", "is_categorical", "bitset_idx")
    if not isinstance(nodes, np.ndarray) or nodes.ndim != 1 or nodes.dtype.names is None:
        raise ValueError("a predictor's nodes do not have the fields of scikit-learn's nodes")
    if any(name not in nodes.dtype.names for name in names):
        raise ValueError("a predictor's nodes do not have the fields of scikit-learn's nodes")
    if not isinstance(bitsets, np.ndarray) or bitsets.ndim != 2 or bitsets.shape[1] != 8 or bitsets.dtype != np.uint32:
        raise ValueError("a predictor's categories are not bitsets")
    internal = nodes["is_leaf"] == 0
    require_tree(nodes["left"], nodes["right"], internal=internal, what="a tree")
    places = nodes["feature_idx"][internal]
    require_within(places, np.iinfo(np.int64).max if features is None else features, "a feature index of a tree")
    require_within(
        nodes["bitset_idx"][internal & (nodes["is_categorical"] != 0)], len(bitsets), "the index of a set of categories"
    )


def require_neighbours_tree(state: Sequence[Any], *, bounds: int) -> None:
    """Checks the state of a KD-tree or a ball tree; `bounds` is the number of bounds of each node."""
    data, places, nodes, node_bounds, leaf_size, levels, count = state[:7]
    if not all(isinstance(each, np.ndarray) for each in (data, places, nodes, node_bounds)):
        raise ValueError("a tree of neighbours has no arrays")
    if data.ndim != 2 or data.dtype.kind != "f" or not data.flags["C_CONTIGUOUS"] or not len(data):
        raise ValueError("a tree of neighbours has no rows")
    rows, features = data.shape
    if places.shape != (rows,) or places.dtype.kind != "i":
        raise ValueError("a tree of neighbours does not have an index for each row")
    require_within(places, rows, "a row index of a tree of neighbours")
    numbers = (leaf_size, levels, count, *state[7:11])
    if not all(type(each) is int and 0 <= each < 1 << 31 for each in numbers) or leaf_size < 1 or not 1 <= levels < 31:
        raise ValueError("a tree of neighbours has sizes that are not whole numbers")
    wanted = ("idx_start", "idx_end", "is_leaf", "radius")
    if count != (1 << levels) - 1 or nodes.shape != (count,) or nodes.dtype.names != wanted:
        raise ValueError("a tree of neighbours has another number of nodes than its levels need")
    if node_bounds.shape != (bounds, count, features) or node_bounds.dtype != data.dtype:
        raise ValueError("a tree of neighbours does not have bounds for its nodes")
    start, end, leaf = nodes["idx_start"], nodes["idx_end"], nodes["is_leaf"] != 0
    used = _used_nodes(leaf, count)
    if len(used) and (start[used].min() < 0 or end[used].max() > rows or (end[used] < start[used]).any()):
        raise ValueError("a node of a tree of neighbours points outside its rows")


def _used_nodes(leaf: Any, count: int) -> Any:
    """Nodes that a search can reach; a node without children inside the tree is a leaf."""
    found, level = [], np.array([0])
    while len(level):
        if level.max() >= count:
            raise ValueError("a tree of neighbours has a child outside its nodes")
        found.append(level)
        inner = level[~leaf[level]]
        level = np.concatenate([2 * inner + 1, 2 * inner + 2])
    return np.concatenate(found)


def require_support_vectors(state: Mapping[str, Any], classes: int) -> None:
    """Checks the arrays of a support vector machine: libsvm reads each array by the sizes of the others.

    Args:
        state: the estimator's attributes.
        classes: number of classes; 1 for a regression and for an outlier detector.
    """
    vectors, weights = _table_shape(state.get("support_vectors_")), _table_shape(state.get("_dual_coef_"))
    arrays: list[Any] = [state.get(name) for name in ("support_", "_n_support", "_intercept_")]
    for each in arrays:
        if not isinstance(each, np.ndarray) or each.ndim != 1:
            raise ValueError("a support vector machine has no arrays")
    support, counts, intercept = arrays
    chosen, pairs, rows = len(support), max(1, classes * (classes - 1) // 2), max(1, classes - 1)
    # A kernel between rows, or a function, keeps no vectors.
    kept = isinstance(state.get("kernel"), str) and state.get("kernel") != "precomputed"
    total = int(counts[:classes].sum()) if classes > 1 else chosen
    fits = (
        (not kept or vectors[0] == chosen)
        and weights == (rows, chosen)
        and intercept.shape == (pairs,)
        and (counts >= 0).all()
        and len(counts) == max(classes, 2)
        and total == chosen
        and all(np.size(state.get(name, ())) in (0, pairs) for name in ("_probA", "_probB"))
        and (isinstance(dual := state.get("_dual_coef_"), np.ndarray) or _stored(dual) == rows * chosen)
        and (not kept or vectors[1] == state.get("n_features_in_", vectors[1]))
    )
    if not fits:
        raise ValueError("a support vector machine's arrays do not fit each other")
    if not kept:
        require_within(support, int(state["shape_fit_"][0]), "the index of a support vector")


def _stored(matrix: Any) -> int:
    """How many numbers a sparse matrix holds."""
    about = getattr(matrix, "about", {})
    data = about.get("state", {}).get("data", ()) if about else matrix.data
    return len(data)


def _table_shape(value: Any) -> tuple[int, int]:
    """The shape of an array or a sparse matrix of two dimensions."""
    about = getattr(value, "about", {})
    shape = about.get("state", {}).get("_shape") if about else getattr(value, "shape", None)
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise ValueError("a support vector machine has no arrays")
    return int(shape[0]), int(shape[1])


def require_sparse(state: Mapping[str, Any], *, by_column: bool) -> None:
    """Checks the arrays of a sparse matrix in compressed rows or columns."""
    shape = state.get("_shape")
    arrays: list[Any] = [state.get(name) for name in ("indptr", "indices", "data")]
    if not all(isinstance(each, np.ndarray) and each.ndim == 1 for each in arrays):
        raise ValueError("a sparse matrix has no arrays")
    pointers, places, data = arrays
    if type(shape) is not tuple or len(shape) != 2 or not all(isinstance(each, int | np.integer) for each in shape):
        raise ValueError("a sparse matrix has no shape")
    major, minor = (shape[1], shape[0]) if by_column else shape
    if len(pointers) != major + 1 or pointers[0] != 0 or (np.diff(pointers) < 0).any():
        raise ValueError("the pointers of a sparse matrix do not fit its rows or columns")
    if pointers[-1] > min(len(places), len(data)):
        raise ValueError("a pointer of a sparse matrix lies outside its values")
    require_within(places, int(minor), "a column index of a sparse matrix")


def require_vocabulary(vocabulary: Any, what: str) -> None:
    """Raises ValueError unless the words of a vocabulary have the column numbers 0, 1, 2 and so on."""
    if not isinstance(vocabulary, Mapping):
        raise ValueError(f"{what} is not a dictionary")  # noqa: TRY004 - a fault of the file
    try:
        places = np.fromiter((int(place) for place in vocabulary.values()), dtype=np.int64, count=len(vocabulary))
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{what} has column numbers that are not whole numbers") from None
    require_within(places, len(vocabulary), f"a column number of {what}")


def require_spline(knots: Any, coefficients: Any, degree: Any) -> None:
    """Checks the arrays of a `scipy.interpolate.BSpline`."""
    if not isinstance(degree, int | np.integer) or not 0 <= degree < 64:
        raise ValueError("a spline has no degree")
    if not isinstance(knots, np.ndarray) or knots.ndim != 1 or not isinstance(coefficients, np.ndarray):
        raise ValueError("a spline has no knots")
    if len(knots) < 2 * degree + 2 or len(coefficients) < len(knots) - degree - 1:
        raise ValueError("a spline has too few knots or coefficients for its degree")
    if not np.isfinite(knots).all() or (np.diff(knots) < 0).any():
        raise ValueError("a spline's knots are not in ascending order")
