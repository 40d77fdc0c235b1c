"""Reads an artifact file. Hazardous layer: prefer `SecureModelPersistence`.

The order of the checks is what makes reading safe: bounds of the header, unwrapping, commitment, header MAC, expected
context, every chunk to the last one, trailer and expected digest. Only then a second pass, which authenticates again,
returns the payload.
"""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conventions.regular_files import open_regular
from model_store.artifact.cipher import (
    DIGEST_BYTES,
    TAG_BYTES,
    ArtifactKeys,
    ChunkCipher,
    ChunkWatch,
    artifact_digest,
    chunk_digest,
    trailer,
)
from model_store.artifact.header import MAX_HEADER_BYTES, Header, parse_header
from model_store.artifact.writer import MAGIC
from model_store.errors import (
    ChecksumMismatch,
    ContextMismatch,
    FileMissing,
    HeaderFormat,
    StorageFailed,
    Truncated,
    UnsupportedFormat,
)
from model_store.keys.keyring import Keyring

_LENGTH_BYTES = 4
_READERS = 2


def is_artifact(path: Path) -> bool:
    """Whether a file begins as an artifact does; false when it is missing or cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


@dataclass(frozen=True)
class _Frame:
    """Where the parts of an artifact lie."""

    header: Header
    authenticated: bytes
    """Magic, length, header and, when encrypted, commitment: what the header MAC covers."""
    commitment: bytes
    header_mac: bytes
    body_start: int
    body_end: int

    @property
    def prefix(self) -> bytes:
        """All bytes before the chunks."""
        return self.authenticated + self.header_mac

    @property
    def stored_chunk_bytes(self) -> int:
        return self.header.chunk_size + (TAG_BYTES if self.header.encrypted else 0)

    @property
    def chunk_count(self) -> int:
        return max(1, -(-(self.body_end - self.body_start) // self.stored_chunk_bytes))

    def chunk_location(self, index: int) -> tuple[int, int]:
        """Offset and length of a stored chunk."""
        start = self.body_start + index * self.stored_chunk_bytes
        return start, min(self.stored_chunk_bytes, self.body_end - start)


class ArtifactReader:
    """An open artifact file.

    Args:
        descriptor: file descriptor, read by position only; stays the caller's.
        size: the file's size in bytes.

    Raises:
        UnsupportedFormat, HeaderFormat, Truncated: it does not begin as an artifact does.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._frame = _read_frame(descriptor, size)
        self._size = size

    @property
    def header(self) -> Header:
        """What the artifact says of itself; authenticated only after `verify`."""
        return self._frame.header

    def measure(self) -> str:
        """Compares the trailer and returns the artifact's digest; needs no key.

        Raises:
            ChecksumMismatch: the file was altered.
        """
        digests, _ = self._pass_over_chunks(None, None)
        self._require_trailer(digests)
        return artifact_digest(self.header, self._frame.commitment, digests)

    def verify(
        self, keys: Keyring, expected_digest: str | None = None, expected_context: Mapping[str, str] | None = None
    ) -> "VerifiedArtifact":
        """Authenticates the whole artifact.

        Args:
            keys: to unwrap the file key; not needed for an unencrypted artifact.
            expected_digest: `sha256:<hex>`, from a manifest.
            expected_context: what the artifact has to be bound to.

        Raises:
            KeyNotFound, KeyUnwrap: no key opens it.
            KeyCommitment, HeaderAuthentication, PayloadAuthentication, Truncated, TrailingData, ChecksumMismatch: it is
                not as it was written.
            ContextMismatch: it is another model version's.
        """
        cipher = self._unlock(keys) if self.header.encrypted else None
        if expected_context is not None and dict(expected_context) != self.header.context:
            raise ContextMismatch(
                f"the artifact is bound to {_described(self.header.context)}, expected {_described(expected_context)}"
            )
        watch = ChunkWatch() if cipher is None else None
        digests, marks = self._pass_over_chunks(cipher, watch)
        self._require_trailer(digests)
        digest = artifact_digest(self.header, self._frame.commitment, digests)
        if expected_digest is not None and digest != expected_digest:
            raise ChecksumMismatch(f"the artifact's digest is {digest}, expected {expected_digest}")
        return VerifiedArtifact(self._descriptor, self._size, self._frame, cipher, watch, marks, digest)

    def require_key(self, keys: Keyring) -> None:
        """Raises KeyNotFound unless a key opens the artifact, or it is not encrypted; reads the header only.

        Raises:
            KeyNotFound, KeyUnwrap, KeyCommitment, HeaderAuthentication: no key opens it.
        """
        if self.header.encrypted:
            self._unlock(keys)

    def file_key(self, keys: Keyring) -> bytes:
        """Compares commitment and header MAC and returns the file key. Hazardous: the key opens the artifact.

        Raises:
            KeyNotFound, KeyUnwrap, KeyCommitment, HeaderAuthentication: no key opens it.
        """
        file_key = keys.unwrap(self.header.slots, self.header.slot_context())
        derived = ArtifactKeys.derive(file_key, self.header)
        derived.require(self._frame.commitment, self._frame.header_mac, self._frame.authenticated)
        return file_key

    def stored_chunks(self) -> Iterator[tuple[bytes, bytes]]:
        """Each chunk as it is stored, with its SHA-256."""
        for index in range(self._frame.chunk_count):
            stored = _read_at(self._descriptor, *self._frame.chunk_location(index))
            yield stored, chunk_digest(stored)

    @property
    def payload_bytes(self) -> int:
        """Size of the payload, told from the size of the file."""
        frame = self._frame
        tags = frame.chunk_count * TAG_BYTES if self.header.encrypted else 0
        return frame.body_end - frame.body_start - tags

    def _unlock(self, keys: Keyring) -> ChunkCipher:
        return ChunkCipher(ArtifactKeys.derive(self.file_key(keys), self.header).payload)

    def _pass_over_chunks(
        self, cipher: ChunkCipher | None, watch: ChunkWatch | None
    ) -> tuple[list[bytes], list[bytes]]:
        """Digests and marks of all stored chunks, each opened when there is a cipher; two threads, one chunk each."""
        count = self._frame.chunk_count

        def work(first: int) -> list[tuple[bytes, bytes]]:
            return [self._look_at(index, cipher, watch) for index in range(first, count, _READERS)]

        if count < _READERS:
            looks = work(0)
        else:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(_READERS) as pool:
                lanes = list(pool.map(work, range(_READERS)))
            looks = [lanes[index % _READERS][index // _READERS] for index in range(count)]
        return [digest for digest, _ in looks], [mark for _, mark in looks]

    def _look_at(self, index: int, cipher: ChunkCipher | None, watch: ChunkWatch | None) -> tuple[bytes, bytes]:
        stored = _read_at(self._descriptor, *self._frame.chunk_location(index))
        if cipher is not None:
            cipher.open(index, stored, last=index == self._frame.chunk_count - 1)
        return chunk_digest(stored), watch.mark(index, stored) if watch is not None else b""

    def _require_trailer(self, digests: list[bytes]) -> None:
        written = _read_at(self._descriptor, self._frame.body_end, DIGEST_BYTES)
        if written != trailer(self._frame.prefix, digests):
            raise ChecksumMismatch("the artifact's checksum does not match: the file was altered or cut short")


@dataclass(frozen=True, repr=False)
class VerifiedArtifact:
    """An artifact that was authenticated to its last byte."""

    _descriptor: int
    size_bytes: int
    _frame: _Frame
    _cipher: ChunkCipher | None
    _watch: ChunkWatch | None
    _marks: list[bytes]
    digest: str

    @property
    def header(self) -> Header:
        """The authenticated header."""
        return self._frame.header

    def payload(self) -> io.RawIOBase:
        """The payload, still compressed; every chunk is authenticated once more before it is handed out."""
        return _PayloadReader(self)

    def chunk(self, index: int) -> bytes | None:
        """One chunk of the payload; None past the last one.

        Raises:
            PayloadAuthentication: the file was changed since it was verified.
        """
        frame = self._frame
        if index >= frame.chunk_count:
            return None
        stored = _read_at(self._descriptor, *frame.chunk_location(index))
        if self._cipher is not None:
            return self._cipher.open(index, stored, last=index == frame.chunk_count - 1)
        if self._watch is not None:
            self._watch.require(index, stored, self._marks[index])
        return stored


class _PayloadReader(io.RawIOBase):
    def __init__(self, artifact: VerifiedArtifact) -> None:
        self._artifact = artifact
        self._next = 0
        self._current = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object, /) -> int:
        while not self._current:
            chunk = self._artifact.chunk(self._next)
            if not chunk:
                return 0
            self._next += 1
            self._current = memoryview(chunk)
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        count = min(len(view), len(self._current))
        view[:count] = self._current[:count]
        self._current = self._current[count:]
        return count


@contextmanager
def open_artifact(path: Path) -> Iterator[ArtifactReader]:
    """Opens an artifact file for the block.

    Raises:
        FileMissing: there is no such file.
        StorageFailed: it cannot be read.
        UnsupportedFormat, HeaderFormat, Truncated: it does not begin as an artifact does.
    """
    try:
        file = open_regular(path)
    except FileNotFoundError:
        raise FileMissing(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise UnsupportedFormat(f"{path}: a directory, not an artifact") from None
    except OSError as error:
        raise StorageFailed(f"{path}: cannot be read ({error.strerror})") from None
    with file:
        yield ArtifactReader(file.fileno(), os.fstat(file.fileno()).st_size)


def measure_digest(path: Path) -> str:
    """The digest of an artifact file, `sha256:<hex>`, after its checksum was compared; needs no key.

    Raises:
        FileMissing, StorageFailed, UnsupportedFormat, HeaderFormat, Truncated, ChecksumMismatch: as they say.
    """
    with open_artifact(path) as artifact:
        return artifact.measure()


def _read_frame(descriptor: int, size: int) -> _Frame:
    start = os.pread(descriptor, len(MAGIC) + _LENGTH_BYTES, 0)
    if not MAGIC.startswith(start[: len(MAGIC)]) or not start:
        raise UnsupportedFormat("the file does not begin as a model artifact of version 1 does")
    if len(start) < len(MAGIC) + _LENGTH_BYTES:
        raise Truncated("the file ends within its first bytes")
    length = int.from_bytes(start[len(MAGIC) :], "big")
    if length > MAX_HEADER_BYTES:
        raise HeaderFormat(f"the header claims {length} bytes, at most {MAX_HEADER_BYTES} are allowed")
    header_bytes = os.pread(descriptor, length, len(start))
    if len(header_bytes) < length:
        raise Truncated("the file ends within its header")
    return _make_frame(descriptor, size, start + header_bytes, parse_header(header_bytes))


def _make_frame(descriptor: int, size: int, framed: bytes, header: Header) -> _Frame:
    extra = 2 * DIGEST_BYTES if header.encrypted else 0
    body_start = len(framed) + extra
    body_end = size - DIGEST_BYTES
    smallest_last_chunk = TAG_BYTES if header.encrypted else 0
    if body_end - body_start < smallest_last_chunk:
        raise Truncated("the file ends before its first chunk does")
    both = os.pread(descriptor, extra, len(framed))
    frame = _Frame(header, framed + both[:DIGEST_BYTES], both[:DIGEST_BYTES], both[DIGEST_BYTES:], body_start, body_end)
    _, last_length = frame.chunk_location(frame.chunk_count - 1)
    if header.encrypted and (last_length < TAG_BYTES or (last_length == TAG_BYTES and frame.chunk_count > 1)):
        raise Truncated("the file ends within a chunk")
    return frame


def _read_at(descriptor: int, offset: int, length: int) -> bytes:
    data = os.pread(descriptor, length, offset)
    while len(data) < length:
        more = os.pread(descriptor, length - len(data), offset + len(data))
        if not more:
            raise Truncated("the file became shorter while it was being read")
        data += more
    return data


def _described(context: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(context.items())) or "no model version"
