"""Writes an artifact file. Hazardous layer: prefer `SecureModelPersistence`.

The caller's thread serializes and compresses, a second thread seals, a third hashes and a fourth writes, so that
checksum and encryption take little time. Only a few chunks are queued between them.
"""

import io
from dataclasses import dataclass
from typing import Any, BinaryIO

from model_store.artifact.cipher import (
    MAX_CHUNKS,
    ArtifactKeys,
    ChunkCipher,
    artifact_digest,
    chunk_digest,
    new_file_key,
    trailer,
)
from model_store.artifact.header import CHUNK_BYTES, Header
from model_store.artifact.pipeline_worker import PipelineWorker
from model_store.errors import SizeLimit
from model_store.keys.slot import KeyProvider

MAGIC = b"FDMODEL\x01"
"""Seven letters and the format's version."""


@dataclass(frozen=True)
class WrittenArtifact:
    """Result of writing an artifact."""

    digest: str
    """`sha256:<hex>`."""
    size_bytes: int
    """The whole file."""
    payload_bytes: int
    """Serialized and compressed, before encryption."""
    key_fingerprints: tuple[str, ...]


class ArtifactWriter(io.RawIOBase):
    """Takes the payload by `write`, in pieces of any size; `finish` makes the file complete.

    Args:
        target: an empty file, written from its start to its end.
        header: what the artifact says of itself; its slots are made here.
        key: wraps the file key; None for an unencrypted artifact.
    """

    def __init__(self, target: BinaryIO, header: Header, key: KeyProvider | None) -> None:
        self._target = target
        self._cipher: ChunkCipher | None = None
        self._commitment = b""
        if key is None:
            self._header = header
            self._prefix = framed(header)
        else:
            self._header, self._prefix = self._prepare_encryption(header, key)
        self._pending = bytearray()
        self._digests: list[bytes] = []
        self._payload_bytes = 0
        self._target.write(self._prefix)
        self._sealed = 0
        self._writing: PipelineWorker[bytes | memoryview] = PipelineWorker("artifact-writer", self._target.write)
        self._hashing: PipelineWorker[bytes | memoryview] = PipelineWorker("artifact-hasher", self._hash)
        self._sealing: PipelineWorker[tuple[bytes | memoryview, bool]] = PipelineWorker("artifact-sealer", self._seal)

    def _prepare_encryption(self, header: Header, key: KeyProvider) -> tuple[Header, bytes]:
        file_key = new_file_key()
        header = header.with_slots((key.wrap(file_key, header.slot_context()),))
        keys = ArtifactKeys.derive(file_key, header)
        self._cipher = ChunkCipher(keys.payload)
        self._commitment = keys.commitment
        authenticated = framed(header) + keys.commitment
        return header, authenticated + keys.header_mac(authenticated)

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any, /) -> int:
        """Appends to the payload.

        Raises:
            OSError: the file could not be written.
            SizeLimit: the payload has more than 2^32 chunks.
        """
        view = memoryview(data).cast("B")
        self._payload_bytes += len(view)
        done = 0
        # A full chunk is held back until another byte follows: the last one is sealed differently.
        while len(self._pending) + len(view) - done > CHUNK_BYTES:
            done += self._send_full_chunk(data, view, done)
        self._pending += view[done:]
        return len(view)

    def _send_full_chunk(self, data: Any, view: memoryview, start: int) -> int:
        if not self._pending and isinstance(data, bytes):
            self._sealing.put((view[start : start + CHUNK_BYTES], False))
            return CHUNK_BYTES
        missing = CHUNK_BYTES - len(self._pending)
        self._pending += view[start : start + missing]
        self._sealing.put((bytes(self._pending), False))
        self._pending.clear()
        return missing

    def finish(self) -> WrittenArtifact:
        """Seals the last chunk, writes the trailer and returns the result.

        Raises:
            OSError: the file could not be written.
        """
        self._sealing.put((bytes(self._pending), True))
        self._sealing.finish()
        self._hashing.finish()
        self._writing.finish()
        self._target.write(trailer(self._prefix, self._digests))
        self._target.flush()
        return WrittenArtifact(
            digest=artifact_digest(self._header, self._commitment, self._digests),
            size_bytes=self._target.tell(),
            payload_bytes=self._payload_bytes,
            key_fingerprints=tuple(slot.key_id for slot in self._header.slots),
        )

    def abandon(self) -> None:
        """Ends the writing without completing the file."""
        self._sealing.abandon()
        self._hashing.abandon()
        self._writing.abandon()

    def _seal(self, item: tuple[bytes | memoryview, bool]) -> None:
        chunk, last = item
        index, self._sealed = self._sealed, self._sealed + 1
        if index >= MAX_CHUNKS:
            raise SizeLimit(f"the payload has more than {MAX_CHUNKS} chunks")
        stored = chunk if self._cipher is None else self._cipher.seal(index, chunk, last=last)
        self._hashing.put(stored)
        self._writing.put(stored)

    def _hash(self, stored: bytes | memoryview) -> None:
        self._digests.append(chunk_digest(stored))


def framed(header: Header) -> bytes:
    """Magic, header length and header."""
    data = header.to_bytes()
    return MAGIC + len(data).to_bytes(4, "big") + data
