"""Model files in the libraries' own formats: XGBoost's `.json` and `.ubj`, LightGBM's `.txt`.

Both libraries end the whole process over some bytes that are not what they expect: the bytes are looked at first.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from model_store.errors import InvalidInput, UnreadableModel
from model_store.serialization import native_models
from model_store.serialization.ubjson import read_ubjson

if TYPE_CHECKING:
    from model_store.serialization.native_models import LightGBMModel

_XGBOOST_CLASSIFIER = "xgboost.sklearn.XGBClassifier"
_NO_PROBABILITY = ("binary:logitraw",)
_LIGHTGBM_PROBABILITIES = ("binary", "multiclass", "multiclassova", "cross_entropy")
_TREE_ARRAYS = ("split_feature", "threshold", "decision_type", "left_child", "right_child")


def xgboost_classifier(content: bytes, *, json_text: bool) -> Any:
    """An `XGBClassifier` from what `save_model` wrote.

    Args:
        content: the file.
        json_text: whether it has to be JSON; UBJSON otherwise.

    Raises:
        InvalidInput: its objective gives no probability.
        UnreadableModel: it is not an XGBoost model.
    """
    try:
        document = json.loads(content) if json_text else read_ubjson(content)
        objective = document["learner"]["objective"]["name"]
    except (ValueError, RecursionError) as error:
        raise UnreadableModel(f"not an XGBoost model in {'JSON' if json_text else 'UBJSON'} ({error})") from None
    except (KeyError, TypeError, IndexError):
        raise UnreadableModel("not an XGBoost model: it names no objective") from None
    if not str(objective).startswith(("binary:", "multi:")) or objective in _NO_PROBABILITY:
        raise InvalidInput(
            f"an XGBoost model with the objective {objective} gives no probability of a class; "
            "allowed: binary: and multi: objectives, without binary:logitraw"
        )
    return native_models.load_xgboost(content.strip() if json_text else content, _XGBOOST_CLASSIFIER)


def lightgbm_model(content: bytes) -> "LightGBMModel":
    """A model from what LightGBM's `Booster.save_model` wrote.

    Raises:
        InvalidInput: its objective gives no probability.
        UnreadableModel: it is not a LightGBM model.
    """
    if b"\r\n" in content[:4096]:
        raise UnreadableModel(
            "not a LightGBM model as LightGBM writes it: its lines end as on Windows, and it counts bytes; copy the "
            "file without changing its line ends"
        )
    try:
        text = content.decode("utf-8")
        header = _require_lightgbm(text)
    except (ValueError, KeyError, IndexError) as error:
        raise UnreadableModel(f"not a LightGBM model ({error})") from None
    objective = (header.get("objective") or "none").split()[0]
    if objective not in _LIGHTGBM_PROBABILITIES:
        raise InvalidInput(
            f"a LightGBM model with the objective {objective} gives no probability of a class; "
            f"allowed: {', '.join(_LIGHTGBM_PROBABILITIES)}"
        )
    return native_models.LightGBMModel(text)


def _require_lightgbm(text: str) -> dict[str, str]:
    """The header's fields.

    Raises:
        ValueError, KeyError, IndexError: trees are not where the header says, or lead outside themselves.
    """
    head, _, rest = text.partition("\n\n")
    first, *lines = head.splitlines()
    if first != "tree":
        raise ValueError("it does not begin with the line 'tree'")
    header = dict(_fields(lines))
    features, sizes = int(header["max_feature_idx"]) + 1, [int(size) for size in header.get("tree_sizes", "").split()]
    # Sizes are counted in bytes from the first tree on.
    body, start = rest.lstrip("\n").encode(), 0
    for number, size in enumerate(sizes):
        _require_tree(body[start : start + size].decode("utf-8"), number, features)
        start += size
    if size_less_than_zero := [size for size in sizes if size < 0]:
        raise ValueError(f"a tree of {size_less_than_zero[0]} bytes")
    if not body[start:].lstrip().startswith(b"end of trees"):
        raise ValueError("its trees do not end where the header says")
    if b"\nparameters:" in body[start:] and b"\nend of parameters\n" not in body[start:]:
        raise ValueError("its parameters end early")
    return header


def _require_tree(block: str, number: int, features: int) -> None:
    first, *lines = block.splitlines()
    if first != f"Tree={number}":
        raise ValueError(f"tree {number} is not where the header says")
    tree = dict(_fields(lines))
    leaves = int(tree["num_leaves"])
    if len(tree["leaf_value"].split()) != leaves or leaves < 1:
        raise ValueError(f"tree {number} has not one value a leaf")
    if leaves == 1:
        return
    if any(len(tree[name].split()) != leaves - 1 for name in _TREE_ARRAYS):
        raise ValueError(f"tree {number} has not one value a split")
    children = [int(child) for name in ("left_child", "right_child") for child in tree[name].split()]
    if sorted(children) != sorted([*range(-leaves, 0), *range(1, leaves - 1)]):
        raise ValueError(f"tree {number} leads outside itself, or in circles")
    if not all(0 <= int(feature) < features for feature in tree["split_feature"].split()):
        raise ValueError(f"tree {number} asks for features that the model has not")


def _fields(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, sign, value = line.partition("=")
        if sign:
            yield name, value
