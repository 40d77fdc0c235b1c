"""Opens a file in a confined child process and reads its answer without trusting it.

answer = open_confined("inspect", {"name": "model.pkl"}, {"model": file})
answer.values["named"]
"""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from conventions.variables import OPENING_MEMORY_BYTES, OPENING_SECONDS
from model_store import errors
from model_store.confinement.messages import Garbled, PartFailed, in_memory, read_object, read_part, write_object
from model_store.confinement.walls import Limits
from model_store.errors import InvalidInput, ModelStoreError, OpeningFailed
from model_store.serialization.compression import DEFAULT_MAX_BYTES

_MOST_PARTS = 16
_MOST_MESSAGE = 2000
_NAME = re.compile(r"[A-Za-z]\w{0,60}", re.ASCII)
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "TZ", "OMP_NUM_THREADS", "VIRTUAL_ENV")
"""Environment variables that the child gets; keys, tokens and passphrases are not among them."""


@dataclass(frozen=True)
class Answer:
    """A child's answer: bounded in size, its content not checked yet."""

    values: dict[str, Any]
    parts: dict[str, BinaryIO] = field(default_factory=dict)
    """Files at their beginnings; the caller closes them."""
    walls: Sequence[Mapping[str, Any]] = ()

    def close(self) -> None:
        """Closes the parts."""
        for part in self.parts.values():
            part.close()


def limits_of_environment() -> Limits:
    """The limits that `MODEL_OPENING_MEMORY_BYTES` and `MODEL_OPENING_SECONDS` name, else the usual ones.

    Raises:
        InvalidInput: one is not a positive number.
    """
    usual = Limits()
    memory = _positive(OPENING_MEMORY_BYTES, usual.memory_bytes)
    seconds = _positive(OPENING_SECONDS, usual.seconds)
    return Limits(int(memory), seconds, max(1, int(seconds * 2)))


def _positive(name: str, usual: float) -> float:
    text = os.environ.get(name, "")
    try:
        value = float(text) if text else usual
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise InvalidInput(f"{name}={text!r} is not allowed; allowed: a positive number")
    return value


def open_confined(
    job: str,
    about: Mapping[str, Any],
    files: Mapping[str, BinaryIO],
    *,
    readable: Sequence[Path] = (),
    limits: Limits | None = None,
    most_bytes: int = DEFAULT_MAX_BYTES,
) -> Answer:
    """Runs a job in a child without network, keys, write access and other files.

    Args:
        job: of `model_store.confinement.jobs`.
        about: plain JSON values for it.
        files: open for reading; the child gets these, whatever lies at their paths by then.
        readable: other files that the job reads by their paths.
        limits: of memory and time; those of the environment when not given.
        most_bytes: of all parts of the answer.

    Raises:
        ModelStoreError: what the job raised.
        OpeningFailed: the child was killed, crashed, or returned a malformed answer.
    """
    limits = limits or limits_of_environment()
    request = {
        "job": job,
        "about": dict(about),
        "files": {name: file.fileno() for name, file in files.items()},
        "readable": [str(path.resolve()) for path in readable],
        "limits": asdict(limits),
    }
    with _Child([file.fileno() for file in files.values()], limits) as child:
        child.tell(request)
        return child.answer(most_bytes)


def walls_here() -> list[dict[str, Any]]:
    """Which walls this machine raises around a child: `name`, `stands` and `detail` of each.

    Raises:
        OpeningFailed: the child does not start.
    """
    answer = open_confined("walls", {}, {})
    return [
        {"name": str(each.get("name")), "stands": each.get("stands") is True, "detail": _line(each.get("detail"))}
        for each in answer.walls
    ]


class _Child:
    """One child process; the end of the block kills it."""

    def __init__(self, descriptors: Sequence[int], limits: Limits) -> None:
        asked, self._request = os.pipe()
        self._answer, answered = os.pipe()
        self._limits = limits
        self._late = False
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        environment |= {
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(str(Path(each).absolute()) for each in sys.path)),
            "PYTHONDONTWRITEBYTECODE": "1",
            # Its semaphores would be files.
            "JOBLIB_MULTIPROCESSING": "0",
        }
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-m", "model_store.confinement.child", str(asked), str(answered)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[asked, answered, *descriptors],
                env=environment,
                start_new_session=True,
                cwd="/",
            )
        except BaseException:
            os.close(self._request)
            os.close(self._answer)
            raise
        finally:
            os.close(asked)
            os.close(answered)
        self._clock = threading.Timer(limits.seconds, self._kill_late_child)
        self._clock.daemon = True
        self._clock.start()

    def __enter__(self) -> "_Child":
        return self

    def __exit__(self, *_: object) -> None:
        self._clock.cancel()
        self._process.kill()
        self._process.wait()
        for descriptor in (self._request, self._answer):
            with suppress(OSError):
                os.close(descriptor)

    def tell(self, request: Mapping[str, Any]) -> None:
        """Hands over the request."""
        with os.fdopen(os.dup(self._request), "wb") as target, suppress(BrokenPipeError):
            write_object(target, request, constants=True)
        os.close(self._request)
        self._request = -1

    def answer(self, most_bytes: int) -> Answer:
        """Reads the answer.

        Raises:
            ModelStoreError, OpeningFailed: as `open_confined`.
        """
        parts: dict[str, BinaryIO] = {}
        try:
            with os.fdopen(os.dup(self._answer), "rb") as source:
                read = _read_exactly(source.read)
                message = read_object(read)
                if "failed" in message:
                    _raise(message["failed"])
                for name in _part_names(message):
                    parts[name] = in_memory(name)
                    most_bytes = read_part(read, parts[name], most_bytes)
                    parts[name].seek(0)
            return Answer(message["values"], parts, _walls(message))
        except BaseException as error:
            Answer({}, parts).close()
            if isinstance(error, PartFailed):
                _raise(error.failed)
            if isinstance(error, Garbled | EOFError):
                raise OpeningFailed(self._describe_end(error)) from None
            raise

    def _kill_late_child(self) -> None:
        self._late = True
        self._process.kill()

    def _describe_end(self, error: Exception) -> str:
        if self._late:
            return (
                f"it took more than {self._limits.seconds:g} s ({OPENING_SECONDS}); the process that read it was ended"
            )
        if isinstance(error, Garbled):
            return f"the process that read it returned a malformed answer: {error}"
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(5)
            if code < 0:
                return f"it ended the process that read it (signal {-code})"
            return f"it ended the process that read it (exit code {code})"
        return "the process that read it gave no answer"


def _part_names(message: Mapping[str, Any]) -> list[str]:
    values, names = message.get("values"), message.get("parts")
    if not isinstance(values, dict) or not isinstance(names, list) or len(names) > _MOST_PARTS:
        raise Garbled("the answer has another form")
    if len(set(map(str, names))) != len(names) or not all(
        isinstance(name, str) and _NAME.fullmatch(name) for name in names
    ):
        raise Garbled("the answer has another form")
    return names


def _walls(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    walls = message.get("walls", [])
    if not isinstance(walls, list) or not all(isinstance(each, dict) for each in walls):
        raise Garbled("the answer has another form")
    return walls


def _read_exactly(read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def read_all(count: int) -> bytes:
        data = read(count)
        if len(data) != count:
            raise EOFError
        return data

    return read_all


def _raise(failed: Any) -> NoReturn:
    """Raises the error that a child reported, as this package's class of that name."""
    if not isinstance(failed, dict):
        raise Garbled("the answer has another form")
    message = _line(failed.get("message"))
    found = getattr(errors, str(failed.get("error")), None)
    if not (isinstance(found, type) and issubclass(found, ModelStoreError)):
        raise OpeningFailed(message)
    error = found.__new__(found)
    Exception.__init__(error, message)
    fields = failed.get("fields")
    if isinstance(fields, dict):
        for name, value in fields.items():
            if isinstance(name, str) and name in ("name", "rule", "position") and isinstance(value, str):
                setattr(error, name, _line(value))
    raise error


def _line(text: Any) -> str:
    """A text of the child's as one printable line."""
    cut = str(text)[:_MOST_MESSAGE]
    return "".join(letter if letter.isprintable() else " " for letter in cut)
