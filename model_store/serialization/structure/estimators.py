"""Checks scikit-learn's estimators, class by class: attributes that compiled code uses as indexes, sizes or counts.

Each check gets an object's attributes and raises ValueError with a message unless they fit each other.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from model_store.serialization.structure import numbers
from model_store.serialization.structure.patterns import require_pattern
from model_store.serialization.structure.values import Made

_MOST_ROUNDS = 100_000
_MOST_THREADS = 1024
_MOST_HASHED = (1 << 31) - 1
_MOST_COMBINED = 10_000_000
_MOST_DEGREE = 64
_COLUMNS = ("n_components", "n_components_", "n_features_out_", "_n_features_out", "n_output_features_", "_n_out_full")
"""Attributes that decide the size of an answer, in objects of any class."""
_METRIC_PARAMETERS = frozenset({"p", "w", "V", "VI"})


def read_attributes(item: Any) -> Mapping[str, Any]:
    """Returns an object's attributes; works on the stand-ins of an inspection too."""
    if type(item) is Made:
        found: Mapping[str, Any] = item.about.get("state", {})
        return found
    attributes: Mapping[str, Any] = vars(item)
    return attributes


def require_counts(name: str, state: Mapping[str, Any]) -> None:
    """Checks attributes that objects of every class can have: threads, rounds for each answer, trees as members.

    Raises:
        ValueError: a count is too large to answer in time, or a tree uses more features than it gets.
    """
    for attribute in ("n_jobs", "_n_threads"):
        count = state.get(attribute)
        if isinstance(count, int | np.integer) and not -_MOST_THREADS <= count <= _MOST_THREADS:
            raise ValueError(f"{attribute} is {count}")
    for attribute in _ROUNDS.get(name, ()):
        count = state.get(attribute)
        if count is not None and not (isinstance(count, int | np.integer) and count <= _MOST_ROUNDS):
            raise ValueError(f"{attribute} is more than {_MOST_ROUNDS}, or not a whole number")
    _require_classes(state)
    for attribute in _COLUMNS:
        count = state.get(attribute)
        if isinstance(count, int | np.integer) and count > _MOST_COMBINED:
            raise ValueError(f"{attribute} is more than {_MOST_COMBINED}")
    if "_impl" in state:
        raise ValueError("it has the attribute _impl, which replaces the algorithm of its class")
    if "estimators_" in state and "n_features_in_" in state:
        _require_members(state)


def _require_classes(state: Mapping[str, Any]) -> None:
    """Checks the number of classes of an estimator: its answers are allocated by that number."""
    count, classes = state.get("n_classes_"), state.get("classes_")
    if not isinstance(count, int | np.integer):
        return
    most = len(classes) if isinstance(classes, np.ndarray | list) else _MOST_ROUNDS
    if not 0 <= count <= max(most, 1):
        raise ValueError("its number of classes is not the length of its list of classes")


_ROUNDS: Mapping[str, tuple[str, ...]] = {
    "NMF": ("max_iter",),
    "MiniBatchNMF": ("max_iter", "transform_max_iter", "_transform_max_iter"),
    "LatentDirichletAllocation": ("max_doc_update_iter",),
    **dict.fromkeys(
        ("DictionaryLearning", "MiniBatchDictionaryLearning", "SparseCoder", "SparsePCA", "MiniBatchSparsePCA"),
        ("max_iter", "transform_max_iter", "method_max_iter"),
    ),
    "IterativeImputer": ("max_iter", "n_iter_"),
    "AdditiveChi2Sampler": ("sample_steps",),
    "MLPClassifier": ("n_layers_",),
    "MLPRegressor": ("n_layers_",),
}
"""Attributes that count repetitions for each answer."""


def _require_members(state: Mapping[str, Any]) -> None:
    members, chosen = state["estimators_"], state.get("estimators_features_")
    features = _integer(state["n_features_in_"], "its number of features")
    items: Iterable[Any] = members.ravel().tolist() if isinstance(members, np.ndarray) else members
    if len(members) > _MOST_ROUNDS:
        raise ValueError(f"it has more than {_MOST_ROUNDS} members")
    for number, member in enumerate(items):
        asked = _tree_features(member)
        given = features if chosen is None else len(chosen[number])
        if asked is not None and asked > given:
            raise ValueError("a tree uses more features than its estimator passes to it")


def _tree_features(member: Any) -> int | None:
    """Number of features of a tree estimator's tree; None for another object."""
    if not (type(member) is Made or hasattr(member, "__dict__")):
        return None
    return _features_of_tree(read_attributes(member).get("tree_"))


def _features_of_tree(tree: Any) -> int | None:
    found = tree.about.get("features") if type(tree) is Made else getattr(tree, "n_features", None)
    return None if found is None else int(found)


def _integer(value: Any, what: str) -> int:
    if type(value) is not int and not isinstance(value, np.integer):
        raise ValueError(f"{what} is not a whole number")
    return int(value)


def _tree(state: Mapping[str, Any]) -> None:
    if state.get("tree_") is None:
        return
    found = _features_of_tree(state["tree_"])
    if found is None or found > _integer(state.get("n_features_in_"), "its number of features"):
        raise ValueError("a tree uses more features than its estimator takes")


def _gradient_boosting(state: Mapping[str, Any]) -> None:
    members = state.get("estimators_")
    if members is None:
        return
    classes = state.get("classes_")
    columns = 1 if classes is None or len(classes) <= 2 else len(classes)
    if not isinstance(members, np.ndarray) or members.ndim != 2 or members.shape[1] != columns:
        raise ValueError("it does not have a tree for each class in each round")
    if any(_tree_features(member) is None for member in members.ravel().tolist()):
        raise ValueError("a member is not a tree")


def _predictor(state: Mapping[str, Any]) -> None:
    numbers.require_histogram_tree(state["nodes"], state["raw_left_cat_bitsets"], None)


def _histogram_boosting(state: Mapping[str, Any]) -> None:
    if "_predictors" not in state:
        return
    features = _integer(state.get("_n_features", state.get("n_features_in_")), "its number of features")
    mapper = state.get("_bin_mapper")
    known = read_attributes(mapper).get("is_categorical_") if mapper is not None else None
    for iteration in state["_predictors"]:
        for predictor in iteration:
            inner = read_attributes(predictor)
            numbers.require_histogram_tree(inner["nodes"], inner["raw_left_cat_bitsets"], features)
    if known is not None and (getattr(known, "shape", None) != (features,) or known.dtype != np.uint8):
        raise ValueError("its mask of categorical features does not have one entry for each feature")


def _bin_mapper(state: Mapping[str, Any]) -> None:
    kinds, thresholds = state.get("is_categorical_"), state.get("bin_thresholds_")
    if kinds is not None and thresholds is not None and len(kinds) != len(thresholds):
        raise ValueError("it does not have bin thresholds for each feature")


def _support_vectors(state: Mapping[str, Any]) -> None:
    if "support_vectors_" in state:
        numbers.require_support_vectors(state, len(state["classes_"]))


def _one_class(state: Mapping[str, Any]) -> None:
    if "support_vectors_" in state:
        numbers.require_support_vectors(state, 1)


def _vocabulary(state: Mapping[str, Any]) -> None:
    for name in ("vocabulary_", "_vocabulary"):
        if state.get(name) is not None:
            numbers.require_vocabulary(state[name], "a vocabulary")
    _patterns(state)


def _patterns(state: Mapping[str, Any]) -> None:
    if state.get("token_pattern") is not None:
        require_pattern(state["token_pattern"])


def _hashed(state: Mapping[str, Any]) -> None:
    if not 1 <= _integer(state.get("n_features", 1), "its number of columns") <= _MOST_HASHED:
        raise ValueError("its number of columns is outside the allowed range")
    _patterns(state)


def _categories(state: Mapping[str, Any]) -> None:
    for each in state.get("categories_", ()):
        if not isinstance(each, np.ndarray) and not _is_of_pandas(each):
            raise ValueError("the categories of a column are not an array")


def _is_of_pandas(value: Any) -> bool:
    return (value.name if type(value) is Made else type(value).__module__).startswith("pandas.")


def _one_hot(state: Mapping[str, Any]) -> None:
    _categories(state)
    categories, outputs = state.get("categories_"), state.get("_n_features_outs")
    if categories is None:
        return
    if len(categories) != state.get("n_features_in_", len(categories)):
        raise ValueError("an encoder does not have categories for each column")
    if outputs is None:
        return
    known = [(count, each) for count, each in zip(outputs, categories, strict=True) if type(each) is not Made]
    if any(not 0 <= int(count) <= len(each) + 1 for count, each in known):
        raise ValueError("an encoder does not have as many columns as its categories need")


def _neighbours(state: Mapping[str, Any]) -> None:
    rows, labels = state.get("_fit_X"), state.get("_y")
    tree = state.get("_tree")
    count = getattr(rows, "shape", (None,))[0]
    if labels is not None and count is not None:
        _require_labels(labels, count, state.get("classes_"))
    if tree is not None and type(tree) is not Made and count is not None and tree.data.shape != rows.shape:  # type: ignore[union-attr]
        raise ValueError("its neighbours tree does not hold its rows")
    for name in ("effective_metric_params_", "metric_params"):
        _require_metric_parameters(state.get(name), getattr(rows, "shape", (0, 0))[-1])


def _require_labels(labels: Any, count: int, classes: Any) -> None:
    if len(labels) != count:
        raise ValueError("it does not have one answer for each row")
    if classes is None:
        return
    columns = [labels] if labels.ndim == 1 else list(labels.T)
    kinds = classes if isinstance(classes, list) and len(columns) > 1 else [classes]
    for column, known in zip(columns, kinds, strict=len(columns) > 1):
        if column.dtype.kind not in "iu":
            raise ValueError("the answer of a row is not the index of a class")
        numbers.require_within(column, len(known[0] if isinstance(known, list) else known), "a row's class")


def _require_metric_parameters(parameters: Any, features: int) -> None:
    if parameters is None:
        return
    if not isinstance(parameters, dict) or not set(parameters) <= _METRIC_PARAMETERS:
        raise ValueError("its distance has parameters other than p, w, V and VI")
    for name, value in parameters.items():
        shape = (features, features) if name == "VI" else (features,)
        if name != "p" and value is not None and np.shape(value) != shape and np.shape(value) != (features,) * 2:
            raise ValueError(f"its distance's {name} does not have a number for each feature")


def _clusters(state: Mapping[str, Any]) -> None:
    centers = state.get("cluster_centers_")
    if centers is not None and np.shape(centers)[1:] != (_integer(state["n_features_in_"], "its number of features"),):
        raise ValueError("its centers do not have a number for each feature")
    root, seen = state.get("_bisecting_tree"), 0
    pending = [root] if root is not None else []
    while pending:
        node = read_attributes(pending.pop())
        pending += [child for child in (node.get("left"), node.get("right")) if child is not None]
        seen += 1
        if seen > _MOST_COMBINED or (centers is not None and seen > 2 * len(centers)):
            raise ValueError("its tree has a circle, or too many nodes")


def _birch(state: Mapping[str, Any]) -> None:
    names = ("subcluster_centers_", "_subcluster_norms", "subcluster_labels_")
    counts = {len(state[name]) for name in names if state.get(name) is not None}
    if len(counts) > 1:
        raise ValueError("its clusters do not have a center, a length and a label each")


def _polynomial(state: Mapping[str, Any]) -> None:
    if "_max_degree" not in state:
        return
    least, most = (
        _integer(state["_min_degree"], "its degree"),
        _integer(state["_max_degree"], "its degree"),
    )
    features = _integer(state["n_features_in_"], "its number of features")
    if not 0 <= least <= most <= _MOST_DEGREE:
        raise ValueError(f"its degree is above {_MOST_DEGREE}")
    if sum(math.comb(features + degree - 1, degree) for degree in range(least, most + 1)) > _MOST_COMBINED:
        raise ValueError(f"it makes more than {_MOST_COMBINED} columns")


def _sketch(state: Mapping[str, Any]) -> None:
    if "indexHash_" not in state:
        return
    indexes = state["indexHash_"]
    columns, degree = (_integer(state[name], f"its {name}") for name in ("n_components", "degree"))
    shape = indexes.about.get("shape") if type(indexes) is Made else getattr(indexes, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != degree or not 0 < columns <= _MOST_COMBINED:
        raise ValueError("its degree or its number of columns does not match its tables")


def _imputer(state: Mapping[str, Any]) -> None:
    if len(state.get("imputation_sequence_", ())) > _MOST_ROUNDS:
        raise ValueError(f"it fills gaps in more than {_MOST_ROUNDS} steps")


def _sparse(state: Mapping[str, Any], *, by_column: bool) -> None:
    if "indptr" in state:
        numbers.require_sparse(state, by_column=by_column)


def _spline(state: Mapping[str, Any]) -> None:
    knots, coefficients = (state.get(f"_{name}", state.get(name)) for name in "tc")
    numbers.require_spline(knots, coefficients, state.get("k"))


LOOKS: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    **dict.fromkeys(
        ("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor"), _tree
    ),
    "TreePredictor": _predictor,
    "HistGradientBoostingClassifier": _histogram_boosting,
    "HistGradientBoostingRegressor": _histogram_boosting,
    "_BinMapper": _bin_mapper,
    "SVC": _support_vectors,
    "NuSVC": _support_vectors,
    "OneClassSVM": _one_class,
    "SVR": _one_class,
    "NuSVR": _one_class,
    "GradientBoostingClassifier": _gradient_boosting,
    "GradientBoostingRegressor": _gradient_boosting,
    "HashingVectorizer": _hashed,
    "FeatureHasher": _hashed,
    **dict.fromkeys(("OrdinalEncoder", "TargetEncoder"), _categories),
    **dict.fromkeys(("KMeans", "MiniBatchKMeans", "BisectingKMeans"), _clusters),
    "Birch": _birch,
    "PolynomialCountSketch": _sketch,
    "PolynomialFeatures": _polynomial,
    "IterativeImputer": _imputer,
    **dict.fromkeys(("csr_matrix", "csr_array"), partial(_sparse, by_column=False)),
    **dict.fromkeys(("csc_matrix", "csc_array"), partial(_sparse, by_column=True)),
    "BSpline": _spline,
    "CountVectorizer": _vocabulary,
    "TfidfVectorizer": _vocabulary,
    "DictVectorizer": _vocabulary,
    "OneHotEncoder": _one_hot,
    **dict.fromkeys(
        (
            "KNeighborsClassifier", "KNeighborsRegressor", "RadiusNeighborsClassifier", "RadiusNeighborsRegressor",
            "NearestNeighbors", "LocalOutlierFactor", "KNNImputer",
        ),
        _neighbours,
    ),
}  # fmt: skip
"""Checks by the name of the class."""
