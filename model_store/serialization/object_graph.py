"""The objects that a model consists of."""

import gc
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

_NEVER_ENTERED = (type, ModuleType, FunctionType, BuiltinFunctionType, str, bytes, bytearray, int, float, complex)


def objects_of(model: Any) -> Iterator[Any]:
    """Every object that the model consists of, each once."""
    import numpy as np

    seen: dict[int, Any] = {}
    pending = [model]
    while pending:
        item = pending.pop()
        if item is None or isinstance(item, _NEVER_ENTERED) or id(item) in seen:
            continue
        seen[id(item)] = item
        yield item
        if isinstance(item, np.ndarray) and item.dtype.hasobject:
            # Flat: an array of no elements can have a shape of many empty rows. Its own view: one with gaps hides some.
            pending.append(item.view(np.ndarray).ravel().tolist())
        pending.extend(gc.get_referents(item))
