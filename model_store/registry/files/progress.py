"""Progress of long operations."""

from collections.abc import Callable

Step = Callable[[int, int, str], None]
"""Gets the number of finished items, the total, and the name of the next item."""


def no_step(_done: int, _total: int, _what: str) -> None:
    """A progress callback that does nothing."""
