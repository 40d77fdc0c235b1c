"""The jobs of the confined child: each takes files and plain values and returns bytes and plain values."""

import io
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from model_store.confinement.exchange_jobs import read_archive, read_documents, write_for_mlflow
from model_store.errors import InvalidInput, UnreadableModel
from model_store.serialization.compression import DEFAULT_MAX_BYTES, CompressionType, decompressing_reader
from model_store.serialization.formats import SerializationFormat, dump_model, load_model
from model_store.serialization.full_names import full_class_name

About = Mapping[str, Any]
Files = Mapping[str, BinaryIO]
Parts = list[tuple[str, "bytes | Callable[[Any], None]"]]
MODEL = "model"
_MOST_MEMBERS = 100
GOLDEN, FORM = "golden", "form"
"""Parts of the answer about a model to register."""


def _walls(_about: About, _files: Files) -> tuple[dict[str, Any], Parts]:
    """Returns no values: every answer reports the walls."""
    return {}, []


def _inspect(about: About, files: Files) -> tuple[dict[str, Any], Parts]:
    """What a model file names."""
    from model_store.serialization.model_files import inspect_model

    return inspect_model(files[MODEL], Path(about["path"])), []


def _check(about: About, files: Files) -> tuple[dict[str, Any], Parts]:
    """Raises what the rules refuse of a version's files: the model, golden rows, the optimized form."""
    from model_store.serialization.inspection import inspect_content
    from model_store.serialization.trust import require_inspected

    compressions = about["compressions"]
    if MODEL in files:
        with _decompressed(files[MODEL], compressions[MODEL]) as content:
            require_inspected(inspect_content(content, SerializationFormat(about["serializer"])))
    golden, form = (
        _decompressed(files[name], compressions[name]).read() if name in files else None for name in (GOLDEN, FORM)
    )
    if about["contract"] is not None:
        from model_store.contract.attachments import require_attachments

        model = None
        if form is not None:
            with _decompressed(files[MODEL], compressions[MODEL]) as content:
                model = load_model(content, SerializationFormat(about["serializer"]), (), about["model_class"])
        require_attachments(about["contract"], about["feature_schema"], golden, form, model)
    elif form is not None:
        from model_store.serialization.onnx_session import require_graph

        require_graph(form, "an ONNX model")
    return {}, []


def _decompressed(file: BinaryIO, compression: str) -> io.BufferedReader:
    """An artifact's payload from its beginning; decompressed here, where memory and time have limits."""
    source = io.FileIO(os.dup(file.fileno()), "rb")
    source.seek(0)
    return decompressing_reader(source, CompressionType(compression), DEFAULT_MAX_BYTES)


def _register(about: About, files: Files) -> tuple[dict[str, Any], Parts]:
    """Prepares everything that a version of a model holds."""
    from model_store.contract.options import PreparationOptions
    from model_store.contract.preparing import prepare
    from model_store.serialization.model_files import read_model

    found = read_model(files[MODEL], Path(about["path"]), about["trusted"])
    options: dict[str, Any] = {**about["options"], **{name: Path(value) for name, value in about["paths"].items()}}
    prepared = prepare(found.model, PreparationOptions(**options, versions=found.versions))
    values: dict[str, Any] = {
        "model_type": prepared.model_type,
        "serializer": str(prepared.serializer),
        "model_class": full_class_name(prepared.model),
        "metrics": dict(prepared.metrics),
        "feature_schema": [dict(each) for each in prepared.feature_schema],
        "parameters": dict(prepared.parameters),
        "versions": dict(prepared.versions),
        "warnings": found.warnings,
        "proven": None,
    }
    parts: Parts = []
    if prepared.proven is not None:
        values["proven"] = {
            "contract": prepared.proven.contract.to_dict(),
            "reason": prepared.proven.reason,
            "largest_difference": prepared.proven.largest_difference,
        }
        parts.append((GOLDEN, prepared.proven.golden.to_bytes()))
        if prepared.proven.form is not None:
            parts.append((FORM, prepared.proven.form.to_bytes()))
    parts.append((MODEL, lambda target: dump_model(prepared.model, target, prepared.serializer)))
    return values, parts


def _convert(about: About, files: Files) -> tuple[dict[str, Any], Parts]:
    """A model in another format, with the largest difference of its answers."""
    from model_store.contract.conversion import conversion_difference
    from model_store.serialization.model_files import read_model

    if about["serializer"]:
        with _decompressed(files[MODEL], about["compression"]) as source:
            model = load_model(source, SerializationFormat(about["serializer"]), (), about["model_class"])
    else:
        model = read_model(files[MODEL], Path(about["path"])).model
    target = SerializationFormat(about["target"])
    if target is SerializationFormat.DATA:
        raise InvalidInput("a model cannot become bytes without a format")
    difference = conversion_difference(model, target)
    values = {"model_class": full_class_name(model), "difference": difference}
    return values, [(MODEL, lambda written: dump_model(model, written, target))]


def _unpack(about: About, files: Files) -> tuple[dict[str, Any], Parts]:
    """The members of a bundle."""
    import tarfile

    names: list[str] = []
    parts: Parts = []
    size = files["bundle"].seek(0, io.SEEK_END)
    files["bundle"].seek(0)
    try:
        bundle = tarfile.open(fileobj=files["bundle"], mode="r:")  # noqa: SIM115 - read while it is answered
        for entry in _entries(bundle):
            if entry.name not in about["members"]:
                continue
            if entry.name in names or entry.type not in tarfile.REGULAR_TYPES or entry.issparse() or entry.size > size:
                raise UnreadableModel(f"not a bundle ({entry.name} is not a plain file, or there twice)")
            content = bundle.extractfile(entry)
            if content is None:
                raise UnreadableModel(f"not a bundle ({entry.name} is not a file)")
            names.append(entry.name)
            parts.append((f"member_{len(parts)}", _copied(content)))
    except (tarfile.TarError, ValueError, OverflowError, KeyError, RecursionError) as error:
        # Sizes in headers can be of any length, links can lead in circles.
        raise UnreadableModel(f"not a bundle ({type(error).__name__})") from None
    return {"members": names}, parts


def _entries(bundle: Any) -> Iterator[Any]:
    """The entries of a tar file, one after the other.

    Raises:
        UnreadableModel: there are more than a bundle has.
    """
    for number, entry in enumerate(bundle):
        if number >= _MOST_MEMBERS:
            raise UnreadableModel(f"not a bundle (more than {_MOST_MEMBERS} members)")
        yield entry


def _copied(content: Any) -> Callable[[Any], None]:
    def copy(target: Any) -> None:
        while block := content.read(1 << 20):
            target.write(block)

    return copy


JOBS: Mapping[str, Callable[[About, Files], tuple[dict[str, Any], Parts]]] = {
    "walls": _walls,
    "inspect": _inspect,
    "check": _check,
    "register": _register,
    "convert": _convert,
    "unpack": _unpack,
    "documents": read_documents,
    "archive": read_archive,
    "mlflow": write_for_mlflow,
}
