"""The keys that receipts are signed with: derived from the key of the model, one for each deployment.

Hazardous layer: `ReceiptSigner` and `read_receipt` are what a service uses.
"""

import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from model_store.errors import KeyUnwrap

_LABEL = "fraud-detection/receipt/v1"
_KEY_BYTES = 32
_NONCE_BYTES = 12


@dataclass(frozen=True)
class ReceiptKey:
    """One key that signs receipts; each receipt has its name, which tells nothing of the key."""

    key_id: str
    """Eight hexadecimal digits."""
    secret: bytes = field(repr=False)

    @classmethod
    def derive(cls, model_key: bytes, environment: str, deployment_name: str) -> "ReceiptKey":
        """The key of one deployment: the same in each replica and for each model version (HKDF, RFC 5869).

        Args:
            model_key: the 32 bytes of the key that encrypts artifacts.
            environment: of the deployment.
            deployment_name: of the deployment; another environment's or another deployment's receipts are foreign.
        """
        return cls.of(_derived(model_key, "sign", environment, deployment_name))

    @classmethod
    def of(cls, secret: bytes) -> "ReceiptKey":
        """The key with these 32 bytes."""
        return cls(hmac.digest(secret, f"{_LABEL}/id".encode(), "sha256").hex()[:8], secret)

    def session_key(self, model_id: str, head: str) -> bytes:
        """The AES-256 key of the receipts of one model version that share a head: time and process."""
        return hmac.digest(self.secret, f"{_LABEL}/session\0{model_id}\0{head}".encode(), "sha256")


@dataclass(frozen=True)
class ReceiptKeys:
    """The keys that a deployment knows: the first signs, all verify."""

    known: tuple[ReceiptKey, ...] = ()

    @property
    def signing(self) -> ReceiptKey | None:
        """The key that signs; None where the service has no key at all."""
        return self.known[0] if self.known else None

    def find(self, key_id: str) -> ReceiptKey | None:
        """The key of a name; None when it is another deployment's, or nobody's."""
        return next((each for each in self.known if each.key_id == key_id), None)

    @classmethod
    def of_deployment(
        cls, model_key: bytes, environment: str, deployment_name: str, former: Iterable[Mapping[str, object]] = ()
    ) -> "ReceiptKeys":
        """The deployment's own key, and former ones that `seal_former_key` has sealed for it.

        Args:
            model_key: the 32 bytes of the key that encrypts artifacts.
            environment: of the deployment.
            deployment_name: of the deployment.
            former: entries under `receipt_keys` of the file of API keys; those of another model key are left out.
        """
        own = ReceiptKey.derive(model_key, environment, deployment_name)
        seal = _derived(model_key, "seal", environment, deployment_name)
        opened = [key for entry in former if (key := _open(seal, entry)) is not None]
        return cls((own, *(key for key in opened if key.key_id != own.key_id)))


def seal_former_key(
    model_key: bytes, former_model_key: bytes, environment: str, deployment_name: str
) -> dict[str, str]:
    """What a deployment has to know to verify receipts that were signed under a former key of the model.

    Args:
        model_key: the 32 bytes of the key that encrypts artifacts now.
        former_model_key: the 32 bytes of the key that did before.
        environment: of the deployment.
        deployment_name: of the deployment.

    Returns:
        An entry for `receipt_keys` in the file of API keys; only the holder of the present key can open it.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    former = ReceiptKey.derive(former_model_key, environment, deployment_name)
    seal, nonce = _derived(model_key, "seal", environment, deployment_name), secrets.token_bytes(_NONCE_BYTES)
    sealed = AESGCM(seal).encrypt(nonce, former.secret, former.key_id.encode())
    return {"id": former.key_id, "sealed": (nonce + sealed).hex()}


def reseal_key(
    entry: Mapping[str, object], former_model_key: bytes, model_key: bytes, environment: str, deployment_name: str
) -> dict[str, str]:
    """An entry of `seal_former_key` that was sealed under a former key of the model, sealed under the present one.

    Raises:
        KeyUnwrap: the former key does not open it.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key = _open(_derived(former_model_key, "seal", environment, deployment_name), entry)
    if key is None:
        raise KeyUnwrap(f"the former key does not open the receipt key {entry.get('id')!r}")
    seal, nonce = _derived(model_key, "seal", environment, deployment_name), secrets.token_bytes(_NONCE_BYTES)
    return {"id": key.key_id, "sealed": (nonce + AESGCM(seal).encrypt(nonce, key.secret, key.key_id.encode())).hex()}


def derive_for_deployment(model_key: bytes, purpose: str, environment: str, deployment_name: str) -> bytes:
    """A key of a deployment for another purpose: 32 bytes.

    Args:
        model_key: the 32 bytes of the key that encrypts artifacts.
        purpose: such as `decision-log`.
        environment: of the deployment.
        deployment_name: of the deployment.
    """
    return _derived(model_key, purpose, environment, deployment_name)


def _open(seal: bytes, entry: Mapping[str, object]) -> ReceiptKey | None:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key_id = str(entry.get("id"))
    try:
        sealed = bytes.fromhex(str(entry.get("sealed")))
        secret = AESGCM(seal).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], key_id.encode())
    except (InvalidTag, ValueError):
        return None
    key = ReceiptKey.of(secret)
    return key if key.key_id == key_id else None


def _derived(model_key: bytes, purpose: str, environment: str, deployment_name: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    info = f"{_LABEL}/{purpose}\0{environment}\0{deployment_name}".encode()
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=info).derive(model_key)
