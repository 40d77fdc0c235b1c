"""The cryptography of one artifact: its derived keys, its chunks, its digests. Hazardous layer.

HKDF is RFC 5869; the chunks are the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár (CRYPTO 2015) over
AES-256-GCM; the commitment makes the scheme key-committing, as GCM alone is not.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from model_store.artifact.header import Header
from model_store.errors import HeaderAuthentication, KeyCommitment, PayloadAuthentication, TrailingData, Truncated

DIGEST_BYTES = 32
FILE_KEY_BYTES = 32
TAG_BYTES = 16
MAX_CHUNKS = 1 << 32
_PAYLOAD_LABEL = b"fraud-detection/artifact/v1/payload/"
_COMMITMENT_LABEL = b"fraud-detection/artifact/v1/commitment"
_HEADER_LABEL = b"fraud-detection/artifact/v1/header"
_DIGEST_LABEL = b"fraud-detection/artifact/v1/digest"


def new_file_key() -> bytes:
    """A new file key, for one artifact only."""
    return secrets.token_bytes(FILE_KEY_BYTES)


@dataclass(frozen=True, repr=False)
class ArtifactKeys:
    """The keys derived from one artifact's file key."""

    payload: bytes
    commitment: bytes
    header: bytes

    @classmethod
    def derive(cls, file_key: bytes, header: Header) -> "ArtifactKeys":
        """Derives the keys; the payload key is bound to everything in the header but the slots."""
        bound_to = hashlib.sha256(header.immutable_bytes()).digest()
        return cls(
            payload=_hkdf(file_key, header.message_id, _PAYLOAD_LABEL + bound_to),
            commitment=_hkdf(file_key, header.message_id, _COMMITMENT_LABEL),
            header=_hkdf(file_key, header.message_id, _HEADER_LABEL),
        )

    def header_mac(self, everything_before: bytes) -> bytes:
        """HMAC-SHA256 over all bytes before the MAC."""
        return hmac.new(self.header, everything_before, "sha256").digest()

    def require(self, commitment: bytes, header_mac: bytes, everything_before: bytes) -> None:
        """Compares commitment, then MAC, in constant time.

        Raises:
            KeyCommitment: the file key is not this artifact's.
            HeaderAuthentication: the header was altered.
        """
        if not hmac.compare_digest(commitment, self.commitment):
            raise KeyCommitment("the key commitment does not match: this is not the key the artifact was made with")
        if not hmac.compare_digest(header_mac, self.header_mac(everything_before)):
            raise HeaderAuthentication("the header's authentication code does not match: the header was altered")


class ChunkCipher:
    """Seals and opens the chunks of one artifact.

    Args:
        payload_key: the artifact's payload key.
    """

    def __init__(self, payload_key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._gcm = AESGCM(payload_key)

    def seal(self, index: int, chunk: bytes | memoryview, *, last: bool) -> bytes:
        """The stored form of a chunk: ciphertext and tag."""
        return self._gcm.encrypt(_nonce(index, last=last), chunk, None)

    def open(self, index: int, stored: bytes | memoryview, *, last: bool) -> bytes:
        """The chunk of a stored form.

        Raises:
            Truncated: the artifact ends here, but this is not its last chunk.
            TrailingData: this is the last chunk, but the artifact goes on.
            PayloadAuthentication: the chunk was altered, moved or replaced.
        """
        from cryptography.exceptions import InvalidTag

        try:
            return self._gcm.decrypt(_nonce(index, last=last), stored, None)
        except InvalidTag:
            pass
        try:
            self._gcm.decrypt(_nonce(index, last=not last), stored, None)
        except InvalidTag:
            raise PayloadAuthentication(
                f"chunk {index} does not authenticate: it was altered, moved or replaced"
            ) from None
        if last:
            raise Truncated(f"the artifact ends after chunk {index}, which is not its last one")
        raise TrailingData(f"chunk {index} is the artifact's last one, but there is more after it")


class ChunkWatch:
    """Detects whether a chunk changed between two passes, six times as fast as SHA-256.

    GMAC (NIST SP 800-38D) under a key that is made here and never leaves this process.
    """

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._gcm = AESGCM(secrets.token_bytes(FILE_KEY_BYTES))

    def mark(self, index: int, chunk: bytes) -> bytes:
        """The mark of a chunk, for `require`."""
        return self._gcm.encrypt(_nonce(index, last=False), b"", chunk)

    def require(self, index: int, chunk: bytes, mark: bytes) -> None:
        """Raises PayloadAuthentication unless the chunk is the one that was marked.

        Raises:
            PayloadAuthentication: it is another one.
        """
        from cryptography.exceptions import InvalidTag

        try:
            self._gcm.decrypt(_nonce(index, last=False), mark, chunk)
        except InvalidTag:
            raise PayloadAuthentication(f"chunk {index} changed while the artifact was being read") from None


def chunk_digest(stored: bytes | memoryview) -> bytes:
    """SHA-256 of a chunk as it is stored."""
    return hashlib.sha256(stored).digest()


def trailer(everything_before_chunks: bytes, chunk_digests: Iterable[bytes]) -> bytes:
    """The file's last 32 bytes: SHA-256 over what precedes the chunks, and over the chunks' digests."""
    state = hashlib.sha256(everything_before_chunks)
    for digest in chunk_digests:
        state.update(digest)
    return state.digest()


def artifact_digest(header: Header, commitment: bytes, chunk_digests: Iterable[bytes]) -> str:
    """The artifact's digest, `sha256:<hex>`; it covers the payload and not the key slots.

    Args:
        header: the header.
        commitment: the key commitment; empty for an unencrypted artifact.
        chunk_digests: SHA-256 of every stored chunk, in order.
    """
    immutable = header.immutable_bytes()
    state = hashlib.sha256(_DIGEST_LABEL + len(immutable).to_bytes(4, "big") + immutable + commitment)
    for digest in chunk_digests:
        state.update(digest)
    return f"sha256:{state.hexdigest()}"


def _nonce(index: int, *, last: bool) -> bytes:
    return bytes(7) + index.to_bytes(4, "big") + bytes([last])


def _hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, salt, info).derive(key)
