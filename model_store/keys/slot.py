"""Key slots of an artifact, and the interface of keys that open them: local keys and keys in a service."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class KeySlot:
    """A file key, wrapped so that one key can unwrap it; part of an artifact's header."""

    type: str
    """`aes256` or `aws-kms`."""
    key_id: str
    """Fingerprint of the wrapping key, or its ARN."""
    wrapped: str
    """The wrapped file key, hexadecimal: nonce, ciphertext and tag."""


class KeyProvider(Protocol):
    """One key that can wrap and unwrap file keys."""

    @property
    def slot_type(self) -> str:
        """The type of the slots it makes, such as `aes256`."""

    @property
    def key_id(self) -> str:
        """The name of the key."""

    def wrap(self, file_key: bytes, context: bytes) -> KeySlot:
        """Wraps a file key, bound to a context."""

    def unwrap(self, slot: KeySlot, context: bytes) -> bytes:
        """Unwraps a file key.

        Raises:
            KeyUnwrap: it is not this key's, or it is bound to another context.
        """
