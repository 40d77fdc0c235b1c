"""How long something takes."""

import time
from collections.abc import Callable
from typing import Any


def timed(work: Callable[[], Any]) -> float:
    """Seconds; what the work returns lives until they are counted."""
    started = time.perf_counter()
    kept = work()
    taken = time.perf_counter() - started
    del kept
    return taken
