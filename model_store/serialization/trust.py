"""Reads what can name code: pickles, joblib streams and skops files, through the allow-list.

A caller can trust more by exact name, for one call; the file itself never can. Whole modules are never trusted: one
function too many in them is enough to run anything (CVE-2025-71365 went through `numpy.f2py`).
"""

import importlib
import io
import json
import zipfile
from collections.abc import Collection
from typing import Any, BinaryIO

from model_store.errors import TrailingData, UnreadableModel, UntrustedType
from model_store.serialization.allow_list import trusted_globals
from model_store.serialization.held_functions import settle
from model_store.serialization.structure.machine import MOST_BYTES, Machine

REFUSED = frozenset({"scipy._lib._ccallback.LowLevelCallable", "numpy.vectorize"})
"""Compile or call what their arguments name: refused in a skops file, although skops itself trusts them."""
_MAX_SCHEMA_BYTES = 64 << 20


def load_pickle(file: BinaryIO, trusted: Collection[str] = (), max_bytes: int = MOST_BYTES) -> Any:
    """The model of a pickle, or of a joblib stream: the machine checks each instruction before it carries it out.

    Args:
        file: a pickle.
        trusted: full names that are allowed beside the rules.
        max_bytes: of one value.

    Raises:
        UntrustedType: it names something that no rule knows, or holds something where it would be called.
        StructureRefused: it is not put together as the rules say.
    """
    from model_store.serialization.structure.consistent import require_consistent

    machine = Machine(file, trusted=trusted, max_bytes=max_bytes)
    model = machine.run()
    require_consistent(model)
    return settle(model, trusted, machine.granted)


def inspect_pickle(file: BinaryIO) -> dict[str, Any]:
    """What a pickle or a joblib stream names, and what the rules refuse of it; nothing of it is made.

    Returns:
        `named` all full names as far as the file could be read, `untrusted` those without a rule, and `refused` the
        rule that it breaks, where and what was seen, or None.

    Raises:
        UnreadableModel: it is not a pickle.
    """
    from model_store.serialization.structure.consistent import require_consistent

    machine = Machine(file, real=False)
    refused: dict[str, str] | None = None
    try:
        require_consistent(machine.run())
        if file.read(1):
            raise TrailingData("there are bytes after the end of the model")
    except UntrustedType as error:
        refused = {"rule": error.rule, "name": error.name, "position": error.position, "message": str(error)}
    except (ValueError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        raise UnreadableModel(f"not a pickle ({error})") from None
    untrusted = sorted(name for name, rule in machine.named.items() if rule is None)
    return {"named": sorted(machine.named), "untrusted": untrusted, "refused": refused}


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

    from model_store.serialization.structure.consistent import require_consistent

    allowed = trusted_globals() | frozenset(trusted)
    for name in skops_types(content):
        if name in REFUSED and name not in trusted:
            raise UntrustedType(name)
    needed = skops.io.get_untrusted_types(data=content)
    for name in needed:
        if name not in allowed:
            raise UntrustedType(name)
    model = skops.io.loads(content, trusted=needed)
    require_consistent(model)
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


def _imported(module: str, name: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found
