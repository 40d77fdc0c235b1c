"""Reads the model files of data scientists: through the allow-list, or in formats without code."""

import bz2
import gzip
import io
import lzma
import warnings
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from conventions.regular_files import open_regular
from model_store.errors import InvalidInput, ModelStoreError, UnreadableModel
from model_store.serialization.compression import DEFAULT_MAX_BYTES, CappedReader
from model_store.serialization.formats import SerializationFormat, load_model
from model_store.serialization.found_versions import found_versions
from model_store.serialization.inspection import inspect_content
from model_store.serialization.lineage import describe_source
from model_store.serialization.native_files import lightgbm_model, xgboost_classifier
from model_store.serialization.reading import reading

_SUFFIXES = {
    ".joblib": SerializationFormat.JOBLIB,
    ".pkl": SerializationFormat.PICKLE,
    ".pickle": SerializationFormat.PICKLE,
    ".skops": SerializationFormat.SKOPS,
    ".onnx": SerializationFormat.ONNX,
    ".json": SerializationFormat.XGBOOST,
    ".ubj": SerializationFormat.XGBOOST,
    ".txt": SerializationFormat.LIGHTGBM,
}
_OUTER_SUFFIXES = (".gz", ".bz2", ".xz", ".lzma", ".lz4", ".z")
_NAME_NOTHING = (SerializationFormat.ONNX, SerializationFormat.XGBOOST, SerializationFormat.LIGHTGBM)


@dataclass(frozen=True)
class LoadedModelFile:
    """A model and the metadata of its file.

    Attributes:
        model: what was loaded.
        versions: library → version that wrote it, as the file says.
        warnings: of the libraries during the load, each once, one line each.
    """

    model: Any
    versions: dict[str, str]
    warnings: list[str]


def load_model_file(path: Path, trusted: Collection[str] = (), max_bytes: int = DEFAULT_MAX_BYTES) -> Any:
    """The model of `read_model_file`; repeats each library's warning once."""
    found = read_model_file(path, trusted, max_bytes)
    for warning in found.warnings:
        warnings.warn(warning, stacklevel=2)
    return found.model


def read_model_file(path: Path, trusted: Collection[str] = (), max_bytes: int = DEFAULT_MAX_BYTES) -> LoadedModelFile:
    """Loads a model file.

    Args:
        path: `.joblib`, `.pkl`, `.pickle`, `.skops`, `.onnx`, `.json` and `.ubj` (XGBoost), `.txt` (LightGBM);
            compressed as joblib does, or not.
        trusted: full names of globals to allow beside the allow-list.
        max_bytes: how large the model may be once decompressed.

    Raises:
        FileMissing: there is no such file.
        InvalidInput: a file of another kind, or a model whose objective gives no probability.
        UntrustedType: it names something that is not trusted; none of it was run.
        UnreadableModel, TrailingData, SizeLimit: it does not make a model.
    """
    with reading(path), open_regular(path) as file:
        return read_model(file, path, trusted, max_bytes)


def read_model(
    file: BinaryIO, path: Path, trusted: Collection[str] = (), max_bytes: int = DEFAULT_MAX_BYTES
) -> LoadedModelFile:
    """Loads an open model file.

    Args:
        file: at its beginning.
        path: its name tells how it is written.
        trusted: full names of globals to allow beside the rules.
        max_bytes: how large the model may be once decompressed.

    Raises:
        As `read_model_file`.
    """
    serializer, suffix = detect_serializer(path)
    versions: dict[str, str] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        content = decompressed(file, max_bytes)
        if serializer in (SerializationFormat.XGBOOST, SerializationFormat.LIGHTGBM):
            model = _native_model(_content(content), suffix, versions)
        else:
            model = load_model(content, serializer, trusted, versions=versions)
    lines = dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught)
    return LoadedModelFile(model, found_versions(model, caught, versions), list(lines))


def _native_model(content: bytes, suffix: str, versions: dict[str, str]) -> Any:
    if suffix == ".txt":
        return lightgbm_model(content)
    return xgboost_classifier(content, json_text=suffix == ".json", versions=versions)


def _content(file: io.BufferedReader) -> bytes:
    try:
        return file.read()
    except ModelStoreError:
        raise
    except Exception as error:  # Each compression has errors of its own.
        raise UnreadableModel(f"the model cannot be read ({type(error).__name__}: {error})") from None


def describe_model_file(path: Path) -> dict[str, Any]:
    """What `SecureModelPersistence.load_model_secure` says of an artifact, as far as a model file has it.

    Returns:
        `format`, `compression` (None: not the artifact's), `encrypted`, `context`, `final_size` in bytes, and `digest`,
        the file's SHA-256.

    Raises:
        FileMissing, InvalidInput, StorageFailed: as for `load_model_file`.
    """
    source = describe_source(path)
    return {
        "format": str(detect_serializer(path)[0]),
        "compression": None,
        "encrypted": False,
        "context": {},
        "final_size": source["size_bytes"],
        "digest": f"sha256:{source['sha256']}",
    }


def inspect_model_file(path: Path) -> dict[str, Any]:
    """Inspects a model file without loading it.

    Returns:
        As `inspection.inspect_content`.

    Raises:
        FileMissing, InvalidInput, UnreadableModel: as for `load_model_file`.
    """
    with reading(path), open_regular(path) as file:
        return inspect_model(file, path)


def inspect_model(file: BinaryIO, path: Path) -> dict[str, Any]:
    """Inspects an open model file, as `inspect_model_file`."""
    serializer, _ = detect_serializer(path)
    return inspect_content(decompressed(file, DEFAULT_MAX_BYTES), serializer)


def detect_serializer(path: Path) -> tuple[SerializationFormat, str]:
    """How the file is written, and the suffix that tells so."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in _OUTER_SUFFIXES:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in _SUFFIXES:
        raise InvalidInput(f"{path}: not a model file; allowed: {', '.join(_SUFFIXES)}")
    return _SUFFIXES[suffix], suffix


def decompressed(file: BinaryIO, max_bytes: int) -> io.BufferedReader:
    """A file's content, decompressed when it begins as a compressed file does."""
    return io.BufferedReader(CappedReader(_TypedErrors(_decompressed(file)), max_bytes))


def _decompressed(file: BinaryIO) -> Any:
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if start.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if start.startswith((b"\xfd7zXZ", b"\x5d\x00")):
        return lzma.LZMAFile(file)
    if start.startswith((b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")):
        return _ZlibReader(file)
    if start.startswith(b"\x04\x22\x4d\x18"):
        import lz4.frame

        return lz4.frame.LZ4FrameFile(file)
    return file


class _TypedErrors(io.RawIOBase):
    """Raises UnreadableModel where a compressed file is broken: each compression has errors of its own."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            return int(self._source.readinto(buffer) or 0)
        except ModelStoreError:
            raise
        except (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # The file cannot be read.
            raise UnreadableModel(f"the file does not decompress ({error})") from None


class _ZlibReader(io.RawIOBase):
    """Reads a zlib stream, joblib's default compression."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._stream = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        while not self._stream.eof:
            pending = self._stream.unconsumed_tail or self._file.read(1 << 18)
            if not pending:
                raise EOFError("the compressed file ends early")
            if data := self._stream.decompress(pending, len(view)):
                view[: len(data)] = data
                return len(data)
        return 0
