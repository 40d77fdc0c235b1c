"""Registers model files from outside: a confined child reads the file, then its answer is checked again here.

request = RegistrationRequest(model_name="fraud_detector", positive_class="fraud")
model_id, warnings = register_file(registry, Path("model.joblib"), request)
"""

import os
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from conventions.regular_files import open_regular
from model_store.confinement.answers import are_texts, garbled, read_prepared
from model_store.confinement.jobs import MODEL
from model_store.confinement.opening import Answer, open_confined
from model_store.contract.options import PreparationOptions
from model_store.errors import InvalidInput
from model_store.registry.request import RegistrationRequest
from model_store.serialization.lineage import describe_open_source
from model_store.serialization.model_files import detect_serializer
from model_store.serialization.reading import reading

if TYPE_CHECKING:
    from model_store.contract.preparing import Prepared
    from model_store.registry.registry import ModelRegistry

_PATHS = ("sample", "training_data", "holdout")


def inspect_file(path: Path) -> dict[str, Any]:
    """Inspects a model file in a child: the names it holds, and the rule that refuses it.

    Returns:
        As `serialization.inspection.inspect_content`.

    Raises:
        FileMissing, InvalidInput, UnreadableModel: it cannot be read, or is not a model file.
        OpeningFailed: the file ended the child that read it, or took too much memory or time.
    """
    detect_serializer(path)
    with reading(path), open_regular(path) as file:
        values = open_confined("inspect", {"path": path.name}, {MODEL: file}).values
    named, untrusted, refused = values.get("named"), values.get("untrusted"), values.get("refused")
    if not are_texts(named) or not are_texts(untrusted) or not (refused is None or isinstance(refused, dict)):
        raise garbled()
    found = {"named": named, "untrusted": untrusted, "refused": None}
    if refused is not None:
        found["refused"] = {key: str(refused.get(key, "")) for key in ("rule", "name", "position", "message")}
    return found


def register_file(
    registry: "ModelRegistry", path: Path, request: RegistrationRequest, *, trusted: Collection[str] = ()
) -> tuple[str, list[str]]:
    """Registers a model file as a new version; the model itself is never in this process.

    Args:
        registry: to register in.
        path: a file as `read_model_file` takes it; recorded as the version's source.
        request: name, options and description of the version.
        trusted: full names that are allowed beside the rules.

    Returns:
        The model id, and the warnings of the libraries that read the file.

    Raises:
        FileMissing, UntrustedType, UnreadableModel: as for `read_model_file`.
        OpeningFailed: the file ended the child that read it, or took too much memory or time.
        AccessDenied, InvalidInput, KeyNotFound, StorageFailed: as for `ModelRegistry.register_model`.
    """
    registry.require_right("register", request.model_name)
    with reading(path), open_regular(path) as file:
        return register_open(registry, file, path, replace(request, source=path), trusted=trusted)


def register_open(
    registry: "ModelRegistry",
    file: BinaryIO,
    path: Path,
    request: RegistrationRequest,
    *,
    trusted: Collection[str] = (),
    read_as: str = "",
    on_disk: bool = True,
    complete: Callable[["Prepared"], "Prepared"] = lambda prepared: prepared,
) -> tuple[str, list[str]]:
    """Registers an open model file, as `register_file`.

    Args:
        registry: to register in.
        file: the file, open for reading.
        path: its path, for messages; its name is recorded.
        request: name, options and description of the version.
        trusted: full names that are allowed beside the rules.
        read_as: a name whose suffix tells how the file is written; empty: the path's own.
        on_disk: whether the path is the file's own; not for one out of an archive.
        complete: adds to what the child has prepared, before it is registered.

    Returns:
        The model id, and the warnings of the libraries that read the file.

    Raises:
        As `register_file`.
    """
    registry.require_right("register", request.model_name)
    request.require_valid()
    with ExitStack() as stack:
        stack.enter_context(registry.refusals("register", request.model_name, file=path.name))
        files = {path: file, **{each: _opened(each, stack) for each in _named_files(request).values()}}
        before = {each: _stamp(opened) for each, opened in files.items()}
        training = request.training_data
        described = replace(
            request,
            source_description=describe_open_source(path, file),
            training_data_description=describe_open_source(training, files[training]) if training else None,
        )
        try:
            answer = _prepared_by_a_child(read_as or path.name, file, request, trusted)
            stack.callback(answer.close)
        finally:
            # First of all: a file that changes is the reason of whatever else went wrong.
            for each, opened in files.items():
                _require_unchanged(each, opened, before[each], named=on_disk or each != path)
        prepared = complete(read_prepared(answer, trusted))
        warnings = answer.values["warnings"]
        if not are_texts(warnings):
            raise garbled()
        model_id = registry.register_prepared(prepared, described)
    return model_id, ["".join(letter if letter.isprintable() else " " for letter in each) for each in warnings]


def _stamp(file: BinaryIO) -> tuple[int, int, int]:
    """Changes with whatever is written to an open file."""
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _require_unchanged(path: Path, file: BinaryIO, stamp: tuple[int, int, int], *, named: bool) -> None:
    """Raises InvalidInput when something was written to an open file, or another file has its name now."""
    with suppress(OSError):
        if _stamp(file) == stamp and (not named or os.path.samestat(os.fstat(file.fileno()), path.stat())):
            return
    raise InvalidInput(f"{path}: was changed while it was read; register the model again")


def _opened(path: Path, stack: ExitStack) -> BinaryIO:
    with reading(path):
        return stack.enter_context(open_regular(path))


def _named_files(request: RegistrationRequest) -> dict[str, Path]:
    """The files beside the model that the child reads, by the name of their option."""
    found = {name: getattr(request, name) for name in _PATHS}
    return {name: path for name, path in found.items() if path is not None}


def _prepared_by_a_child(
    read_as: str, file: BinaryIO, request: RegistrationRequest, trusted: Collection[str]
) -> Answer:
    given = {each.name: getattr(request, each.name) for each in fields(PreparationOptions)}
    for name in _PATHS:
        del given[name]
    named = _named_files(request)
    del given["versions"]  # the child reads them from the file
    about = {
        "path": read_as,
        "trusted": sorted(trusted),
        "options": {name: value for name, value in given.items() if value is not None},
        "paths": {name: str(value.resolve()) for name, value in named.items()},
    }
    return open_confined("register", about, {MODEL: file}, readable=list(named.values()))
