"""A Ctrl-C while the engine runs: the engine ends what it has begun, and this process waits for it.

The terminal sends the signal to the engine too, which cancels its update at the first one and ends at the second.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDS = "interrupted: what has begun comes to its end first; Ctrl-C again ends it at once"


class Interrupted(KeyboardInterrupt):
    """The command was interrupted; the message says how to go on."""


class _Held:
    """The signals that came while interrupts are held."""

    depth = 0
    came = 0
    log: Callable[[str], None] | None = None


@contextmanager
def interrupts_held(log: Callable[[str], None] | None = None) -> Iterator[None]:
    """Holds a Ctrl-C back until the end of the block, in a nested block until the end of the outermost one.

    A block that fails after a Ctrl-C failed because of it.

    Args:
        log: told when the first one comes, also in nested blocks.

    Raises:
        KeyboardInterrupt: one came.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored or threading.current_thread() is not threading.main_thread():
        yield
        return

    def hold(_number: int, _frame: FrameType | None) -> None:
        _Held.came += 1
        if _Held.came == 1 and _Held.log is not None:
            _Held.log(_ENDS)

    before = signal.signal(signal.SIGINT, hold)
    if not _Held.depth:
        _Held.came, _Held.log = 0, log
    _Held.depth += 1
    try:
        yield
    except Exception:
        if _Held.came:
            raise KeyboardInterrupt from None
        raise
    finally:
        _Held.depth -= 1
        signal.signal(signal.SIGINT, before)
    if _Held.came and not _Held.depth:
        raise KeyboardInterrupt
