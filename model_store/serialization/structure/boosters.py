"""Checks models of XGBoost and LightGBM in their own formats: every number that the library uses as an index.

Contradicting numbers make both libraries end the process, read foreign memory or run forever.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from model_store.serialization.structure.numbers import MOST_CATEGORY, MOST_CLASSES, require_tree, require_within
from model_store.serialization.ubjson import read_ubjson

_MOST_FEATURES = 10_000_000
_MOST_TREES = 10_000_000
_VERSION_PARTS, _HIGHEST_VERSION = 3, 9999
_PRINTABLE = re.compile(r"[ -~\n]*")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_NUMBER = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|inf|nan)"
_NUMBERS = re.compile(rf"(?:{_NUMBER}(?: +{_NUMBER})*)?")
_PLACE = re.compile(r"[0-9]{1,9}(\.[0-9]*)?")
_TEXT_AND_COLON = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*(:?)', re.DOTALL)
_NO_PARENT = (2147483647, -1)
_TREE_ARRAYS = ("right_children", "split_indices", "split_conditions", "default_left")


def xgboost_document(content: Any) -> Any:
    """Parses a model of XGBoost, JSON or UBJSON, into a document.

    Raises:
        ValueError: the content is neither JSON nor UBJSON.
    """
    if bytes(content[:2]).lstrip()[:1] == b"{" and bytes(content[1:2]) in b'"\n\r\t }':
        return read_xgboost_json(bytes(content))
    return read_ubjson(content, arrays=True)


def read_xgboost_json(content: bytes) -> Any:
    """Parses a model of XGBoost in JSON; its keys have one meaning for XGBoost and for this program.

    Raises:
        ValueError: the content is not JSON, or a key is repeated or written with an escape.
    """
    for text in _TEXT_AND_COLON.finditer(content):
        if text[2] and b"\\" in text[1]:
            raise ValueError("a key is written with an escape")
    return json.loads(content, object_pairs_hook=_refuse_repeated_keys)


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is repeated")
    return found


def require_xgboost(document: Any) -> str:
    """Checks a model of XGBoost; returns the version of XGBoost that wrote it, empty when the model names none.

    Args:
        document: the model, as its JSON or UBJSON gives it.

    Raises:
        ValueError: its numbers contradict each other.
    """
    model = document["Model"] if isinstance(document, Mapping) and "Model" in document else document
    try:
        learner = model["learner"]
        parameters = learner["learner_model_param"]
        features, classes = int(parameters["num_feature"]), int(parameters["num_class"])
        targets = int(parameters.get("num_target", 1))
        groups = max(classes, targets, 1)
        if not 0 <= features <= _MOST_FEATURES or not 0 <= groups <= MOST_CLASSES:
            raise ValueError("a model of XGBoost has sizes that are not whole numbers")
        _require_booster(learner["gradient_booster"], features, groups)
        return _version(model.get("version"))
    except (LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"a model of XGBoost lacks {error}") from None


def _version(parts: Any) -> str:
    if not isinstance(parts, list) or len(parts) != _VERSION_PARTS or not all(type(each) is int for each in parts):
        return ""
    return ".".join(str(each) for each in parts) if all(0 <= each <= _HIGHEST_VERSION for each in parts) else ""


def _require_booster(booster: Any, features: int, groups: int) -> None:
    name = booster["name"]
    if name == "gblinear":
        if len(booster["model"]["weights"]) != (features + 1) * groups:
            raise ValueError("a linear model of XGBoost does not have a weight for each feature")
        return
    if name not in ("gbtree", "dart"):
        raise ValueError(f"a model of XGBoost of the unknown kind {name!r}")
    model = (booster["gbtree"] if name == "dart" else booster)["model"]
    if name == "dart" and len(booster["weight_drop"]) != len(model["trees"]):
        raise ValueError("a model of XGBoost does not have a weight for each tree")
    _require_counts(model, groups)
    for tree in model["trees"]:
        _require_xgboost_tree(tree, features, groups)


def _require_counts(model: Any, groups: int) -> None:
    trees, info = model["trees"], model["tree_info"]
    parameters = model["gbtree_model_param"]
    if int(parameters["num_trees"]) != len(trees) or len(info) != len(trees):
        raise ValueError("a model of XGBoost has another number of trees than it declares")
    if len(trees) > _MOST_TREES or not 1 <= int(parameters["num_parallel_tree"]) <= _MOST_TREES:
        raise ValueError("a model of XGBoost has too many trees")
    require_within(info, groups, "the class of a tree")
    told = model.get("iteration_indptr")
    rounds = np.asarray((0, len(trees)) if told is None or not len(told) else told).astype(np.int64)
    if rounds[0] != 0 or rounds[-1] != len(trees) or (np.diff(rounds) < 0).any():
        raise ValueError("the rounds of a model of XGBoost do not cover its trees")


def _require_xgboost_tree(tree: Any, features: int, groups: int) -> None:
    parameters = tree["tree_param"]
    count, width = int(parameters["num_nodes"]), int(parameters.get("size_leaf_vector", 1))
    if int(parameters["num_feature"]) > features and features:
        raise ValueError("a tree of XGBoost has more features than its model")
    left, right = np.asarray(tree["left_children"]), np.asarray(tree["right_children"])
    if len(left) != count or any(len(tree[name]) != count for name in _TREE_ARRAYS):
        raise ValueError("a tree of XGBoost has another number of nodes than it declares")
    if width not in (0, 1) and (width != groups or len(tree["base_weights"]) != count * width):
        raise ValueError("a tree of XGBoost does not have a value for each class")
    for name in ("base_weights", "parents", "split_type", "sum_hessian", "loss_changes"):
        if width in (0, 1) and name in tree and len(tree[name]) not in (0, count):
            raise ValueError("a tree of XGBoost has another number of nodes than it declares")
    internal = left != -1
    if not np.array_equal(internal, right != -1):
        raise ValueError("a node of a tree of XGBoost has one child only")
    require_tree(left, right, internal=internal, what="a tree of XGBoost")
    _require_parents(tree, left, right, internal)
    require_within(np.asarray(tree["split_indices"])[internal], max(features, 1), "a feature index of a tree")
    _require_categories(tree, count)


def _require_parents(tree: Any, left: Any, right: Any, internal: Any) -> None:
    parents = np.asarray(tree.get("parents", ()))
    if not len(parents):
        return
    inner = np.flatnonzero(internal)
    fits = parents[0] in _NO_PARENT and all((parents[side[inner]] == inner).all() for side in (left, right))
    if not fits:
        raise ValueError("the parents in a tree of XGBoost do not match its children")


def _require_categories(tree: Any, count: int) -> None:
    categories = tree.get("categories")
    if categories is None:
        return
    nodes, segments, sizes = (tree[f"categories_{name}"] for name in ("nodes", "segments", "sizes"))
    if not len(nodes) == len(segments) == len(sizes):
        raise ValueError("the category arrays of a tree of XGBoost differ in length")
    require_within(nodes, count, "a node with categories")
    if (np.diff(np.asarray(nodes)) <= 0).any():
        raise ValueError("the nodes with categories of a tree of XGBoost are not in ascending order")
    require_within(categories, MOST_CATEGORY, "a category of XGBoost")
    start, length = np.asarray(segments, dtype=np.int64), np.asarray(sizes, dtype=np.int64)
    if len(start) and (start.min() < 0 or length.min() < 0 or (start + length).max() > len(categories)):
        raise ValueError("a node of a tree of XGBoost points outside the tree's categories")
    kinds = np.asarray(tree["split_type"]) if len(tree.get("split_type", ())) else np.zeros(count)
    if set(np.flatnonzero(kinds).tolist()) - set(np.asarray(nodes).tolist()):
        raise ValueError("a node of a tree of XGBoost that splits by category has no categories")


def require_lightgbm(text: str) -> dict[str, str]:
    """Checks a model of LightGBM in its text form; returns the header's fields.

    Refuses text that LightGBM could read in another way: a repeated field, digits and spaces of other scripts, other
    line ends.

    Raises:
        ValueError: a tree does not begin where the header says, or has a child outside its nodes.
    """
    try:
        return _require_lightgbm(text)
    except (LookupError, OverflowError) as error:
        raise ValueError(f"it lacks {error}") from None


def _require_lightgbm(text: str) -> dict[str, str]:
    head, _, rest = text.partition("\n\n")
    first, *lines = head.split("\n")
    if first != "tree":
        raise ValueError("it does not begin with the line 'tree'")
    if "\0" in text or "\r" in head:
        raise ValueError("it has characters that LightGBM reads as the end of the text or of a line")
    header = _fields(line for line in lines if line != "average_output")
    if "Tree" in header:
        raise ValueError("a tree begins before the header ends")
    features, sizes = _integer(header["max_feature_idx"]) + 1, _integers(header["tree_sizes"])
    classes, in_round = (
        _integer(header.get("num_class", "1")),
        _integer(header.get("num_tree_per_iteration", "1")),
    )
    if not 0 < features <= _MOST_FEATURES or not 0 < classes <= MOST_CLASSES or not 0 < in_round <= MOST_CLASSES:
        raise ValueError("its number of features, classes or trees is outside the allowed range")
    if in_round != classes:
        raise ValueError(f"it has {in_round} trees a round and {classes} classes")
    _require_objective(header.get("objective", ""), classes, in_round)
    if not sizes or len(sizes) % in_round:
        raise ValueError("its number of trees is not the number of rounds times the trees of a round")
    # Sizes are counted in bytes from the first tree on.
    body, start = rest.lstrip("\n").encode(), 0
    for number, size in enumerate(sizes):
        if size < 0:
            raise ValueError(f"a tree of {size} bytes")
        _require_lightgbm_tree(body[start : start + size].decode("utf-8"), number, features)
        start += size
    if not body[start:].lstrip().startswith(b"end of trees"):
        raise ValueError("its trees do not end where the header's tree_sizes end")
    _require_lightgbm_end(body[start:].decode("utf-8"))
    return header


def _require_lightgbm_end(text: str) -> None:
    """Raises ValueError unless LightGBM and its Python library can read what follows the trees."""
    _, found, parameters = text.partition("\nparameters:")
    if found:
        parameters, ended, _ = parameters.partition("\nend of parameters\n")
        if not ended:
            raise ValueError("its parameters have no line 'end of parameters'")
        # The library puts them into JSON as they are.
        if not _PRINTABLE.fullmatch(parameters) or '"' in parameters or "\\" in parameters:
            raise ValueError("its parameters have characters that LightGBM does not write")
    _, found, categories = text.rpartition("\npandas_categorical:")
    if not found:
        return
    try:
        values = json.loads(categories.partition("\n")[0])
    except (ValueError, RecursionError):
        raise ValueError("its categories of pandas are not JSON") from None
    fits = values is None or (isinstance(values, list) and all(isinstance(each, list) for each in values))
    if not fits or any(isinstance(value, list | dict) for each in values or () for value in each):
        raise ValueError("its categories of pandas are not lists of values")


def _require_objective(objective: str, classes: int, in_round: int) -> None:
    """Requires as many classes in the objective as in the header: LightGBM writes one answer for each."""
    name, *parts = objective.split(" ")
    told = [_integer(part.removeprefix("num_class:")) for part in parts if part.startswith("num_class:")]
    if any(count not in (classes, in_round) or classes != in_round for count in told):
        raise ValueError(f"its objective {name} names another number of classes than its header")


_OF_SPLITS = ("split_feature", "threshold", "decision_type", "left_child", "right_child")
_MAYBE_OF_SPLITS = ("split_gain", "internal_value", "internal_weight", "internal_count")
_MAYBE_OF_LEAVES = ("leaf_weight", "leaf_count")


def _require_lightgbm_tree(block: str, number: int, features: int) -> None:
    if not _PRINTABLE.fullmatch(block):
        raise ValueError(f"tree {number} has characters that LightGBM does not write")
    first, *lines = block.rstrip("\n").split("\n")
    if first != f"Tree={number}":
        raise ValueError(f"tree {number} does not begin where the header's tree_sizes say")
    tree = _fields(lines)
    leaves = _integer(tree["num_leaves"])
    if leaves < 1:
        raise ValueError(f"tree {number} does not have one value for each leaf")
    _require_arrays(tree, number, leaves)
    _require_linear_leaves(tree, number, leaves, features)
    if leaves == 1:
        return
    left, right = (_integers(tree[name]) for name in ("left_child", "right_child"))
    if sorted(left + right) != sorted([*range(-leaves, 0), *range(1, leaves - 1)]):
        raise ValueError(f"tree {number} has a child outside its nodes, or a circle")
    _require_no_circle(left, right, number)
    if not all(0 <= feature < features for feature in _integers(tree["split_feature"])):
        raise ValueError(f"tree {number} uses a feature that the model does not have")
    _require_lightgbm_categories(tree, number)


def _require_arrays(tree: Mapping[str, str], number: int, leaves: int) -> None:
    """Requires one number for each leaf or split: LightGBM ends the process on fewer, or on other text."""
    needed = {"leaf_value": leaves, **(dict.fromkeys(_OF_SPLITS, leaves - 1) if leaves > 1 else {})}
    optional = {**dict.fromkeys(_MAYBE_OF_LEAVES, leaves), **dict.fromkeys(_MAYBE_OF_SPLITS, leaves - 1)}
    for name, count in {**needed, **optional}.items():
        if name not in needed and not tree.get(name):
            continue
        if len(tree[name].split()) != count or not _are_numbers(tree[name]):
            raise ValueError(
                f"tree {number} does not have one value for each {'leaf' if 'leaf' in name else 'split'} ({name})"
            )
    if not _are_numbers(tree.get("shrinkage", "1")):
        raise ValueError(f"tree {number} has a shrinkage that is not a number")


def _require_no_circle(left: list[int], right: list[int], number: int) -> None:
    pending, seen = [0], 0
    while pending:
        node = pending.pop()
        seen += 1
        pending += [child for child in (left[node], right[node]) if child >= 0]
    if seen != len(left):
        raise ValueError(f"tree {number} has a child outside its nodes, or a circle")


def _require_lightgbm_categories(tree: Mapping[str, str], number: int) -> None:
    count = _integer(tree.get("num_cat", "0"))
    kinds, thresholds = _integers(tree["decision_type"]), tree["threshold"].split()
    by_category = [_category(value) for kind, value in zip(kinds, thresholds, strict=True) if kind & 1]
    if not all(0 <= place < count for place in by_category):
        raise ValueError(f"tree {number} points outside its categories")
    if count <= 0:
        return
    borders = _integers(tree["cat_boundaries"])
    words = tree["cat_threshold"].split()
    if len(borders) != count + 1 or borders[0] != 0 or borders[-1] != len(words) or borders != sorted(borders):
        raise ValueError(f"tree {number} points outside its categories")


def _require_linear_leaves(tree: Mapping[str, str], number: int, leaves: int, features: int) -> None:
    if _integer(tree.get("is_linear", "0")) == 0:
        return
    counts, asked = _integers(tree["num_features"]), _integers(tree.get("leaf_features", ""))
    weights = tree.get("leaf_coeff", "").split()
    if len(counts) != leaves or min(counts) < 0 or sum(counts) != len(asked) or len(weights) != len(asked):
        raise ValueError(f"tree {number} does not have a weight for each feature of its leaves")
    if not all(_are_numbers(tree.get(name, "")) for name in ("leaf_const", "leaf_coeff")):
        raise ValueError(f"tree {number} has leaf weights that are not numbers")
    if len(tree["leaf_const"].split()) != leaves or not all(0 <= each < features for each in asked):
        raise ValueError(f"tree {number} uses a feature that the model does not have")


def _fields(lines: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, sign, value = line.partition("=")
        if not sign or not name or name in found:
            raise ValueError(f"the line {line[:80]!r} is not a field, or repeats one")
        found[name] = value
    return found


def _integer(text: str) -> int:
    """Parses a whole number as LightGBM writes it; `int` accepts more forms."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not a whole number")
    return int(text)


def _integers(text: str) -> list[int]:
    return [_integer(each) for each in text.split(" ") if each]


def _are_numbers(text: str) -> bool:
    return _NUMBERS.fullmatch(text.strip(" ")) is not None


def _category(text: str) -> int:
    if not _PLACE.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not the index of a set of categories")
    return int(float(text))
