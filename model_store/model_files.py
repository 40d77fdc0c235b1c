"""Model files as data scientists hand them over: joblib or pickle, read through the allow-list like everything else."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from model_store.compression import CappedReader
from model_store.errors import FileMissing, InvalidInput, StorageFailed
from model_store.lineage import describe_source
from model_store.persistence import DEFAULT_MAX_BYTES
from model_store.serializers import SerializationFormat, load_model
from model_store.trust import REFUSED, named_globals, skops_types, trusted_globals

_SUFFIXES = {
    ".joblib": SerializationFormat.JOBLIB,
    ".pkl": SerializationFormat.PICKLE,
    ".pickle": SerializationFormat.PICKLE,
    ".skops": SerializationFormat.SKOPS,
    ".onnx": SerializationFormat.ONNX,
}
_OUTER_SUFFIXES = (".gz", ".bz2", ".xz", ".lzma", ".z")


def load_model_file(path: Path, trusted: Collection[str] = (), max_bytes: int = DEFAULT_MAX_BYTES) -> Any:
    """Loads a joblib or pickle file.

    Args:
        path: `.joblib`, `.pkl` or `.pickle`; compressed by joblib's own means where joblib does.
        trusted: full names of globals to allow beside the allow-list.
        max_bytes: how large the model may be once decompressed.

    Raises:
        FileMissing: there is no such file.
        InvalidInput: a file of another kind.
        UntrustedType: it names something that is not trusted; nothing of it was run.
        UnreadableModel, TrailingData, SizeLimit: it does not make a model.
    """
    serializer = _serializer_of(path)
    with _opened(path, max_bytes) as file:
        return load_model(file, serializer, trusted)


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
        "format": str(_serializer_of(path)),
        "compression": None,
        "encrypted": False,
        "context": {},
        "final_size": source["size_bytes"],
        "digest": f"sha256:{source['sha256']}",
    }


def inspect_model_file(path: Path) -> dict[str, list[str]]:
    """What a joblib or pickle file names, without loading it: `named` all, `untrusted` those not on the allow-list.

    Raises:
        FileMissing, InvalidInput, UnreadableModel: as for `load_model_file`.
    """
    serializer = _serializer_of(path)
    with _opened(path, DEFAULT_MAX_BYTES) as file:
        if serializer is SerializationFormat.ONNX:
            return {"named": [], "untrusted": []}
        if serializer is SerializationFormat.SKOPS:
            return _inspect_skops(file.read())
        named = named_globals(file)
    return {"named": named, "untrusted": [name for name in named if name not in trusted_globals()]}


def _inspect_skops(content: bytes) -> dict[str, list[str]]:
    import skops.io

    named = skops_types(content)
    needed = set(skops.io.get_untrusted_types(data=content)) - trusted_globals()
    return {"named": named, "untrusted": sorted(needed | (REFUSED & set(named)))}


def _serializer_of(path: Path) -> SerializationFormat:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in _OUTER_SUFFIXES:
        suffixes.pop()
    found = _SUFFIXES.get(suffixes[-1] if suffixes else "")
    if found is None:
        raise InvalidInput(f"{path}: not a model file; allowed: {', '.join(_SUFFIXES)}")
    return found


@contextmanager
def _opened(path: Path, max_bytes: int) -> Iterator[io.BufferedReader]:
    """The file's content, decompressed when it begins as a compressed file does."""
    try:
        with path.open("rb") as file:
            yield io.BufferedReader(CappedReader(_decompressed(file), max_bytes))
    except FileNotFoundError:
        raise FileMissing(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise InvalidInput(f"{path}: a directory, not a model file") from None
    except OSError as error:
        raise StorageFailed(f"{path}: cannot be read ({error.strerror or error})") from None


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
    return file


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
