"""Jobs of the confined child for models of other stores: read YAML and archives, write a model as MLflow has it."""

import io
import json
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

from model_store.errors import InvalidInput, ModelStoreError, SizeLimit, UnreadableModel
from model_store.serialization.compression import DEFAULT_MAX_BYTES, CompressionType, decompressing_reader
from model_store.serialization.formats import SerializationFormat, dump_model, load_model
from model_store.serialization.full_names import full_class_name

About = Mapping[str, Any]
Files = Mapping[str, BinaryIO]
Parts = list[tuple[str, "bytes | Callable[[Any], None]"]]
_MOST_ENTRIES = 20_000
_MOST_SMALL_BYTES = 16 << 20
_PIECE = 1 << 20


def read_documents(about: About, files: Files) -> tuple[dict[str, Any], Parts]:
    """The values of YAML documents, by the names of the files that hold them."""
    from model_store.serialization.plain_yaml import MOST_YAML_BYTES, read_yaml

    names: Mapping[str, str] = about["names"]
    found = {part: read_yaml(file.read(MOST_YAML_BYTES + 1), names[part]) for part, file in files.items()}
    return {"documents": found}, []


@dataclass(frozen=True)
class _Entry:
    """A file in an archive."""

    size: int
    plain: bool
    open: Callable[[], IO[bytes]]


def read_archive(about: About, files: Files) -> tuple[dict[str, Any], Parts]:
    """Files of a zip or tar archive: their names, or the content of those that are asked for.

    The answer to `list` has `names`. The answer to others has the part `small`, a JSON object of contents in Latin-1,
    and one part for each name in `large`.
    """
    try:
        entries = _entries(files["archive"])
        if about.get("list"):
            return {"names": sorted(name for name, each in entries.items() if each.plain)}, []
        small, left = {}, _MOST_SMALL_BYTES
        for name in about["small"]:
            content = b"".join(_pieces(name, entries, left))
            left -= len(content)
            small[name] = content.decode("latin-1")
        parts: Parts = [("small", json.dumps(small).encode())]
        for number, name in enumerate(about["large"]):
            parts.append((f"large_{number}", _copier(name, entries)))
    except ModelStoreError:
        raise
    except Exception as error:  # Each compression has errors of its own.
        raise UnreadableModel(f"not an archive ({type(error).__name__})") from None
    return {}, parts


def _entries(file: BinaryIO) -> dict[str, _Entry]:
    found: dict[str, _Entry] = {}
    for name, entry in _zipped(file) if zipfile.is_zipfile(file) else _tarred(file):
        clean = name.removeprefix("./")
        if clean.startswith("/") or "\\" in clean or ".." in clean.split("/"):
            raise UnreadableModel(f"the archive holds {clean[:200]!r}, which lies outside of it")
        if clean in found:
            raise UnreadableModel(f"the archive holds {clean[:200]!r} twice")
        found[clean] = entry
        if len(found) > _MOST_ENTRIES:
            raise SizeLimit(f"the archive holds more than {_MOST_ENTRIES} files")
    return found


def _zipped(file: BinaryIO) -> Iterator[tuple[str, _Entry]]:
    archive = zipfile.ZipFile(file)
    for info in archive.infolist():
        if info.filename.endswith("/"):
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        plain = kind in (0, stat.S_IFREG) and not info.flag_bits & 1
        yield info.filename, _Entry(info.file_size, plain, lambda info=info: archive.open(info))  # type: ignore[misc]


def _tarred(file: BinaryIO) -> Iterator[tuple[str, _Entry]]:
    file.seek(0)
    archive, left = tarfile.open(fileobj=file, mode="r:*"), DEFAULT_MAX_BYTES  # noqa: SIM115 - read while it is answered
    for number, info in enumerate(archive):
        left -= info.size
        if number > _MOST_ENTRIES or left < 0:
            raise SizeLimit(f"the archive holds more than {_MOST_ENTRIES} files or {DEFAULT_MAX_BYTES >> 30} GiB")
        if info.isdir():
            continue
        plain = info.type in tarfile.REGULAR_TYPES and not info.issparse()
        yield info.name, _Entry(info.size, plain, lambda info=info: archive.extractfile(info) or io.BytesIO())  # type: ignore[misc]


def _pieces(name: str, entries: Mapping[str, _Entry], most_bytes: int) -> Iterator[bytes]:
    entry = entries.get(name)
    if entry is None or not entry.plain:
        raise UnreadableModel(f"the archive holds no plain file {name[:200]!r}; links and encrypted files are not read")
    with entry.open() as file:
        while piece := file.read(_PIECE):
            most_bytes -= len(piece)
            if most_bytes < 0:
                raise SizeLimit(f"the archive's {name[:200]!r} is too large")
            yield piece


def _copier(name: str, entries: Mapping[str, _Entry]) -> Callable[[Any], None]:
    def copy(target: Any) -> None:
        try:
            for piece in _pieces(name, entries, DEFAULT_MAX_BYTES):
                target.write(piece)
        except ModelStoreError:
            raise
        except Exception as error:
            raise UnreadableModel(f"not an archive ({type(error).__name__})") from None

    return copy


def write_for_mlflow(about: About, files: Files) -> tuple[dict[str, Any], Parts]:
    """A model's bytes as one of MLflow's flavours reads them.

    Raises:
        InvalidInput: no flavour holds it.
    """
    from model_store.serialization.object_graph import walk_objects

    source = io.FileIO(os.dup(files["model"].fileno()), "rb")
    source.seek(0)
    with decompressing_reader(source, CompressionType(about["compression"]), DEFAULT_MAX_BYTES) as payload:
        model = load_model(payload, SerializationFormat(about["serializer"]), (), about["model_class"])
    flavour, serializer, loaded_class = _choose_flavour(model)
    packages = sorted({(type(each).__module__ or "").partition(".")[0] for each in walk_objects(model)})
    values = {
        "flavour": flavour,
        "serializer": str(serializer),
        "model_class": full_class_name(model),
        "loaded_class": loaded_class,
        "packages": packages,
    }
    return values, [("model", lambda target: dump_model(model, target, serializer))]


def _choose_flavour(model: Any) -> tuple[str, SerializationFormat, str]:
    """The flavour, the format of its file, and the class that MLflow makes of it."""
    from model_store.contract.conversion import conversion_difference
    from model_store.serialization.native_models import LightGBMModel, OnnxModel

    name = full_class_name(model)
    if isinstance(model, LightGBMModel):
        return "lightgbm", SerializationFormat.LIGHTGBM, "lightgbm.basic.Booster"
    if isinstance(model, OnnxModel) or not hasattr(model, "predict"):
        raise InvalidInput(
            f"{name} has no place in MLflow's flavours sklearn, xgboost and lightgbm; export a bundle: without --format"
        )
    if name.startswith("lightgbm.sklearn."):
        return "lightgbm", SerializationFormat.PICKLE, name
    missing = getattr(model, "missing", None)
    if name.startswith("xgboost.sklearn.") and (missing is None or missing != missing):
        # Where the file of XGBoost's own lacks something that the class holds, the class itself is written.
        try:
            if conversion_difference(model, SerializationFormat.XGBOOST) is not None:
                return "xgboost", SerializationFormat.XGBOOST, name
        except InvalidInput:
            pass
    return "sklearn", SerializationFormat.PICKLE, name
