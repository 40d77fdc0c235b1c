"""Stand-ins for classes, functions and objects during an inspection, and names of values for messages."""

from typing import Any

_MOST_SHOWN = 80


class Made:
    """In an inspection: stands for an object that a load would make.

    Args:
        name: full name of its class.
        about: what rules about other objects ask, such as an array's shape.
    """

    __slots__ = ("about", "name")

    def __init__(self, name: str, **about: Any) -> None:
        self.name = name
        self.about = about


class Named:
    """In an inspection: stands for a class or a function."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


def shown(value: Any) -> str:
    """Formats a value of the file for a message: a short text unchanged, of other values only the type.

    Writing out nested values can take forever.
    """
    return repr(value[:_MOST_SHOWN]) if type(value) is str else f"of the type {type(value).__name__}"


def qualified_name(value: Any) -> str:
    """The full name of a class or function, or that of an object's class."""
    if type(value).__module__.startswith("model_store."):
        return str(getattr(value, "full_name", None) or getattr(value, "name", type(value).__name__))
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{getattr(named, '__module__', '')}.{getattr(named, '__qualname__', type(value).__name__)}"
