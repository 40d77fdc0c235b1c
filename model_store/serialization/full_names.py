"""Full names of Python objects, such as `numpy.mean`, that a deployer trusts beyond the allow-list."""

import re
from collections.abc import Iterable
from typing import Any

from model_store.errors import InvalidInput

_FULL_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)


def require_full_names(names: Iterable[object]) -> tuple[str, ...]:
    """The names, each once, in their order.

    Raises:
        InvalidInput: one is not a full name; whole modules and patterns are none.
    """
    found: dict[str, None] = {}
    for name in names:
        if not isinstance(name, str) or not _FULL_NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} is not allowed; allowed: full names such as numpy.mean")
        found[name] = None
    return tuple(found)


def full_class_name(model: Any) -> str:
    """The full name of an object's class, such as `xgboost.sklearn.XGBClassifier`."""
    return f"{type(model).__module__}.{type(model).__qualname__}"
