"""Whether a passphrase is the one that encrypts a stack's secrets, told by the state's salt without the engine."""

import base64
import hashlib

_ITERATIONS = 1_000_000
_KEY_BYTES = 32
_KNOWN = b"pulumi"
"""The text that the engine encrypts beside the salt (Pulumi's pkg/secrets/passphrase)."""


def opens(salt: str, passphrase: bytes) -> bool:
    """Whether a passphrase opens a stack's secrets.

    Args:
        salt: as the state has it: `v1:<salt>:v1:<nonce>:<encrypted text>`.
        passphrase: without blanks around it.

    Raises:
        ValueError: the salt is of another form.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    parts = salt.split(":")
    if len(parts) != 5 or (parts[0], parts[2]) != ("v1", "v1"):
        raise ValueError("the salt of the passphrase has another form")
    random, nonce, encrypted = (base64.b64decode(parts[number], validate=True) for number in (1, 3, 4))
    key = hashlib.pbkdf2_hmac("sha256", passphrase, random, _ITERATIONS, _KEY_BYTES)
    try:
        return AESGCM(key).decrypt(nonce, encrypted, None) == _KNOWN
    except InvalidTag:
        return False
