"""Reads formats that can name code (pickles, joblib streams, skops files) through the allow-list.

A caller can trust more names, one by one, for one call; a file never can. Whole modules are never trusted, because a
single dangerous function in them runs anything (CVE-2025-71365 used `numpy.f2py`).
"""

import io
import pickle
from collections.abc import Collection, Mapping
from typing import Any, BinaryIO

from model_store.errors import StructureRefused, TrailingData, UnreadableModel, UntrustedType
from model_store.serialization.held_functions import require_known_calls, settle
from model_store.serialization.structure.interpreter import run
from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.pickle_bytes import MOST_BYTES


def load_pickle(
    file: BinaryIO,
    trusted: Collection[str] = (),
    max_bytes: int = MOST_BYTES,
    *,
    versions: dict[str, str] | None = None,
) -> Any:
    """Loads a pickle or a joblib stream; the machine checks each instruction before it carries it out.

    Args:
        file: a pickle.
        trusted: full names that are allowed beside the rules.
        max_bytes: of one value.
        versions: gets library → version that wrote its part of the file, as that part says.

    Raises:
        UntrustedType: the file names something that has no rule, or holds a function where the model would call it.
        StructureRefused: the file breaks a rule.
    """
    from model_store.serialization.structure.consistent import require_consistent
    from model_store.serialization.structure.rules import rules

    machine = Machine(file, rules(), trusted=trusted, max_bytes=max_bytes)
    model = run(machine)
    require_consistent(model)
    if versions is not None:
        versions.update(machine.versions)
    return settle(model, trusted, machine.granted)


def inspect_pickle(file: BinaryIO, trusted: Collection[str] = ()) -> dict[str, Any]:
    """Inspects a pickle or a joblib stream without making its objects.

    Args:
        file: a pickle.
        trusted: full names that the caller allows beside the rules.

    Returns:
        `named` all full names as far as the file could be read, `untrusted` those without a rule, and `refused` the
        rule that it breaks, where and what was seen, or None.

    Raises:
        UnreadableModel: it is not a pickle.
    """
    from model_store.serialization.structure.consistent import require_consistent
    from model_store.serialization.structure.rules import rules

    machine = Machine(file, rules(), real=False, trusted=trusted)
    refused: dict[str, str] | None = None
    try:
        model = run(machine)
        require_consistent(model)
        require_known_calls(model, trusted)
        if file.read(1):
            raise TrailingData("there are bytes after the end of the model")
    except UntrustedType as error:
        seen = error.what if isinstance(error, StructureRefused) else str(error)
        refused = {"rule": error.rule, "name": error.name, "position": error.position, "message": seen}
    except (ValueError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        raise UnreadableModel(f"not a pickle ({error})") from None
    untrusted = sorted(name for name, rule in machine.named.items() if rule is None)
    return {"named": sorted(machine.named), "untrusted": untrusted, "refused": refused}


def load_skops(content: bytes, trusted: Collection[str] = (), *, versions: dict[str, str] | None = None) -> Any:
    """Loads a skops file after checking its schema, then makes the model again by the rules for pickles.

    Args:
        content: the file; it cannot widen the rules.
        trusted: full names that are allowed beside them.
        versions: as of `load_pickle`.

    Raises:
        UntrustedType: the file names a type that has no rule.
        StructureRefused: the file breaks a rule.
        UnreadableModel: it is not a skops file.
    """
    from model_store.serialization.structure.skops_schema import inspect_skops, without_ids

    found = inspect_skops(content, trusted)
    require_inspected(found, trusted)
    content = without_ids(content)
    import skops.io

    needed = skops.io.get_untrusted_types(data=content)
    for name in needed:
        # Every name that skops finds itself must have a rule too.
        if name not in trusted and name not in found["named"]:
            raise UntrustedType(name)
    model = skops.io.loads(content, trusted=needed)
    if versions is not None:
        versions.update(found["versions"])
    buffer = io.BytesIO()
    pickle.dump(model, buffer, protocol=pickle.HIGHEST_PROTOCOL)
    buffer.seek(0)
    # The model of skops holds real functions and classes; the model of the rules holds stand-ins.
    del model
    return load_pickle(buffer, trusted)


def require_inspected(found: Mapping[str, Any], trusted: Collection[str] = ()) -> None:
    """Raises the refusal of an inspection.

    Raises:
        StructureRefused: a rule is broken.
        UntrustedType: a name has no rule, and the caller does not trust it.
    """
    for name in found["untrusted"]:
        if name not in trusted:
            raise UntrustedType(name)
    refused = found["refused"]
    if refused and refused["rule"] == UntrustedType.rule:
        raise UntrustedType(refused["name"], position=refused["position"])
    if refused:
        raise StructureRefused(refused["rule"], refused["message"], refused["position"], refused["name"])
