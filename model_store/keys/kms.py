"""Keys in AWS KMS: the file key is wrapped and unwrapped by KMS; the wrapping key never leaves it.

The slot is bound to the artifact by KMS's encryption context: model id, model name and message id, so that KMS's own
log says which model a key was used for, and an IAM policy can allow one model only.
"""

import json
from typing import Any

from model_store.errors import KeyUnwrap
from model_store.keys.slot import KeySlot


class KmsKey:
    """A symmetric KMS key.

    Args:
        key_arn: the key's ARN.
        client: a boto3 KMS client; made from the environment when not given.
    """

    slot_type = "aws-kms"

    def __init__(self, key_arn: str, client: Any = None) -> None:
        self._key_arn = key_arn
        self._given_client = client

    @property
    def key_id(self) -> str:
        """The key's ARN."""
        return self._key_arn

    def __repr__(self) -> str:
        return f"KmsKey({self._key_arn})"

    def wrap(self, file_key: bytes, context: bytes) -> KeySlot:
        """Has KMS wrap a file key.

        Raises:
            KeyUnwrap: KMS refuses, or cannot be reached; says what KMS said.
        """
        answer = self._ask("encrypt", Plaintext=file_key, EncryptionContext=_encryption_context(context))
        return KeySlot(self.slot_type, self.key_id, bytes(answer["CiphertextBlob"]).hex())

    def unwrap(self, slot: KeySlot, context: bytes) -> bytes:
        """Has KMS unwrap a file key.

        Raises:
            KeyUnwrap: KMS refuses, or cannot be reached; says what KMS said.
        """
        wrapped = bytes.fromhex(slot.wrapped)
        answer = self._ask("decrypt", CiphertextBlob=wrapped, EncryptionContext=_encryption_context(context))
        return bytes(answer["Plaintext"])

    def _ask(self, operation: str, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._client(), operation)(KeyId=self._key_arn, **arguments)
        except ClientError as error:
            reason = error.response.get("Error", {}).get("Code", "refused")
            raise KeyUnwrap(f"KMS key {self._key_arn}: {operation} was refused ({reason})") from None
        except BotoCoreError as error:
            raise KeyUnwrap(f"KMS key {self._key_arn}: {operation} failed ({error})") from None

    def _client(self) -> Any:
        if self._given_client is None:
            import boto3

            self._given_client = boto3.client("kms")
        return self._given_client


def _encryption_context(context: bytes) -> dict[str, str]:
    """KMS's context of texts from the slot's canonical JSON."""
    fields = json.loads(context)
    return {**fields["context"], "message_id": fields["message_id"]}
