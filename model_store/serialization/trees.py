"""Decision trees of XGBoost, LightGBM and scikit-learn as one table.

Golden rows (both sides of every split, every leaf) and the ONNX form are made from this table, so the form branches as
the library does for every value, not only for tested ones.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from model_store.errors import InvalidInput

Array = "np.ndarray[Any, Any]"
LEAF = -1
Link = Literal["logistic", "softmax", "identity"]
ZERO = float(np.float32(1e-35))
"""LightGBM treats values this close to zero as zero."""


@dataclass(frozen=True)
class Trees:
    """All trees of a model: one entry a node in each array, node numbers count through all trees."""

    feature: "np.ndarray[Any, Any]"
    threshold: "np.ndarray[Any, Any]"
    """64-bit; of the model's own precision."""
    left: "np.ndarray[Any, Any]"
    """The node for `value operator threshold`; `LEAF` in a leaf."""
    right: "np.ndarray[Any, Any]"
    gaps_left: "np.ndarray[Any, Any]"
    """Whether a gap (NaN) goes left."""
    value: "np.ndarray[Any, Any]"
    """What a leaf adds to its target."""
    roots: tuple[int, ...]
    targets: tuple[int, ...]
    """Which sum each tree adds to."""
    operator: Literal["<", "<="]
    value_bits: Literal[32, 64]
    """The precision that the library cuts a row to before it compares."""
    sum_bits: Literal[32, 64]
    """The precision that the library sums leaves in, tree by tree."""
    base: tuple[float, ...]
    """What each sum begins with."""
    divisor: int
    """What each sum is divided by before the link."""
    link: Link
    """What turns sums into probabilities."""
    width: int
    """Features of a row."""
    gap_values: dict[int, float] = field(default_factory=dict)
    """By feature: the value that the library takes for a gap, beside NaN."""
    zero_is_gap: frozenset[int] = frozenset()
    """Features in which zero is a gap."""
    gap_is_zero: frozenset[int] = frozenset()
    """Features in which a gap counts as zero."""

    @property
    def leaves(self) -> "np.ndarray[Any, Any]":
        """The numbers of all leaves."""
        return np.flatnonzero(self.left == LEAF)

    def reached(self, rows: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """The leaf that each row ends in, tree by tree; shape (rows, trees).

        Args:
            rows: shape (n, width), 64-bit, gaps as NaN, as `prepared` returns them.
        """
        node = np.repeat(np.asarray(self.roots)[None, :], len(rows), axis=0)
        index = np.arange(len(rows))[:, None]
        while (inner := self.left[node] != LEAF).any():
            values, splits = rows[index, self.feature[node]], self.threshold[node]
            goes_left = values < splits if self.operator == "<" else values <= splits
            goes_left = np.where(np.isnan(values), self.gaps_left[node], goes_left)
            node = np.where(inner, np.where(goes_left, self.left[node], self.right[node]), node)
        return node

    def prepared(self, rows: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Rows as the library compares them: cut to its precision, gaps as NaN; shape and order stay."""
        with np.errstate(over="ignore"):
            found = rows.astype(np.float32).astype(np.float64) if self.value_bits == 32 else rows.copy()
        for number, value in self.gap_values.items():
            column = found[:, number]
            column[column == np.float64(np.float32(value))] = np.nan
        for number in self.zero_is_gap:
            column = found[:, number]
            column[np.abs(column) <= ZERO] = np.nan
        for number in self.gap_is_zero:
            column = found[:, number]
            column[np.isnan(column)] = 0.0
        return found


def read_trees(model: Any, positive_index: int) -> Trees:
    """The trees of a fitted classifier that answers from trees of numeric splits alone.

    Args:
        model: an estimator of XGBoost, LightGBM or scikit-learn.
        positive_index: the class whose probability is asked for; a forest keeps that one's votes only.

    Raises:
        InvalidInput: the model has no such table; says why.
    """
    module, name = type(model).__module__, type(model).__name__
    for package, reader in _READERS.items():
        if module.startswith(package) and name in reader:
            return reader[name](model, positive_index)
    raise InvalidInput(f"{name} has no exact optimized form")


# --- XGBoost -----------------------------------------------------------------------------------------------------


def _read_xgboost(model: Any, _positive_index: int) -> Trees:
    booster = model.get_booster()
    best = getattr(model, "best_iteration", None) if booster.attr("best_iteration") else None
    document = json.loads(bytes(booster.save_raw("json")))
    missing = float(model.missing) if model.missing is not None else float("nan")
    return parse_xgboost_document(document, missing, None if best is None else int(best) + 1)


def parse_xgboost_document(document: dict[str, Any], missing: float, rounds: int | None) -> Trees:
    """The trees of a booster's JSON.

    Args:
        document: as `save_raw("json")` has it.
        missing: the value that counts as a gap beside NaN.
        rounds: how many rounds answer; None for all.

    Raises:
        InvalidInput: another booster than gbtree, categories, or an objective without probabilities.
    """
    learner = document["learner"]
    booster = learner["gradient_booster"]
    if booster.get("name") != "gbtree":
        raise InvalidInput(f"XGBoost's booster {booster.get('name')} answers from its own library")
    model, parameters = booster["model"], learner["learner_model_param"]
    trees, info = model["trees"], model["tree_info"]
    if rounds is not None:
        end = model["iteration_indptr"][rounds]
        trees, info = trees[:end], info[:end]
    if any(tree["categories"] for tree in trees):
        raise InvalidInput("splits by category are left to XGBoost")
    objective = learner["objective"]["name"]
    classes = max(1, int(parameters["num_class"]))
    base = json.loads(parameters["base_score"])
    bases = [float(each) for each in (base if isinstance(base, list) else [base])]
    if objective in ("binary:logistic", "reg:logistic"):
        link: Link = "logistic"
        start = [_xgboost_margin(bases[0])]
    elif objective in ("multi:softprob", "multi:softmax"):
        link, start = "softmax", (bases if len(bases) == classes else bases * classes)
    else:
        raise InvalidInput(f"XGBoost's objective {objective} answers from its own library")
    builder = _Builder()
    for tree in trees:
        if int(tree["tree_param"]["size_leaf_vector"]) > 1:
            raise InvalidInput("trees with several values a leaf are left to XGBoost")
        splits = np.asarray(tree["split_conditions"], dtype=np.float32).astype(np.float64)
        builder.add(tree["split_indices"], splits, tree["left_children"], tree["right_children"],
                    np.asarray(tree["default_left"], dtype=bool), splits)  # fmt: skip
    width = int(parameters["num_feature"])
    gap_values = {} if missing != missing else dict.fromkeys(range(width), missing)
    return builder.trees(
        targets=[int(each) for each in info], operator="<", value_bits=32, sum_bits=32,
        base=tuple(float(np.float32(each)) for each in start), link=link, width=width, gap_values=gap_values,
    )  # fmt: skip


def _xgboost_margin(probability: float) -> float:
    """The margin of a base score, in the 32-bit arithmetic of the library."""
    one = np.float32(1)
    return float(-np.log(one / np.float32(probability) - one))


# --- LightGBM ----------------------------------------------------------------------------------------------------


def _read_lightgbm(model: Any, _positive_index: int) -> Trees:
    booster = getattr(model, "booster_", None) or model.booster
    best = getattr(model, "best_iteration_", None) or getattr(booster, "best_iteration", 0)
    document = booster.dump_model(num_iteration=best if best and best > 0 else -1)
    objective = str(document.get("objective", ""))
    words = objective.split()
    classes = int(document["num_tree_per_iteration"])
    options = dict(word.split(":", 1) for word in words[1:] if ":" in word)
    if words[:1] in (["binary"], ["cross_entropy"]):
        link: Link = "logistic"
        scale = float(options.get("sigmoid", 1))
    elif words[:1] == ["multiclass"]:
        link, scale = "softmax", 1.0
    else:
        raise InvalidInput(f"LightGBM's objective {objective or 'of its own'} answers from its own library")
    if scale != 1:
        raise InvalidInput(f"LightGBM's sigmoid {scale:g} answers from its own library")
    builder, kinds = _Builder(), dict[int, str]()
    for tree in document["tree_info"]:
        builder.add(*_lightgbm_tree(tree["tree_structure"], kinds))
    return builder.trees(
        targets=[number % classes for number in range(len(document["tree_info"]))], operator="<=", value_bits=64,
        sum_bits=64, base=(0.0,) * classes, link=link, width=int(document["max_feature_idx"]) + 1,
        divisor=len(document["tree_info"]) // classes if document.get("average_output") else 1,
        zero_is_gap=frozenset(number for number, kind in kinds.items() if kind == "Zero"),
        gap_is_zero=frozenset(number for number, kind in kinds.items() if kind == "None"),
    )  # fmt: skip


def _around_zero(threshold: float) -> float:
    """A threshold that sends every value that counts as zero where LightGBM sends zero."""
    if abs(threshold) >= _LIGHTGBM_INFINITE:
        # LightGBM writes infinity so: every number goes left, gaps right.
        return math.copysign(math.inf, threshold)
    if not -ZERO <= threshold <= ZERO:
        return threshold
    return ZERO if threshold >= 0 else float(np.nextafter(-ZERO, -np.inf))


_LIGHTGBM_INFINITE: float = 1e300


def _lightgbm_tree(structure: dict[str, Any], kinds: dict[int, str]) -> tuple[Any, ...]:
    feature: list[int] = []
    threshold: list[float] = []
    left: list[int] = []
    right: list[int] = []
    gaps: list[bool] = []
    value: list[float] = []
    pending = [(structure, -1, left)]
    while pending:
        node, parent, side = pending.pop()
        number = len(feature)
        if parent >= 0:
            side[parent] = number
        if "split_index" not in node:
            if node.get("leaf_const") is not None or node.get("leaf_coeff"):
                raise InvalidInput("LightGBM's linear trees answer from its own library")
            for column, item in ((feature, 0), (threshold, 0.0), (left, LEAF), (right, LEAF), (gaps, False)):
                column.append(item)  # type: ignore[arg-type]
            value.append(float(node["leaf_value"]))
            continue
        if node["decision_type"] != "<=":
            raise InvalidInput("splits by category are left to LightGBM")
        split = int(node["split_feature"])
        if kinds.setdefault(split, node["missing_type"]) != node["missing_type"]:
            raise InvalidInput("LightGBM treats gaps of one feature in two ways")
        feature.append(split)
        threshold.append(_around_zero(float(node["threshold"])))
        left.append(0)
        right.append(0)
        gaps.append(bool(node["default_left"]))
        value.append(0.0)
        pending += [(node["right_child"], number, right), (node["left_child"], number, left)]
    return feature, threshold, left, right, gaps, value


# --- scikit-learn ------------------------------------------------------------------------------------------------


def _read_forest(model: Any, positive_index: int) -> Trees:
    if getattr(model, "n_outputs_", 1) != 1:
        raise InvalidInput("a forest of several outputs answers from its own library")
    members = getattr(model, "estimators_", None) or [model]
    builder = _Builder()
    for member in members:
        builder.add(*_sklearn_tree(member.tree_, member.tree_.value[:, 0, positive_index]))
    return builder.trees(
        targets=[0] * len(members), operator="<=", value_bits=32, sum_bits=64, base=(0.0,), link="identity",
        width=int(model.n_features_in_), divisor=len(members),
    )  # fmt: skip


def _sklearn_tree(tree: Any, value: Any) -> tuple[Any, ...]:
    gaps = getattr(tree, "missing_go_to_left", np.zeros(tree.node_count, dtype=bool))
    leaf = tree.children_left == LEAF
    return np.where(leaf, 0, tree.feature), tree.threshold, tree.children_left, tree.children_right, gaps, value


def _read_gradient_boosting(model: Any, _positive_index: int) -> Trees:
    if type(model._loss).__name__ not in ("HalfBinomialLoss", "HalfMultinomialLoss"):
        raise InvalidInput(f"the loss {model.loss} answers from its own library")
    stages = model.estimators_
    start = model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32))[0]
    if type(model.init_).__name__ != "DummyClassifier":
        raise InvalidInput("gradient boosting on top of another estimator answers from its own library")
    builder, targets = _Builder(), []
    for stage in stages:
        for target, member in enumerate(stage):
            builder.add(*_sklearn_tree(member.tree_, member.tree_.value[:, 0, 0] * model.learning_rate))
            targets.append(target)
    return builder.trees(
        targets=targets, operator="<=", value_bits=32, sum_bits=64, base=tuple(float(each) for each in start),
        link="logistic" if stages.shape[1] == 1 else "softmax", width=int(model.n_features_in_),
    )  # fmt: skip


def _read_histogram_boosting(model: Any, _positive_index: int) -> Trees:
    if model.is_categorical_ is not None and bool(np.any(model.is_categorical_)):
        raise InvalidInput("splits by category are left to scikit-learn")
    builder, targets = _Builder(), []
    for stage in model._predictors:
        for target, predictor in enumerate(stage):
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            builder.add(
                np.where(leaf, 0, nodes["feature_idx"]), nodes["num_threshold"],
                np.where(leaf, LEAF, nodes["left"].astype(np.int64)),
                np.where(leaf, LEAF, nodes["right"].astype(np.int64)),
                nodes["missing_go_to_left"].astype(bool), nodes["value"],
            )  # fmt: skip
            targets.append(target)
    base = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)
    width = len(model._predictors[0])
    return builder.trees(
        targets=targets, operator="<=", value_bits=64, sum_bits=64,
        base=tuple(float(each) for each in np.broadcast_to(base, (width,))),
        link="logistic" if width == 1 else "softmax", width=int(model.n_features_in_),
    )  # fmt: skip


class _Builder:
    """Collects trees into one table."""

    def __init__(self) -> None:
        self._parts: list[tuple[np.ndarray[Any, Any], ...]] = []
        self._roots: list[int] = []
        self._size = 0

    def add(
        self,
        feature: Any,
        threshold: Any,
        left: Any,
        right: Any,
        gaps_left: Any,
        value: Any,
    ) -> None:
        """Adds one tree whose nodes are numbered from 0; children of a leaf are `LEAF`."""
        here = np.asarray(left, dtype=np.int64)
        leaf = here == LEAF
        self._parts.append(
            (
                np.where(leaf, 0, np.asarray(feature, dtype=np.int64)),
                np.where(leaf, 0.0, np.asarray(threshold, dtype=np.float64)),
                np.where(leaf, LEAF, here + self._size),
                np.where(leaf, LEAF, np.asarray(right, dtype=np.int64) + self._size),
                np.asarray(gaps_left, dtype=bool) & ~leaf,
                np.where(leaf, np.asarray(value, dtype=np.float64), 0.0),
            )
        )
        self._roots.append(self._size)
        self._size += len(here)

    def trees(self, *, targets: Sequence[int], divisor: int = 1, **more: Any) -> Trees:
        """The table of all trees that were added."""
        if not self._parts:
            raise InvalidInput("the model has no trees")
        columns: Any = [np.concatenate(parts) for parts in zip(*self._parts, strict=True)]
        made: Any = Trees
        found: Trees = made(*columns, roots=tuple(self._roots), targets=tuple(targets), divisor=divisor, **more)
        return found


_FORESTS: dict[str, Callable[[Any, int], Trees]] = dict.fromkeys(
    ("DecisionTreeClassifier", "ExtraTreeClassifier", "RandomForestClassifier", "ExtraTreesClassifier"), _read_forest
)
_READERS: dict[str, dict[str, Callable[[Any, int], Trees]]] = {
    "xgboost.": dict.fromkeys(("XGBClassifier", "XGBRFClassifier"), _read_xgboost),
    "lightgbm.": {"LGBMClassifier": _read_lightgbm},
    "model_store.native_models": {"LightGBMModel": _read_lightgbm},
    "sklearn.": {
        **_FORESTS,
        "GradientBoostingClassifier": _read_gradient_boosting,
        "HistGradientBoostingClassifier": _read_histogram_boosting,
    },
}
