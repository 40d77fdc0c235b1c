"""A line on standard error that shows how far a command is, once it takes longer than a second."""

import sys
import threading
import time
from types import TracebackType

_SILENT_SECONDS = 1.0
_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_ON_TERMINAL = 0.2


class StatusLine:
    """A line that moves on a terminal, a line every few seconds elsewhere; use as a context manager.

    Args:
        title: what is being done, such as `backup`.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._detail = ""
        self._on_terminal = sys.stderr.isatty()
        self._started = time.monotonic()
        self._ended = threading.Event()
        self._shown = False
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> "StatusLine":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    def step(self, done: int, total: int, what: str) -> None:
        """Sets how far the command is, and with what; cheap to call often."""
        self._detail = f" {done} of {total}, {what}"

    def tell(self, detail: str) -> None:
        """Sets how far the command is, in words; cheap to call often."""
        self._detail = f" {detail}"

    def stop(self) -> None:
        """Removes the line; what is printed from here on begins on a clean line."""
        self._ended.set()
        self._thread.join()
        if self._shown and self._on_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        self._shown = False

    def _run(self) -> None:
        pause = _SILENT_SECONDS
        while not self._ended.wait(pause):
            pause = _SECONDS_ON_TERMINAL if self._on_terminal else _SECONDS_BETWEEN_LINES
            line = f"{self._title}:{self._detail or ' working'} ({time.monotonic() - self._started:.0f} s)"
            sys.stderr.write(f"\r\x1b[K{line}" if self._on_terminal else f"{line}\n")
            sys.stderr.flush()
            self._shown = True
