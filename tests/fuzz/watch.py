"""What one input may do beside being read: a little time, a little memory, no import and no deed.

Each breach raises `Finding`, which no reader of the project catches.
"""

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MOST_SECONDS = 4.0
"""Of the processor's time, for an input of some kilobytes; instrumented code is several times slower than usual."""
MOST_BYTES = 512 << 20
"""By which the process may grow."""
_KNOWN_PACKAGES = frozenset({*sys.stdlib_module_names, "model_store", "conventions", "numpy"})
_DEEDS = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.startfile", "os.remove",
    "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.chown", "os.truncate", "os.kill",
    "shutil.", "subprocess.", "socket.", "pty.", "ctypes.dlopen", "webbrowser.", "urllib.", "ftplib.", "smtplib.",
    "tempfile.", "pickle.find_class",
)  # fmt: skip
"""Events of Python (https://docs.python.org/3/library/audit_events.html) that no model's file may cause.

`pickle.find_class` would be a reader of pickles beside the machine.
"""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024


class Finding(BaseException):
    """An input made a reader do what it must not do."""


class _Deeds:
    """Listens to what Python does; a listener stays for as long as the process lives."""

    def __init__(self) -> None:
        self.listening = False
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.listening:
            return
        if event.startswith(_DEEDS) or any(event == name and is_deed(arguments) for name, is_deed in _SOMETIMES):
            self.seen.append(f"{event}{arguments!r}"[:300])


def _is_text(arguments: tuple[Any, ...]) -> bool:
    """Whether code is made from a text, and not from a module's file."""
    return arguments[0] is not None and arguments[1] in ("<string>", "<unknown>")


def _is_unknown(arguments: tuple[Any, ...]) -> bool:
    """Whether a module is imported that no rule names."""
    from model_store.serialization.structure.rules import rules

    package = str(arguments[0]).partition(".")[0]
    return package not in _KNOWN_PACKAGES and not any(
        rule.module.startswith(package) for rule in rules().by_name.values()
    )


def _writes(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    return bool(flags & _WRITING) if isinstance(flags, int) else any(letter in str(mode) for letter in "wax+")


_SOMETIMES = (("open", _writes), ("compile", _is_text), ("import", _is_unknown))
_deeds: list[_Deeds] = []


@contextmanager
def watched(*, imports: bool = False, deeds: bool = False) -> Iterator[None]:
    """Raises Finding when what is done inside takes too much, imports a library of models, or does a deed.

    Args:
        imports: whether imports are looked at.
        deeds: whether deeds are looked at.
    """
    if deeds and not _deeds:
        _deeds.append(_Deeds())
    before, modules, peak = time.process_time(), set(sys.modules) if imports else set(), _peak()
    try:
        if deeds:
            _deeds[0].listening = True
        yield
    finally:
        if deeds:
            _deeds[0].listening = False
    seconds, grown = time.process_time() - before, _peak() - peak
    if seconds > MOST_SECONDS:
        raise Finding(f"it took {seconds:.1f} s")
    if grown > MOST_BYTES:
        raise Finding(f"it took {grown >> 20} MiB of memory")
    if imports and len(sys.modules) != len(modules):
        new = {name.split(".")[0] for name in set(sys.modules) - modules} - _KNOWN_PACKAGES
        if new:
            raise Finding(f"it imported {', '.join(sorted(new))}")
    if deeds and _deeds[0].seen:
        seen, _deeds[0].seen = _deeds[0].seen, []
        raise Finding(f"it did {seen}")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _PEAK_UNIT
