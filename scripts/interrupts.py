"""A Ctrl-C at any moment of a program ends it with one line: while modules load, in a command, and after it."""

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from conventions import exit_codes

INTERRUPTED = "interrupted; run the same command again to go on"


def end_at_once() -> None:
    """Lets a Ctrl-C end this process with one line, without a traceback: nothing was begun, or all is done.

    A job of the background is started with the signal ignored, and goes on ignoring it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return
    signal.signal(signal.SIGINT, _end)
    # At its very end Python puts the signal's default back, which kills; one that is ignored it leaves.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Lets a Ctrl-C raise KeyboardInterrupt in the block; yields what tells whether one came.

    An extension module turns the exception into another one now and then.
    """
    came: list[int] = []
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def interrupt(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: bool(came)
    finally:
        # What follows is a line of text: a second Ctrl-C has nothing to end.
        signal.signal(signal.SIGINT, signal.SIG_IGN if came and before is _end else before)


def _end(_number: int, _frame: FrameType | None) -> None:
    os.write(2, f"error: {INTERRUPTED}\n".encode())
    os._exit(exit_codes.INTERRUPTED)
