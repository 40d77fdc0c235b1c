"""Texts that LightGBM reads otherwise than a first look would: each is refused, since LightGBM believes its numbers."""

import re
from collections.abc import Callable

import lightgbm
import numpy as np
import pytest

from model_store.serialization.structure.boosters import require_lightgbm

ROWS = np.random.default_rng(0).normal(size=(60, 2))
TEXT = (
    lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_leaves": 4, "min_data_in_leaf": 2},
        lightgbm.Dataset(ROWS, (ROWS[:, 0] * ROWS[:, 1] > 0).astype(int)),
        1,
    )
    .model_to_string()
    .partition("\nparameters:")[0]
)
HEAD, _, REST = TEXT.partition("\n\n")
TREE = REST.lstrip("\n").partition("end of trees")[0]
CHILDREN = next(line for line in TREE.splitlines() if line.startswith("left_child="))
CIRCLE = re.sub(r"-?\d+", "1", CHILDREN)


def _text(tree: str = TREE, head: str = HEAD) -> str:
    return re.sub(r"tree_sizes=\d+", f"tree_sizes={len(tree.encode())}", head) + "\n\n" + tree + "end of trees\n"


def _header(old: str, new: str) -> Callable[[], str]:
    return lambda: _text(head=HEAD.replace(old, new))


def _tree(old: str, new: str) -> Callable[[], str]:
    return lambda: _text(TREE.replace(old, new))


WAYS = {
    "trees without sizes": lambda: re.sub(r"\ntree_sizes=\d+", "", HEAD) + "\n\nend of trees\n\n" + TREE,
    "no trees": _header(HEAD[HEAD.index("tree_sizes=") :], "tree_sizes="),
    "a field given again": _tree(CHILDREN, f"{CIRCLE}\n{CHILDREN}"),
    "a field given again after another end of a line": _tree(CHILDREN, f"{CIRCLE}\x0b{CHILDREN}"),
    "a field given again after an end of a line of Unicode": _tree(CHILDREN, f"{CIRCLE}\u2028{CHILDREN}"),
    "a field of the header given again": _header("max_feature_idx=1", "max_feature_idx=0\nmax_feature_idx=1"),
    "a line that is no field": _tree(CHILDREN, f"x\n{CHILDREN}"),
    "an empty line in a tree": _tree(CHILDREN, f"\n{CHILDREN}"),
    "digits of another script": _header("max_feature_idx=1", "max_feature_idx=\u0661"),
    "a number with an underscore": _header("max_feature_idx=1", "max_feature_idx=1_0"),
    "an end of the text inside": _tree("leaf_value=", "leaf_value=\0"),
    "more classes in the objective": _header("objective=binary sigmoid:1", "objective=multiclass num_class:1000"),
    "a tree in the header": _header("\nversion=", "\nTree=0\nversion="),
    "a name after a sign": _header("\nversion=", "\n=tree_sizes=5\nversion="),
    "fewer values of leaves than leaves": _tree("leaf_count=", "leaf_count=1\nx="),
    "a value that is not a number": _tree("leaf_value=", "leaf_value=x"),
}


@pytest.mark.parametrize("way", sorted(WAYS))
def test_ambiguous_lightgbm_text_is_refused(way: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        require_lightgbm(WAYS[way]())


def test_unchanged_lightgbm_text_is_read() -> None:
    assert require_lightgbm(_text())["tree_sizes"] == str(len(TREE.encode()))
