"""Reads what can name code: pickles, joblib streams and skops files, through the allow-list.

A caller can trust more by exact name, for one call; the file itself never can. Whole modules are never trusted: one
function too many in them is enough to run anything (CVE-2025-71365 went through `numpy.f2py`).
"""

import importlib
import io
import json
import pickle
import pickletools
import zipfile
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

from model_store.errors import UnreadableModel, UntrustedType
from model_store.serialization import allow_list, stand_ins
from model_store.serialization.allow_list import present_name, trusted_globals
from model_store.serialization.checked_constructors import CHECKED
from model_store.serialization.held_functions import settle

REFUSED = frozenset({"scipy._lib._ccallback.LowLevelCallable", "numpy.vectorize"})
"""Compile or call what their arguments name: refused in a skops file, although skops itself trusts them."""
_MAX_SCHEMA_BYTES = 64 << 20
_TEXT_OPCODES = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_MEMO_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_MEMO_GETS = {"GET", "BINGET", "LONG_BINGET"}


class _AllowList:
    """`find_class` that looks names up on the list before anything is imported.

    Args:
        trusted: full names that the caller allows beside the list.
    """

    def __init__(self, trusted: Collection[str]) -> None:
        self._trusted = frozenset(trusted)
        self.granted: list[Any] = []
        """What the caller's own names brought in."""

    def find(self, module: str, name: str) -> Any:
        """The object for a name of the list: the real one, a checked one or an inert one."""
        module, name = found = present_name(module, name)
        full_name = f"{module}.{name}"
        if full_name in self._trusted:
            self.granted.append(_imported(module, name))
            return self.granted[-1]
        if found in CHECKED and found in allow_list.loaded():
            return CHECKED[found]
        if found in allow_list.loaded():
            return _imported(module, name)
        if found in allow_list.stand_in_functions():
            return stand_ins.named_function(full_name)
        if found in allow_list.stand_in_classes():
            return stand_ins.stand_in_class(full_name)
        raise UntrustedType(full_name)


def _imported(module: str, name: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


class _TrustingUnpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, names: _AllowList) -> None:
        super().__init__(file)
        self._names = names

    def find_class(self, module: str, name: str) -> Any:
        return self._names.find(module, name)


def load_pickle(file: BinaryIO, trusted: Collection[str] = ()) -> Any:
    """Unpickles from a stream, and looks at the functions that the model holds before anything calls them.

    Args:
        file: a pickle.
        trusted: full names that are allowed beside the list.

    Raises:
        UntrustedType: the pickle names something else, or holds something where it would be called.
    """
    names = _AllowList(trusted)
    return settle(_TrustingUnpickler(file, names).load(), trusted, names.granted)


def load_joblib(file: BinaryIO, trusted: Collection[str] = ()) -> Any:
    """Loads what `joblib.dump` wrote without compression; object arrays inside go through the same list.

    Args:
        file: a joblib stream.
        trusted: full names that are allowed beside the list.

    Raises:
        UntrustedType: it names something else, or holds something where it would be called.
    """
    from joblib.numpy_pickle import NumpyUnpickler

    names = _AllowList(trusted)

    class TrustingNumpyUnpickler(NumpyUnpickler):  # type: ignore[misc]
        def find_class(self, module: str, name: str) -> Any:
            return names.find(module, name)

    return settle(TrustingNumpyUnpickler("", file, ensure_native_byte_order=True).load(), trusted, names.granted)


def load_skops(content: bytes, trusted: Collection[str] = ()) -> Any:
    """Loads what skops wrote. Types that skops does not trust by itself have to be on the allow-list.

    Args:
        content: the file; it cannot widen the list.
        trusted: full names that are allowed beside the list.

    Raises:
        UntrustedType: it names a type that is refused, or one on neither list.
        UnreadableModel: it is not a skops file.
    """
    import skops.io

    allowed = trusted_globals() | frozenset(trusted)
    for name in skops_types(content):
        if name in REFUSED and name not in trusted:
            raise UntrustedType(name)
    needed = skops.io.get_untrusted_types(data=content)
    for name in needed:
        if name not in allowed:
            raise UntrustedType(name)
    model = skops.io.loads(content, trusted=needed)
    return settle(model, trusted, [_imported(*name.rpartition(".")[::2]) for name in needed if name in trusted])


def skops_types(content: bytes) -> list[str]:
    """Full names of the types and functions that a skops file names, without loading it; sorted.

    Raises:
        UnreadableModel: it is not a skops file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entry = archive.getinfo("schema.json")
            if entry.file_size > _MAX_SCHEMA_BYTES:
                raise UnreadableModel("the skops file's schema is too large")
            schema = json.loads(archive.read(entry))
    except (zipfile.BadZipFile, KeyError, ValueError, RecursionError) as error:
        raise UnreadableModel(f"not a skops file ({error})") from None
    found: set[str] = set()
    pending = [schema]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if isinstance(item.get("__class__"), str):
                found.add(f"{item.get('__module__')}.{item['__class__']}")
            if isinstance(item.get("function"), str):
                found.add(f"{item.get('module_path', item.get('__module__'))}.{item['function']}")
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    return sorted(found)


def named_globals(file: BinaryIO) -> list[str]:
    """Full names of the globals that a pickle stream names, without running it; sorted.

    Joblib puts array data between pickle instructions; what follows the first array is not seen here, which is why
    loading checks every name again.

    Raises:
        UnreadableModel: the stream is not a pickle.
    """
    found: set[str] = set()
    try:
        found.update(_globals(file))
    except (ValueError, IndexError, UnicodeDecodeError, OverflowError) as error:
        if not found and file.tell() < 2:
            raise UnreadableModel(f"not a pickle ({error})") from None
    return sorted(found)


def _globals(file: BinaryIO) -> Iterator[str]:
    texts: list[str] = []
    memo: dict[Any, str] = {}
    last: str | None = None
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ("GLOBAL", "INST"):
            yield ".".join(present_name(*str(argument).split(" ", 1)))
            last = None
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(present_name(*texts[-2:]) if len(texts) > 1 else texts)
            last = None
        elif opcode.name in _TEXT_OPCODES:
            last = str(argument)
            texts.append(last)
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = last or ""
        elif opcode.name in _MEMO_PUTS:
            memo[argument] = last or ""
        elif opcode.name in _MEMO_GETS:
            last = memo.get(argument)
            if last:
                texts.append(last)
        else:
            last = None
