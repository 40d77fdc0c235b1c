"""After a load, before the first prediction: checks each object whose attributes compiled code uses as indexes.

Compiled code does not check its bounds. The numbers lie in several attributes or objects, such as a forest's trees and
its number of features, or a vocabulary and the weights of its words, so this module checks them together.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from model_store.errors import StructureRefused
from model_store.serialization.object_graph import object_in_itself, walk_objects
from model_store.serialization.structure.estimators import LOOKS, read_attributes, require_counts
from model_store.serialization.structure.values import Made

_MOST_EXPANDED = 50_000_000
"""Values of nested lists, counted each time they are reached."""
_LINKED_BOTH_WAYS = ("_CFNode",)
"""Leaves of Birch, which name the leaf before and the leaf after them."""


def require_consistent(model: Any) -> None:
    """Raises StructureRefused unless every object's numbers fit each other.

    Args:
        model: loaded or inspected.
    """
    sizes: dict[int, int] = {}
    with_gaps: list[Any] = []
    kept: set[int] = set()
    for item in walk_objects(model):
        if type(item) in (list, tuple):
            _require_small(item, sizes)
            continue
        if isinstance(item, np.ma.MaskedArray):
            with_gaps.append(item)
        name = _class_name(item)
        state = read_attributes(item) if type(item) is Made or hasattr(item, "__dict__") else {}
        if isinstance(results := state.get("cv_results_"), dict):
            kept.update(map(id, results.values()))
        try:
            require_counts(name, state)
            if look := LOOKS.get(name):
                look(state)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise StructureRefused("numbers", f"{name}: {error}", name=name) from None
    if (item := object_in_itself(model, lambda item: _class_name(item) in _LINKED_BOTH_WAYS)) is not None:
        name = _class_name(item)
        raise StructureRefused(
            "nesting", f"an object of {name} contains itself, so a prediction would not end", name=name
        )
    if any(id(item) not in kept for item in with_gaps):
        # Comparisons ignore masked values, so every check of such an array would pass.
        raise StructureRefused("array", "a masked array stands outside the results of a parameter search")


def _class_name(item: Any) -> str:
    return item.name.rpartition(".")[2] if type(item) is Made else type(item).__name__


def _require_small(root: Sequence[Any], sizes: dict[int, int]) -> None:
    """Raises StructureRefused when lists in lists would become too large an array, or contain each other.

    Args:
        root: a list or a tuple.
        sizes: of the checked lists and tuples, by id; each is checked once.
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
                raise StructureRefused("nesting", "nested lists would make too large an array")
        elif key in open_now:
            raise StructureRefused("nesting", "a list contains itself")
        elif key not in sizes:
            open_now.add(key)
            pending.append((item, True))
            pending += [(each, False) for each in item if type(each) in (list, tuple)]
