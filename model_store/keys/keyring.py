"""Keys that open artifacts. Hazardous layer: prefer `SecureModelPersistence` and `ModelRegistry`.

A key is 32 random bytes, carried as URL-safe base64, and is named by its fingerprint everywhere: in slots, logs and
errors. The key itself appears in none of them.
"""

import base64
import binascii
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from conventions import variables
from conventions.regular_files import read_text
from model_store.errors import KeyFileUnsafe, KeyNotFound, KeyUnwrap, StorageFailed
from model_store.keys.permissions import open_to_others
from model_store.keys.slot import KeyProvider, KeySlot

KEY_BYTES = 32
_MOST_KEY_BYTES = 4096
KEY_VARIABLE = "MODEL_KEY"
_FINGERPRINT_LABEL = b"fraud-detection/key-fingerprint/v1"
_NONCE_BYTES = 12


class StaticKey:
    """A 32-byte AES-256 key held in memory.

    Args:
        key: the key.

    Raises:
        KeyFileUnsafe: it does not have 32 bytes.
    """

    slot_type = "aes256"

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise KeyFileUnsafe(f"a key has {KEY_BYTES} bytes, this one has {len(key)}")
        self._key = key
        self._key_id = _fingerprint(key)

    @property
    def key_id(self) -> str:
        """The key's fingerprint: 32 hexadecimal digits."""
        return self._key_id

    def __repr__(self) -> str:
        return f"StaticKey({self._key_id})"

    def wrap(self, file_key: bytes, context: bytes) -> KeySlot:
        """Wraps a file key with AES-256-GCM; the context is authenticated with it."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(self._key).encrypt(nonce, file_key, context)
        return KeySlot(self.slot_type, self.key_id, (nonce + sealed).hex())

    def unwrap(self, slot: KeySlot, context: bytes) -> bytes:
        """Unwraps a file key.

        Raises:
            KeyUnwrap: it is not this key's, or it is bound to another context.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        sealed = bytes.fromhex(slot.wrapped)
        try:
            return AESGCM(self._key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError):
            raise KeyUnwrap(f"key {self.key_id} does not open this artifact's slot: the slot was altered") from None


@dataclass(frozen=True)
class Keyring:
    """Several keys: the first encrypts, all decrypt."""

    providers: tuple[KeyProvider, ...] = field(default=())

    @classmethod
    def of(cls, *keys: bytes | str) -> "Keyring":
        """A keyring of static keys, each as `generate_key` returns them.

        Raises:
            KeyFileUnsafe: one of them is not a key.
        """
        return cls(tuple(StaticKey(decode_key(key)) for key in keys))

    @classmethod
    def from_files(cls, *paths: Path) -> "Keyring":
        """A keyring of key files.

        Raises:
            KeyFileUnsafe: a file is missing, others can read it, or it does not hold a key.
        """
        return cls(tuple(StaticKey(read_key_file(path)) for path in paths))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Keyring":
        """The keyring of `MODEL_KMS_KEY` (an ARN), `MODEL_KEY_FILE` and `MODEL_KEY`; empty when none is set.

        A KMS key comes first: where there is one, it encrypts.

        Raises:
            KeyFileUnsafe: what they hold or name is not a key.
        """
        keys: list[KeyProvider] = []
        if path := environment.get(variables.MODEL_KEY_FILE):
            keys.append(StaticKey(read_key_file(Path(path))))
        if text := environment.get(KEY_VARIABLE):
            keys.append(StaticKey(decode_key(text)))
        if arn := environment.get(variables.MODEL_KMS_KEY):
            from model_store.keys.kms import KmsKey

            keys.insert(0, KmsKey(arn))
        return cls(tuple(keys))

    @property
    def primary(self) -> KeyProvider:
        """The key that encrypts.

        Raises:
            KeyNotFound: the keyring is empty; says how to make a key.
        """
        if not self.providers:
            raise KeyNotFound(
                "there is no key to encrypt with; make one (python scripts/manage_models.py keygen FILE) "
                f"and name it in {variables.MODEL_KEY_FILE}, or ask for an unencrypted artifact"
            )
        return self.providers[0]

    def unwrap(self, slots: tuple[KeySlot, ...], context: bytes) -> bytes:
        """Unwraps the file key with the first key that has a slot.

        Raises:
            KeyNotFound: no key of the keyring has a slot; names the keys that do.
            KeyUnwrap: the key has a slot, but it does not open.
        """
        by_name = {(provider.slot_type, provider.key_id): provider for provider in self.providers}
        for slot in slots:
            if provider := by_name.get((slot.type, slot.key_id)):
                return provider.unwrap(slot, context)
        needed = ", ".join(slot.key_id for slot in slots)
        present = ", ".join(provider.key_id for provider in self.providers) or "none"
        raise KeyNotFound(f"the artifact is encrypted for key {needed}; available: {present}")


def generate_key() -> bytes:
    """A new key: 32 random bytes as URL-safe base64."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES))


def decode_key(text: bytes | str) -> bytes:
    """The 32 bytes of a key's text.

    Raises:
        KeyFileUnsafe: it is not one; the message does not repeat it.
    """
    try:
        key = base64.b64decode(text.strip(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyFileUnsafe(f"a key is {KEY_BYTES} bytes in URL-safe base64 (44 characters); this is not one")
    return key


def read_key_file(path: Path) -> bytes:
    """The key that a file holds.

    Raises:
        KeyFileUnsafe: the file is missing, others can read it, or it does not hold a key.
    """
    try:
        unsafe = open_to_others(path)
        text = read_text(path, "ascii", _MOST_KEY_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise KeyFileUnsafe(f"{path}: the key cannot be read ({reason})") from None
    if unsafe:
        raise KeyFileUnsafe(f"{path}: others can read this key; close it: chmod 600 {path}")
    try:
        return decode_key(text)
    except KeyFileUnsafe as error:
        raise KeyFileUnsafe(f"{path}: {error}") from None


def write_key_file(path: Path) -> str:
    """Writes a new key with mode 600 and returns its fingerprint.

    Raises:
        FileExistsError: the file is there already; a key is never overwritten.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    key = generate_key()
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(staging, path)
    finally:
        staging.unlink()
    return _fingerprint(decode_key(key))


def ensure_key_file(path: Path) -> Path:
    """Makes the key file unless it is there; two at once agree on one key.

    Raises:
        StorageFailed: it cannot be written.
    """
    if not path.exists():
        try:
            write_key_file(path)
        except FileExistsError:
            pass
        except OSError as error:
            raise StorageFailed(f"{path}: the key cannot be written ({error.strerror})") from None
    return path


def _fingerprint(key: bytes) -> str:
    import hmac

    return hmac.new(key, _FINGERPRINT_LABEL, "sha256").hexdigest()[:32]
