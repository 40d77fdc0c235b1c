"""After a load, before anything is asked: each object whose attributes become places in memory is looked at.

What compiled code reads without looking is checked as a whole here, since it lies in several attributes, or in two
objects: a forest's trees and its number of features, a vocabulary and the weights of its words.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from model_store.errors import StructureRefused
from model_store.serialization.object_graph import objects_of
from model_store.serialization.structure import numbers
from model_store.serialization.structure.values import Made

_MOST_EXPANDED = 50_000_000
"""Values of lists in lists, counted as often as they are reached."""


def require_consistent(model: Any) -> None:
    """Raises StructureRefused unless every object's numbers fit each other.

    Args:
        model: as it was loaded, or inspected.
    """
    sizes: dict[int, int] = {}
    for item in objects_of(model):
        if type(item) in (list, tuple):
            _require_small(item, sizes)
            continue
        name = _class_name(item)
        look = _LOOKS.get(name)
        if look is None:
            continue
        try:
            look(_attributes(item))
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise StructureRefused("numbers", f"{name}: {error}", name=name) from None


def _class_name(item: Any) -> str:
    return item.name.rpartition(".")[2] if type(item) is Made else type(item).__name__


def _attributes(item: Any) -> Mapping[str, Any]:
    if type(item) is Made:
        found: Mapping[str, Any] = item.about.get("state", {})
        return found
    attributes: Mapping[str, Any] = vars(item)
    return attributes


def _require_small(root: Sequence[Any], sizes: dict[int, int]) -> None:
    """Raises StructureRefused when lists in lists would become too large an array, or lie in each other.

    Args:
        root: a list or a tuple.
        sizes: of those that were looked at already, by their ids; each is looked at once.
    """
    open_now: set[int] = set()
    pending: list[tuple[Any, bool]] = [(root, False)]
    while pending:
        item, done = pending.pop()
        key = id(item)
        if done:
            open_now.discard(key)
            sizes[key] = 1 + sum(sizes.get(id(each), 1) for each in item if type(each) in (list, tuple))
            sizes[key] += len(item)
            if sizes[key] > _MOST_EXPANDED:
                raise StructureRefused("nesting", "lists hold each other so often that an array of them has no end")
        elif key in open_now:
            raise StructureRefused("nesting", "a list lies in itself")
        elif key not in sizes:
            open_now.add(key)
            pending.append((item, True))
            pending += [(each, False) for each in item if type(each) in (list, tuple)]


# --- scikit-learn ------------------------------------------------------------------------------------------------


def _tree(state: Mapping[str, Any]) -> None:
    tree, features = state.get("tree_"), state.get("n_features_in_")
    if tree is None:
        return
    found = tree.about.get("features") if type(tree) is Made else getattr(tree, "n_features", None)
    if found is None or features is None or found > features:
        raise ValueError("a tree asks for more features than its estimator takes")


def _predictor(state: Mapping[str, Any]) -> None:
    numbers.require_histogram_tree(state["nodes"], state["raw_left_cat_bitsets"], None)


def _histogram_boosting(state: Mapping[str, Any]) -> None:
    features = state.get("_n_features", state.get("n_features_in_"))
    mapper = state.get("_bin_mapper")
    known = _attributes(mapper).get("is_categorical_") if mapper is not None else None
    for iteration in state.get("_predictors", ()):
        for predictor in iteration:
            inner = _attributes(predictor)
            numbers.require_histogram_tree(inner["nodes"], inner["raw_left_cat_bitsets"], features)
    if known is not None and len(known) != features:
        raise ValueError("its categories do not belong to its features")


def _bin_mapper(state: Mapping[str, Any]) -> None:
    kinds, thresholds = state.get("is_categorical_"), state.get("bin_thresholds_")
    if kinds is not None and thresholds is not None and len(kinds) != len(thresholds):
        raise ValueError("its features do not have their thresholds")


def _support_vectors(state: Mapping[str, Any]) -> None:
    if "support_vectors_" not in state:
        return
    classes = len(state["classes_"]) if state.get("classes_") is not None and "_n_support" in state else 2
    numbers.require_support_vectors(state, classes)


def _one_class(state: Mapping[str, Any]) -> None:
    if "support_vectors_" in state:
        numbers.require_support_vectors(state, 1)


def _vocabulary(state: Mapping[str, Any]) -> None:
    for name in ("vocabulary_", "_vocabulary"):
        if state.get(name) is not None:
            numbers.require_vocabulary(state[name], "a vocabulary")


def _one_hot(state: Mapping[str, Any]) -> None:
    categories, outputs = state.get("categories_"), state.get("_n_features_outs")
    if categories is None:
        return
    if len(categories) != state.get("n_features_in_", len(categories)):
        raise ValueError("an encoder does not have categories for each column")
    if outputs is None:
        return
    pairs = zip(outputs, categories, strict=True)
    if any(not 0 <= int(count) <= len(each) + 1 for count, each in pairs):
        raise ValueError("an encoder does not have as many columns as its categories need")


def _neighbours(state: Mapping[str, Any]) -> None:
    rows, labels = state.get("_fit_X"), state.get("_y")
    tree = state.get("_tree")
    count = getattr(rows, "shape", (None,))[0]
    if labels is not None and count is not None and len(labels) != count:
        raise ValueError("its rows do not have an answer each")
    if tree is not None and type(tree) is not Made and count is not None and tree.data.shape != rows.shape:  # type: ignore[union-attr]
        raise ValueError("its tree is not one of its rows")


_LOOKS: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
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
"""Looks by the class's name."""
