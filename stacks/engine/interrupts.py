"""A Ctrl-C while the engine runs: the engine ends what it has begun, and this process waits for it.

The terminal sends the signal to the engine too, which cancels its update at the first one and ends at the second.
A SIGTERM to this process alone, as from `kill`, is held too: an engine that goes on without it locks the stack.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDS = {
    signal.SIGINT: "interrupted: what has begun comes to its end first; Ctrl-C again ends it at once",
    signal.SIGTERM: "told to end: what has begun comes to its end first",
}


class Interrupted(KeyboardInterrupt):
    """The command was interrupted; the message says how to go on."""


class _Held:
    """The signals that came while interrupts are held."""

    depth = 0
    came = 0
    log: Callable[[str], None] | None = None


@contextmanager
def interrupts_held(log: Callable[[str], None] | None = None) -> Iterator[None]:
    """Holds Ctrl-C and SIGTERM back until the end of the block, in a nested block until the end of the outermost one.

    A block that fails after a signal failed because of it.

    Args:
        log: told when the first one comes, also in nested blocks.

    Raises:
        KeyboardInterrupt: one came.
    """
    heard = [each for each in _ENDS if signal.getsignal(each) is not signal.SIG_IGN]
    if not heard or threading.current_thread() is not threading.main_thread():
        yield
        return

    def hold(number: int, _frame: FrameType | None) -> None:
        _Held.came += 1
        if _Held.came == 1 and _Held.log is not None:
            _Held.log(_ENDS[signal.Signals(number)])

    before = {each: signal.signal(each, hold) for each in heard}
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
        for each, handler in before.items():
            signal.signal(each, handler)
    if _Held.came and not _Held.depth:
        raise KeyboardInterrupt
