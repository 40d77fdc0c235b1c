"""The objects that a model consists of."""

import gc
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

_NEVER_ENTERED = (type, ModuleType, FunctionType, BuiltinFunctionType, str, bytes, bytearray, int, float, complex)


def walk_objects(model: Any) -> Iterator[Any]:
    """Every object that the model consists of, each once."""
    seen: dict[int, Any] = {}
    pending = [model]
    while pending:
        item = pending.pop()
        if item is None or isinstance(item, _NEVER_ENTERED) or id(item) in seen:
            continue
        seen[id(item)] = item
        yield item
        pending.extend(_children(item))


def object_in_itself(model: Any, may_lead_back: Callable[[Any], bool]) -> Any:
    """An object that holds itself, directly or through others; None when the model has none.

    Args:
        model: loaded or inspected.
        may_lead_back: whether an object's references are left out, since its class links its objects both ways.
    """
    kept: list[Any] = []
    finished: set[int] = set()
    open_now: set[int] = set()
    pending: list[tuple[Any, bool]] = [(model, False)]
    while pending:
        item, entered = pending.pop()
        if entered:
            open_now.discard(id(item))
            finished.add(id(item))
        elif item is None or isinstance(item, _NEVER_ENTERED) or id(item) in finished or may_lead_back(item):
            continue
        elif id(item) in open_now:
            return item
        else:
            kept.append(item)  # So that no other object gets its id.
            open_now.add(id(item))
            pending.append((item, True))
            pending.extend((child, False) for child in _children(item))
    return None


def _children(item: Any) -> Iterator[Any]:
    import numpy as np

    if isinstance(item, np.ndarray) and item.dtype.hasobject:
        # Flat: an array of no elements can have a shape of many empty rows. Its own view: one with gaps hides some.
        yield item.view(np.ndarray).ravel().tolist()
    yield from gc.get_referents(item)
