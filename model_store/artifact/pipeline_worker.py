"""A worker thread for one step of a pipeline: handles items in order from a short queue."""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_Item = TypeVar("_Item")
_WAITING = 4


class PipelineWorker(Generic[_Item]):
    """Runs one step for each item in a thread; the caller of `finish` handles a single item without a thread.

    Args:
        name: of the thread.
        step: done for each item, in the order in which they were put.
    """

    def __init__(self, name: str, step: Callable[[_Item], object]) -> None:
        self._name = name
        self._step = step
        self._first: tuple[_Item] | None = None
        self._queue: queue.Queue[tuple[_Item] | None] = queue.Queue(_WAITING)
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None

    def put(self, item: _Item) -> None:
        """Queues an item; waits while four are queued.

        Raises:
            What the step raised for an earlier item.
        """
        self._raise_failure()
        if self._thread is not None:
            self._queue.put((item,))
        elif self._first is None:
            self._first = (item,)
        else:
            self._queue.put(self._first)
            self._queue.put((item,))
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """Waits until every item is done.

        Raises:
            What the step raised for one.
        """
        if self._thread is None and self._first is not None:
            first, self._first = self._first, None
            self._step(first[0])
        self.abandon()
        self._raise_failure()

    def abandon(self) -> None:
        """Ends the thread, even after a failure."""
        if self._thread is not None and self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        # After a failure items are only discarded, so that `put` never blocks.
        while (holder := self._queue.get()) is not None:
            if self._failure is None:
                try:
                    self._step(holder[0])
                except BaseException as failure:
                    self._failure = failure
