"""Landlock: limits this process for good to the paths that it is given (Linux 5.13 and later).

Source: the kernel's documentation, userspace-api/landlock; the numbers of the system calls are the same everywhere.
"""

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_EXECUTE, _READ_FILE, _READ_DIRECTORY = 1 << 0, 1 << 2, 1 << 3
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All rights over files, by the version that brought the last of them."""
_NETWORK_RIGHTS = 0b11
_NETWORK_SINCE = 4
_SCOPES = 0b11
_SCOPES_SINCE = 6


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """The version of Landlock that this kernel has; 0 when it has none."""
    found: int = _library().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))
    return max(0, found)


def allow_reading_only(paths: Iterable[Path]) -> None:
    """Limits this process to reading these files and everything beneath these directories.

    It can neither open a connection nor reach other processes, as far as the kernel's version knows how. What is open
    already stays open. `no_new_privs` has to be set before.

    Raises:
        OSError: the kernel has no Landlock, or refuses.
    """
    known = version()
    if not known:
        raise OSError("the kernel has no Landlock")
    rights = max(mask for since, mask in _FILE_RIGHTS.items() if since <= known)
    ruleset = _Ruleset(
        rights, _NETWORK_RIGHTS if known >= _NETWORK_SINCE else 0, _SCOPES if known >= _SCOPES_SINCE else 0
    )
    library = _library()
    handle = _checked(
        library.syscall(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(ctypes.sizeof(ruleset)), 0)
    )
    try:
        for path in paths:
            _allow(library, handle, path)
        _checked(library.syscall(_RESTRICT_SELF, handle, 0))
    finally:
        os.close(handle)


def _allow(library: ctypes.CDLL, handle: int, path: Path) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # What is not there cannot be read.
    try:
        directory = stat.S_ISDIR(os.fstat(opened).st_mode)
        rights = _READ_FILE | _EXECUTE | (_READ_DIRECTORY if directory else 0)
        rule = _PathBeneath(rights, opened)
        _checked(library.syscall(_ADD_RULE, handle, _PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(opened)


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
