"""How long work tells its caller how far it is."""

from collections.abc import Callable

Step = Callable[[int, int, str], None]
"""Told how many are done, of how many, and what comes next."""


def no_step(_done: int, _total: int, _what: str) -> None:
    """A progress callback that ignores what it is told."""
