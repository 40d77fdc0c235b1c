"""The contestants: this project with and without checksum and cipher, joblib, MLflow, Fernet, and a lower bound."""

import hashlib
import io
import pickle
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

JOBLIB_NAMES = {"none": 0, "gzip": ("gzip", 6), "bz2": ("bz2", 9), "lzma": ("lzma", 6)}


@dataclass(frozen=True)
class Contestant:
    """A way to save and load a model."""

    name: str
    save: Callable[[Any, Path], None]
    load: Callable[[Path], Any]


def contestant(name: str) -> Contestant:
    """The contestant of a name such as `ours-encrypted/zstd`, `joblib/gzip`, `fernet/none` or `floor/zstd`."""
    kind, _, compression = name.partition("/")
    return {
        "ours": lambda: _model_store(name, compression, encrypt=False),
        "ours-encrypted": lambda: _model_store(name, compression, encrypt=True),
        "bare": lambda: _bare(name, compression),
        "joblib": lambda: _joblib(name, compression),
        "fernet": lambda: _fernet(name),
        "floor": lambda: _floor(name, compression),
    }[kind]()


def _model_store(name: str, compression: str, *, encrypt: bool) -> Contestant:
    from model_store import SecureModelPersistence

    persistence = SecureModelPersistence(SecureModelPersistence.generate_encryption_key())
    return Contestant(
        name,
        lambda model, path: void(persistence.save_model_secure(model, path, compression, "joblib", encrypt)),
        lambda path: persistence.load_model_secure(path)[0],
    )


def _bare(name: str, compression: str) -> Contestant:
    """This project's own streams, threads and atomic file, with nothing hashed, marked or enciphered."""
    from model_store.artifact.header import Header
    from model_store.artifact.writer import ArtifactWriter
    from model_store.serialization.compression import CompressingWriter, CompressionType, decompressing_reader
    from model_store.serialization.formats import SerializationFormat, dump_model, load_model
    from model_store.storage.atomic_file import atomic_write

    chosen = CompressionType(compression)

    class Writer(ArtifactWriter):
        def _seal(self, item: Any) -> None:
            self._digests.append(b"")
            self._writing.put(item[0])

    def save(model: Any, path: Path) -> None:
        header = Header(bytes(32), "joblib", chosen, "a.B", {}, {}, encrypted=False)
        with atomic_write(path) as file:
            writer = Writer(file, header, None)
            compressed = CompressingWriter(cast("Any", writer), chosen)
            dump_model(model, cast("Any", compressed), SerializationFormat.JOBLIB)
            compressed.finish()
            writer.finish()

    def load(path: Path) -> Any:
        with path.open("rb", buffering=0) as file:
            file.seek(8)
            file.seek(int.from_bytes(file.read(4), "big"), io.SEEK_CUR)
            body = _Part(file, path.stat().st_size - 32 - file.tell())
            with decompressing_reader(body, chosen, 1 << 40) as payload:
                return load_model(payload, SerializationFormat.JOBLIB)

    return Contestant(name, save, load)


class _Part(io.RawIOBase):
    """A number of bytes of a file, read in pieces of a chunk's size."""

    def __init__(self, file: Any, length: int) -> None:
        self._file, self._left, self._current = file, length, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._current:
            self._current = memoryview(self._file.read(min(1 << 20, self._left)))
            self._left -= len(self._current)
        count = min(len(buffer), len(self._current))
        memoryview(buffer).cast("B")[:count] = self._current[:count]
        self._current = self._current[count:]
        return count


def _joblib(name: str, compression: str) -> Contestant:
    import joblib

    chosen: Any = JOBLIB_NAMES[compression]
    return Contestant(name, lambda model, path: void(joblib.dump(model, path, compress=chosen)), joblib.load)


def _fernet(name: str) -> Contestant:
    import joblib
    from cryptography.fernet import Fernet

    cipher = Fernet(Fernet.generate_key())

    def save(model: Any, path: Path) -> None:
        buffer = io.BytesIO()
        joblib.dump(model, buffer)
        path.write_bytes(cipher.encrypt(buffer.getvalue()))

    return Contestant(name, save, lambda path: joblib.load(io.BytesIO(cipher.decrypt(path.read_bytes()))))


def _floor(name: str, compression: str) -> Contestant:
    """The lower bound: serializes, compresses, hashes, encrypts and writes the whole model in one call each."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    compress, decompress = _one_shot(compression)
    cipher, nonce = AESGCM(secrets.token_bytes(32)), secrets.token_bytes(12)

    def save(model: Any, path: Path) -> None:
        sealed = cipher.encrypt(nonce, compress(pickle.dumps(model, protocol=5)), None)
        path.write_bytes(hashlib.sha256(sealed).digest() + sealed)

    def load(path: Path) -> Any:
        content = memoryview(path.read_bytes())
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            raise ValueError("altered")
        return pickle.loads(decompress(cipher.decrypt(nonce, content[32:], None)))

    return Contestant(name, save, load)


def _one_shot(compression: str) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    if compression == "gzip":
        from isal import igzip

        return lambda data: igzip.compress(data, compresslevel=2), igzip.decompress
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=3).compress, zstandard.ZstdDecompressor().decompress
    return lambda data: data, lambda data: data


def void(_result: object) -> None:
    """Drops a result."""
