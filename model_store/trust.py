"""What a pickle may name: an allow-list of exact globals, as data that one can read.

`trusted_globals.json` lists them by module; `scripts/list_trusted_globals.py` says how the list is made. A caller can
trust more by exact name, for one call; the file itself never can. Whole modules are never trusted: one function too
many in them is enough to run anything (CVE-2025-71365 went through `numpy.f2py`).
"""

import io
import json
import pickle
import pickletools
import zipfile
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from model_store.errors import UnreadableModel, UntrustedType

TRUSTED_GLOBALS_FILE = Path(__file__).with_name("trusted_globals.json")
REFUSED = frozenset(
    {
        # Hold a function and call it on every prediction.
        "sklearn.preprocessing._function_transformer.FunctionTransformer",
        # Compile or call what their arguments name.
        "scipy._lib._ccallback.LowLevelCallable",
        "numpy.vectorize",
    }
)
"""Never on the list, whatever a library's pickles name."""
_MAX_SCHEMA_BYTES = 64 << 20
_TEXT_OPCODES = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_MEMO_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_MEMO_GETS = {"GET", "BINGET", "LONG_BINGET"}


@cache
def trusted_globals() -> frozenset[str]:
    """Full names of everything a pickle may name without being asked for."""
    by_module: dict[str, list[str]] = json.loads(TRUSTED_GLOBALS_FILE.read_text(encoding="utf-8"))
    return frozenset(f"{module}.{name}" for module, names in by_module.items() for name in names)


class _AllowList:
    """`find_class` that looks names up on the list before anything is imported."""

    _trusted: frozenset[str]

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        if full_name not in self._trusted:
            raise UntrustedType(full_name)
        return super().find_class(module, name)  # type: ignore[misc]


class _TrustingUnpickler(_AllowList, pickle.Unpickler):
    def __init__(self, file: BinaryIO, trusted: frozenset[str]) -> None:
        super().__init__(file)
        self._trusted = trusted


def load_pickle(file: BinaryIO, trusted: Collection[str] = ()) -> Any:
    """Unpickles from a stream.

    Args:
        file: a pickle.
        trusted: full names that are allowed beside the list.

    Raises:
        UntrustedType: the pickle names something else.
    """
    return _TrustingUnpickler(file, trusted_globals() | frozenset(trusted)).load()


def load_joblib(file: BinaryIO, trusted: Collection[str] = ()) -> Any:
    """Loads what `joblib.dump` wrote without compression; object arrays inside go through the same list.

    Args:
        file: a joblib stream.
        trusted: full names that are allowed beside the list.

    Raises:
        UntrustedType: it names something else.
    """
    from joblib.numpy_pickle import NumpyUnpickler

    allowed = trusted_globals() | frozenset(trusted)

    class TrustingNumpyUnpickler(_AllowList, NumpyUnpickler):  # type: ignore[misc]
        _trusted = allowed

    return TrustingNumpyUnpickler("", file, ensure_native_byte_order=True).load()


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
    return skops.io.loads(content, trusted=needed)


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
            yield str(argument).replace(" ", ".", 1)
            last = None
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(texts[-2:])
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
