"""Progress on standard error: one line that moves on a terminal, a line every few seconds elsewhere."""

import sys
import time
from types import TracebackType

_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Shows the progress of a step; a context manager.

    Args:
        title: what the step does, such as `compiling the engine`.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._on_terminal = sys.stderr.isatty()
        self._started = time.monotonic()
        self._shown_at = 0.0

    def __enter__(self) -> "Progress":
        self._show(f"{self._title} …", final=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        outcome = "done" if error is None else "stopped"
        self._show(f"{self._title}: {outcome} after {time.monotonic() - self._started:.0f} s", final=True)

    def update(self, text: str) -> None:
        """Shows the current figure, such as `412 of 1500 packages`; cheap to call often."""
        interval = 0.1 if self._on_terminal else _SECONDS_BETWEEN_LINES
        if time.monotonic() - self._shown_at >= interval:
            self._show(f"{self._title}: {text}", final=False)

    def _show(self, line: str, *, final: bool) -> None:
        self._shown_at = time.monotonic()
        if self._on_terminal:
            sys.stderr.write(f"\r\x1b[K{line}" + ("\n" if final else ""))
        else:
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
