"""Labels of a file beside the classes of a model."""

from typing import Any


def same_label(value: Any, other: Any) -> bool:
    """Whether two labels are one: 1, `1`, `1.0` and true are, as a file may write a class in each of these ways."""
    return bool(_canonical(value) == _canonical(other))


def _canonical(value: Any) -> Any:
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return float(text.lower() == "true")
    try:
        return float(text)
    except ValueError:
        return text
