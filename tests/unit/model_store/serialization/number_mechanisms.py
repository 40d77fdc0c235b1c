"""Trained models with one number changed: what compiled code would read outside its memory with, or never end."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import scipy.sparse
from lightgbm import LGBMClassifier
from sklearn.cluster import Birch, KMeans
from sklearn.decomposition import NMF, LatentDirichletAllocation, MiniBatchNMF
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.kernel_approximation import PolynomialCountSketch
from sklearn.metrics import DistanceMetric
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, SplineTransformer
from sklearn.svm import SVC, SVR, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier

from tests.unit.model_store.serialization.assembler import changed

Change = Callable[[Any], Any]


@dataclass(frozen=True)
class Numbers:
    """One change of one number."""

    name: str
    train: Callable[[], Any]
    kind: str
    """Name of the class whose state is changed."""
    change: Change
    rule: str = "numbers"
    family: str = "numbers"


NUMBERS: list[Numbers] = []


@cache
def _data() -> tuple[Any, Any]:
    rows = np.random.default_rng(0).normal(size=(200, 3))
    return rows, (rows[:, 0] + rows[:, 1] > 0).astype(int)


def _fitted(model: Any) -> Callable[[], Any]:
    return lambda: model.fit(*_data())


def _in(*path: Any) -> Callable[[Callable[[Any], None]], Change]:
    """A change of a copy of the array at a path of a state."""

    def changing(change: Callable[[Any], None]) -> Change:
        def changed_state(state: Any) -> Any:
            copied = list(state) if isinstance(state, tuple) else dict(state)
            array = copied[path[0]].copy()
            change(array)
            copied[path[0]] = array
            return tuple(copied) if isinstance(state, tuple) else copied

        return changed_state

    return changing


def _set(field: str | None, place: Any, value: Any) -> Callable[[Any], None]:
    def change(array: Any) -> None:
        (array if field is None else array[field])[place] = value

    return change


def _with(key: str, value: Callable[[Any], Any]) -> Change:
    return lambda state: {**state, key: value(state[key])}


def _add(name: str, train: Callable[[], Any], kind: str, change: Change, *, rule: str = "numbers") -> None:
    NUMBERS.append(Numbers(name, train, kind, change, rule))


_TREE, _FOREST = _fitted(DecisionTreeClassifier(max_depth=3)), _fitted(RandomForestClassifier(2, max_depth=3))
_add("a tree's child outside its nodes", _TREE, "Tree", _in("nodes")(_set("left_child", 0, 100_000)))
_add("a tree's child before its nodes", _FOREST, "Tree", _in("nodes")(_set("right_child", 0, -7)))
_add("a tree whose child is itself", _TREE, "Tree", _in("nodes")(_set("left_child", 0, 0)))
_add("a tree that leads back", _TREE, "Tree", _in("nodes")(_set("left_child", 1, 1)))
_add("a node with one child", _TREE, "Tree", _in("nodes")(_set("right_child", 0, -1)))
_add("a tree's feature outside the row", _TREE, "Tree", _in("nodes")(_set("feature", 0, 1 << 40)))
_add("fewer values than nodes", _TREE, "Tree", _with("values", lambda values: values[:-1]))
_add("more nodes than there are", _TREE, "Tree", _with("node_count", lambda count: count + 50))
_add(
    "a tree of more features than its estimator",
    _TREE,
    "DecisionTreeClassifier",
    _with("n_features_in_", lambda n: n - 1),
)
_HISTOGRAM = _fitted(HistGradientBoostingClassifier(max_iter=2))
_add("a histogram tree's child outside its nodes", _HISTOGRAM, "TreePredictor", _in("nodes")(_set("left", 0, 1 << 30)))
_add("a histogram tree that leads back", _HISTOGRAM, "TreePredictor", _in("nodes")(_set("right", 0, 0)))
_add(
    "a histogram tree's feature outside the row",
    _HISTOGRAM,
    "TreePredictor",
    _in("nodes")(_set("feature_idx", 0, 1 << 30)),
)
_add("a set of categories that is not there", _HISTOGRAM, "TreePredictor", _in("nodes")(_set("is_categorical", 0, 1)))
_NEIGHBOURS = _fitted(KNeighborsClassifier(3, algorithm="kd_tree", leaf_size=10))
_BALLS = _fitted(KNeighborsClassifier(3, algorithm="ball_tree", leaf_size=10))
_add("a neighbour that is no row", _NEIGHBOURS, "KDTree", _in(1)(_set(None, 0, 1 << 40)))
_add("a leaf outside the rows", _NEIGHBOURS, "KDTree", _in(2)(_set("idx_end", slice(None), 1 << 40)))
_add("a node that is never a leaf", _BALLS, "BallTree", _in(2)(_set("is_leaf", slice(None), 0)))
_add("levels that are not there", _BALLS, "BallTree", lambda state: (*state[:5], 25, *state[6:]))
_add("rows without an answer", _NEIGHBOURS, "KNeighborsClassifier", _with("_y", lambda answers: answers[:-5]))
_VECTORS = _fitted(SVC())
_add("more support vectors than there are", _VECTORS, "SVC", _in("_n_support")(_set(None, 0, 1 << 20)))
_add("weights of other vectors", _VECTORS, "SVC", _with("_dual_coef_", lambda weights: weights[:, :-3]))
_add("no intercept", _VECTORS, "SVC", _with("_intercept_", lambda values: values[:0]))
_add(
    "vectors of fewer features",
    _VECTORS,
    "SVC",
    _with("support_vectors_", lambda rows: np.ascontiguousarray(rows[:, :1])),
)
_add("a detector's weights of other vectors", lambda: OneClassSVM().fit(_data()[0]), "OneClassSVM",
     _with("_dual_coef_", lambda weights: weights[:, :-3]))  # fmt: skip
_add("a word outside the vocabulary", lambda: CountVectorizer().fit(["a few words", "and more words"]), "CountVectorizer",
     _with("vocabulary_", lambda words: {**words, "words": 1 << 30}))  # fmt: skip
_add("more columns than categories", lambda: OneHotEncoder().fit([["a"], ["b"]]), "OneHotEncoder",
     _with("_n_features_outs", lambda counts: [1 << 20 for _ in counts]))  # fmt: skip
_SPLINES = _fitted(SplineTransformer(n_knots=4))
_add("fewer coefficients than knots", _SPLINES, "BSpline", _with("_c", lambda values: values[:1]))
_add("knots out of order", _SPLINES, "BSpline", _with("_t", lambda knots: knots[::-1].copy()))
_MATRIX = lambda: scipy.sparse.csr_matrix(np.eye(4))  # noqa: E731 - a kind of model like the others
_add("a column outside a sparse matrix", _MATRIX, "csr_matrix", _in("indices")(_set(None, 0, 1 << 20)))
_add("a sparse matrix's rows outside its numbers", _MATRIX, "csr_matrix", _in("indptr")(_set(None, -1, 1 << 20)))


def _document(change: Callable[[dict[str, Any]], None]) -> Change:
    from xgboost import Booster

    def changed_state(state: Any) -> Any:
        booster = Booster(model_file=bytearray(_raw(state)))
        document = json.loads(bytes(booster.save_raw("json")))
        change(document["learner"])
        return {**state, "handle": bytearray(json.dumps(document).encode())}

    return changed_state


def _raw(state: Any) -> bytes:
    from model_store.serialization.ubjson import read_ubjson

    del read_ubjson
    booster = XGBClassifier(n_estimators=2, max_depth=3, n_jobs=1).fit(*_data()).get_booster()
    return bytes(booster.save_raw("ubj"))


def _first_tree(name: str, place: int, value: int) -> Callable[[dict[str, Any]], None]:
    def change(learner: dict[str, Any]) -> None:
        learner["gradient_booster"]["model"]["trees"][0][name][place] = value

    return change


def _set_in(learner_path: tuple[str, ...], value: Any) -> Callable[[dict[str, Any]], None]:
    def change(learner: dict[str, Any]) -> None:
        place: Any = learner
        for step in learner_path[:-1]:
            place = place[step]
        place[learner_path[-1]] = value

    return change


_XGBOOST = _fitted(XGBClassifier(n_estimators=2, max_depth=3, n_jobs=1))
_add("XGBoost, a child outside its nodes", _XGBOOST, "Booster", _document(_first_tree("left_children", 0, 100_000)))
_add("XGBoost, a tree that leads back", _XGBOOST, "Booster", _document(_first_tree("left_children", 0, 0)))
_add("XGBoost, a feature outside the row", _XGBOOST, "Booster", _document(_first_tree("split_indices", 0, 1 << 20)))
_add("XGBoost, a tree of a class that there is not", _XGBOOST, "Booster",
     _document(_set_in(("gradient_booster", "model", "tree_info"), [7, 0])))  # fmt: skip
_add("XGBoost, more trees than there are", _XGBOOST, "Booster",
     _document(_set_in(("gradient_booster", "model", "gbtree_model_param", "num_trees"), "9")))  # fmt: skip
_add("XGBoost, fewer features than its trees ask for", _XGBOOST, "Booster",
     _document(_set_in(("learner_model_param", "num_feature"), "1")))  # fmt: skip
_add("XGBoost, an unknown kind", _XGBOOST, "Booster", _document(_set_in(("gradient_booster", "name"), "mine")))
_LIGHTGBM = _fitted(LGBMClassifier(n_estimators=2, verbose=-1, n_jobs=1))


def _line(name: str, change: Callable[[list[str]], list[str]]) -> Change:
    def changed_state(state: Any) -> Any:
        lines = state["_handle"].splitlines(keepends=True)
        for number, line in enumerate(lines):
            if line.startswith(f"{name}="):
                values = change(line.strip().partition("=")[2].split())
                made = f"{name}={' '.join(values)}"
                # As long as before: the header counts the bytes.
                lines[number] = made.ljust(len(line) - 1)[: len(line) - 1] + "\n"
                break
        return {**state, "_handle": "".join(lines)}

    return changed_state


_add("LightGBM, a child outside its nodes", _LIGHTGBM, "Booster", _line("left_child", lambda v: ["9", *v[1:]]))
_add("LightGBM, a feature outside the row", _LIGHTGBM, "Booster", _line("split_feature", lambda v: ["9", *v[1:]]))
_add("LightGBM, fewer leaves than values", _LIGHTGBM, "Booster", _line("num_leaves", lambda v: ["2"]))
_add("LightGBM, no model", _LIGHTGBM, "Booster", lambda state: {**state, "_handle": None}, rule="state")


def _trees_a_round(state: Any) -> Any:
    return {**state, "_handle": state["_handle"].replace("num_tree_per_iteration=1\n", "num_tree_per_iteration=3\n")}


def _members(change: Callable[[Any], Any]) -> Change:
    return _with("estimators_", change)


def _wider(members: Any) -> Any:
    return np.repeat(members, 1000, axis=1)


def _other_tree(members: Any) -> Any:
    wide = np.random.default_rng(0).normal(size=(50, 40))
    found = members.copy()
    found[0, 0] = DecisionTreeRegressor(max_depth=2).fit(wide, wide[:, 39])
    return found


def _masked(value: Any) -> Any:
    held = np.empty(1, dtype=object)
    held[0] = value
    return np.ma.MaskedArray(held, mask=[False])


_add("LightGBM, other trees a round than classes", _LIGHTGBM, "Booster", _trees_a_round)
_add(
    "LightGBM, categories of pandas that are not JSON",
    _LIGHTGBM,
    "Booster",
    lambda state: {
        **state,
        "_handle": state["_handle"].rpartition("pandas_categorical:")[0] + "pandas_categorical:[[\n",
    },
)
_add(
    "LightGBM, parameters that are not JSON's",
    _LIGHTGBM,
    "Booster",
    lambda state: {**state, "_handle": state["_handle"].replace("[objective: binary]", '[objective: bi"na\\y]')},
)
_add("XGBoost, a parent that does not lead there", _XGBOOST, "Booster", _document(_first_tree("parents", 1, 1 << 29)))
_BOOSTED = _fitted(GradientBoostingClassifier(n_estimators=2))
_add("a boosted model with more trees a round than classes", _BOOSTED, "GradientBoostingClassifier", _members(_wider))
_add("a boosted model with a tree of more features", _BOOSTED, "GradientBoostingClassifier", _members(_other_tree))
_add(
    "a forest with a tree of more features", _FOREST, "RandomForestClassifier", _with("n_features_in_", lambda n: n - 1)
)
_ROWS = _fitted(KNeighborsClassifier(3, algorithm="brute"))
_add("a row of a class that there is not", _ROWS, "KNeighborsClassifier", _in("_y")(_set(None, 0, 1 << 40)))
_add(
    "a distance with lengths calculated before",
    _ROWS,
    "KNeighborsClassifier",
    _with("effective_metric_params_", lambda _: {"Y_norm_squared": np.zeros(1)}),
)
_add(
    "a distance with a weight for other features",
    _NEIGHBOURS,
    "KDTree",
    lambda state: (*state[:11], DistanceMetric.get_metric("seuclidean", V=np.ones(1)), *state[12:]),
)
_add(
    "a distance with a matrix for other features",
    _BALLS,
    "BallTree",
    lambda state: (*state[:11], DistanceMetric.get_metric("mahalanobis", VI=np.eye(1)), *state[12:]),
)
_add(
    "a vector machine that counts more classes",
    _VECTORS,
    "SVC",
    _with("_n_support", lambda counts: np.append(counts, np.zeros(500, np.int32))),
)
_add("a vector machine of another kind inside", _fitted(SVR()), "SVR", lambda state: {**state, "_impl": "c_svc"})
_PRECOMPUTED = lambda: SVC(kernel="precomputed").fit(_data()[0] @ _data()[0].T, _data()[1])  # noqa: E731
_add("a support vector that is no row", _PRECOMPUTED, "SVC", _in("support_")(_set(None, 0, 1 << 29)))
_SPARSE_VECTORS = lambda: SVC(kernel="linear").fit(scipy.sparse.csr_matrix(_data()[0]), _data()[1])  # noqa: E731
_add(
    "sparse weights of fewer vectors",
    _SPARSE_VECTORS,
    "SVC",
    _with("_dual_coef_", lambda weights: scipy.sparse.csr_matrix(weights.shape)),
)
_add(
    "probabilities of one pair for three classes",
    lambda: SVC(probability=True).fit(_data()[0], np.arange(200) % 3),
    "SVC",
    _with("_probA", lambda _: np.zeros(1)),
)
_CLUSTERS = lambda: KMeans(3, n_init=1).fit(_data()[0])  # noqa: E731
_add("clusters in a million threads", _CLUSTERS, "KMeans", _with("_n_threads", lambda _: 1_000_000))
_add("centers of fewer features", _CLUSTERS, "KMeans", _with("cluster_centers_", lambda rows: rows[:, :1].copy()))
_add(
    "clusters without a length each",
    lambda: Birch().fit(_data()[0]),
    "Birch",
    _with("_subcluster_norms", lambda n: n[:1]),
)
_HASHED = lambda: FeatureHasher(16)  # noqa: E731
_add("words hashed into no column", _HASHED, "FeatureHasher", _with("n_features", lambda _: 0))
_add(
    "topics sought without an end",
    lambda: LatentDirichletAllocation(2, max_iter=1).fit(np.abs(_data()[0])),
    "LatentDirichletAllocation",
    _with("max_doc_update_iter", lambda _: 10**15),
)
_add(
    "factors sought without an end",
    lambda: NMF(2, max_iter=5, tol=0.5).fit(np.abs(_data()[0])),
    "NMF",
    _with("max_iter", lambda _: 10**15),
)
_add(
    "products of a very high degree",
    _fitted(PolynomialFeatures(2)),
    "PolynomialFeatures",
    _with("_max_degree", lambda _: 10**9),
)
_add("answers from a million processes", _FOREST, "RandomForestClassifier", _with("n_jobs", lambda _: 1_000_000))
_add(
    "a pattern that takes for ever",
    lambda: CountVectorizer().fit(["a few words"]),
    "CountVectorizer",
    _with("token_pattern", lambda _: r"(a|a|aa)+$"),
)
_add(
    "members hidden in an array with gaps",
    lambda: VotingClassifier([("a", DecisionTreeClassifier(max_depth=2))]).fit(*_data()),
    "VotingClassifier",
    _with("estimators_", lambda members: _masked(members[0])),
    rule="array",
)
_add(
    "a number of features that has a gap",
    _TREE,
    "DecisionTreeClassifier",
    _with("n_features_in_", lambda _: np.ma.MaskedArray([1], mask=[True])),
    rule="numbers",
)


def content_of(numbers: Numbers) -> bytes:
    """The pickle with the number changed."""
    return changed(numbers.train(), numbers.kind, numbers.change)


def twin_of(numbers: Numbers) -> bytes:
    """The pickle as it was."""
    return changed(numbers.train(), numbers.kind, lambda state: state)


_add(
    "a sketch of more columns than its tables",
    lambda: PolynomialCountSketch(n_components=8, random_state=0).fit(_data()[0]),
    "PolynomialCountSketch",
    _with("n_components", lambda _: 10**11),
)
_add("more classes than there are", _FOREST, "RandomForestClassifier", _with("n_classes_", lambda _: 10**10))
_add(
    "splines of more columns than memory",
    _fitted(SplineTransformer(n_knots=3)),
    "SplineTransformer",
    _with("n_features_out_", lambda _: 10**12),
)
_add(
    "products of more columns than memory",
    _fitted(PolynomialFeatures(2)),
    "PolynomialFeatures",
    _with("_n_out_full", lambda _: 10**9),
)
_add(
    "factors of batches sought without an end",
    lambda: MiniBatchNMF(2, max_iter=1, batch_size=16).fit(np.abs(_data()[0])),
    "MiniBatchNMF",
    _with("_transform_max_iter", lambda _: 10**12),
)
