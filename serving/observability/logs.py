"""Logs as JSON, one object a line: what happened, never a feature or a key."""

import atexit
import json
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

service_log = logging.getLogger("serving")

_ROTATE_BYTES = 50_000_000
_ROTATED_FILES = 5
_FLUSH_SECONDS = 0.02
MAX_WAITING = 20_000
"""Lines that wait to be written; what comes beyond is counted and lost."""
MAX_RECORDS = 2000
"""The same for lines that are not of requests, of which the oldest is lost."""
_END_SECONDS = 1.0
_encode_lines = msgspec.json.Encoder().encode_lines
_MILLISECONDS_AND_ZONE = tuple(f".{number:03d}+00:00" for number in range(1000))


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON; fields come from `extra={"fields": {…}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        entry: dict[str, Any] = {
            "time": _moment(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            entry["error"] = f"{record.exc_info[0].__name__}: {record.exc_info[1]}"
            entry["trace"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class _AnsweredRequest(msgspec.Struct, gc=False):
    time: str
    request_id: str
    key: str | None
    model_id: str
    method: str
    path: str
    status: int
    latency_ms: float
    frauds: int | None
    code: str | msgspec.UnsetType = msgspec.UNSET
    """Why the request was refused."""
    level: str = "INFO"
    logger: str = "serving.request"
    message: str = "request"


_Waiting: TypeAlias = tuple[float, str, str | None, str, str, str, int, float, int | None, str]
"""What `RequestLog.add` is given, after the time."""


class RequestLog:
    """One line a request, put together and written fifty times a second by a thread.

    Args:
        write: takes whole lines.
        enabled: whether requests are logged at all.
    """

    def __init__(self, write: Callable[[str], None], *, enabled: bool) -> None:
        self.enabled = enabled
        self._write = write
        self._waiting: deque[_Waiting] = deque()
        self.lost = 0
        """Lines that were not written since the process started: the queue was full, or no target took them."""
        self._told = 0
        self._failing = False
        self._writing = threading.Lock()
        if enabled:
            atexit.register(_wait_until, lambda: not self._waiting and not self._writing.locked())
            threading.Thread(target=self._run, name="request-log", daemon=True).start()

    def add(
        self,
        request_id: str,
        key: str | None,
        model_id: str,
        method: str,
        path: str,
        status: int,
        milliseconds: float,
        frauds: int | None,
        code: str = "",
    ) -> None:
        """Adds an answered request.

        Args:
            request_id: of the request.
            key: name of its API key; None when it had none.
            model_id: of the served model.
            method: of HTTP.
            path: of the request, without its query.
            status: of HTTP.
            milliseconds: from the first byte to the answer.
            frauds: how many of its transactions are fraud; None when it asked for no prediction.
            code: of the error in the answer; empty without one.
        """
        if len(self._waiting) >= MAX_WAITING:
            self.lost += 1
            return
        self._waiting.append((time.time(), request_id, key, model_id, method, path, status, milliseconds, frauds, code))

    def flush(self) -> None:
        """Writes what waits."""
        with self._writing:
            waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if not waiting:
                return
            try:
                self._write(_encode_lines(list(_answered(waiting))).decode())
            except (OSError, ValueError) as error:
                self.lost += len(waiting)
                if not self._failing:
                    # Another target may take it.
                    self._failing = True
                    fields = {"error": getattr(error, "strerror", None) or str(error)}
                    message = "a target of the log takes no lines; what it does not take is counted"
                    service_log.error(message, extra={"fields": fields})
                return
            self._failing = False
            if self.lost != self._told:
                lost, self._told = self.lost - self._told, self.lost
                service_log.warning("lines of the log were lost", extra={"fields": {"lost": lost}})

    def _run(self) -> None:
        while True:
            time.sleep(_FLUSH_SECONDS)
            with suppress(Exception):
                # A thread that ends would end the log.
                self.flush()


def _answered(waiting: Sequence[_Waiting]) -> Iterator[_AnsweredRequest]:
    """The lines' fields; the text of a second is made once, since most lines that wait are of the same one."""
    second, text = -1, ""
    for at, request_id, key, model_id, method, path, status, milliseconds, frauds, code in waiting:
        if int(at) != second:
            second = int(at)
            text = _moment(second)[: -len(_MILLISECONDS_AND_ZONE[0])]
        moment = text + _MILLISECONDS_AND_ZONE[int((at - second) * 1000)]
        latency = int(milliseconds * 1000) / 1000
        reason = code or msgspec.UNSET
        yield _AnsweredRequest(moment, request_id, key, model_id, method, path, status, latency, frauds, reason)


class LineQueue(logging.Handler):
    """Hands records to a thread that writes them: a target that takes nothing stops no event loop.

    Args:
        write: takes whole lines.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self._write = write
        self._lines: deque[str] = deque(maxlen=MAX_RECORDS)
        self.lost = 0
        """Records that were not written since the process started: the queue was full, or no target took them."""
        self._wanted, self._busy = threading.Event(), False
        threading.Thread(target=self._run, name="log", daemon=True).start()
        atexit.register(_wait_until, lambda: not self._lines and not self._busy)

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a record; where too many wait, the oldest one is lost."""
        if len(self._lines) == MAX_RECORDS:
            self.lost += 1
        self._lines.append(self.format(record) + "\n")
        self._wanted.set()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            self._busy = True
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            try:
                self._write("".join(lines))
            except Exception:
                # A thread that ends would end the log.
                self.lost += len(lines)
            self._busy = False


def records_lost() -> int:
    """Lines of the log, beside those of requests, that were not written since the process started."""
    return sum(each.lost for each in logging.getLogger().handlers if isinstance(each, LineQueue))


def _wait_until(done: Callable[[], bool]) -> None:
    """Waits for the log's thread at the end of the process, for no longer than a second: its target may be stuck."""
    deadline = time.monotonic() + _END_SECONDS
    while not done() and time.monotonic() < deadline:
        time.sleep(0.002)


def configure_logs(level: str, file: Path | None = None) -> Callable[[str], None]:
    """Sends every log of this process to standard output as JSON, and to a file that is rotated at 50 MB, five times.

    Args:
        level: `DEBUG`, `INFO`, `WARNING` or `ERROR`.
        file: none when not given; its directory is made.

    Returns:
        What writes lines that are put together already to the same places.

    Raises:
        OSError: the file cannot be written.
    """
    handlers: list[logging.StreamHandler[Any]] = [logging.StreamHandler(sys.stdout)]
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(RotatingFileHandler(file, maxBytes=_ROTATE_BYTES, backupCount=_ROTATED_FILES, encoding="utf-8"))
    # A failed write is counted, and not written to the log as a traceback.
    logging.raiseExceptions = False
    root = logging.getLogger()
    for name in ("uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True

    # Not the handlers' own locks: at its end the interpreter waits for these, and a target may be stuck.
    locks = [threading.Lock() for _ in handlers]

    def write(lines: str) -> None:
        failed: OSError | None = None
        for handler, lock in zip(handlers, locks, strict=True):
            with lock:
                try:
                    if isinstance(handler, RotatingFileHandler):
                        _open_again(handler)
                        if _is_full(handler):
                            handler.doRollover()
                    _write_all(handler, lines)
                except OSError as error:
                    failed = error
        if failed is not None:
            raise failed

    root.handlers[:] = [LineQueue(write)]
    root.setLevel(level)
    return write


def _write_all(handler: "logging.StreamHandler[Any]", lines: str) -> None:
    """Writes lines past the stream's buffer, which would keep what a full disk does not take and fail ever after."""
    handler.flush()
    try:
        descriptor = handler.stream.fileno()
    except (AttributeError, OSError, ValueError):
        handler.stream.write(lines)
        handler.flush()
        return
    rest = memoryview(lines.encode("utf-8", "backslashreplace"))
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _open_again(handler: RotatingFileHandler) -> None:
    """Opens a log file again that was moved or removed."""
    path = Path(handler.baseFilename)
    try:
        same = handler.stream is not None and os.path.samestat(path.stat(), os.fstat(handler.stream.fileno()))
    except OSError:
        same = False
    if not same:
        path.parent.mkdir(parents=True, exist_ok=True)
        if handler.stream is not None:
            handler.stream.close()
        handler.stream = handler._open()


def _is_full(handler: RotatingFileHandler) -> bool:
    return handler.stream is not None and handler.stream.tell() >= handler.maxBytes


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
