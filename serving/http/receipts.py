"""The receipts of the service: signed for each answer, and read again with the feedback that names them."""

import os
from collections.abc import Mapping, Sequence

from model_store.decisions.receipt_keys import ReceiptKeys
from model_store.decisions.receipts import Receipt, ReceiptSigner, read_receipt
from model_store.keys.keyring import KEY_VARIABLE, decode_key, read_key_file
from serving.observability.logs import service_log
from serving.settings import ServingSettings

_DAY_SECONDS = 86400.0


class Receipts:
    """Signs and reads receipts with the deployment's key, which is derived from the key of the model.

    Args:
        settings: of the service.
        former: sealed keys of before, as the file of API keys has them.

    Raises:
        KeyFileUnsafe: the key cannot be read, or others can.
    """

    def __init__(self, settings: ServingSettings, former: Sequence[Mapping[str, object]] = ()) -> None:
        self._settings = settings
        self._model_key = model_key(settings)
        self._keys = ReceiptKeys()
        self.take_former(former)
        signing = self._keys.signing
        self.signer = None if signing is None else ReceiptSigner(signing, settings.model_id)
        """None where the service has no key: answers then have no receipts."""
        if signing is None:
            service_log.warning("the service has no key, so its answers have no receipts: name one in MODEL_KEY_FILE")

    def take_former(self, former: Sequence[Mapping[str, object]]) -> None:
        """Reads receipts of these sealed keys from now on, beside those of the present key."""
        if self._model_key is not None:
            settings = self._settings
            self._keys = ReceiptKeys.of_deployment(
                self._model_key, settings.environment, settings.deployment_name, former
            )

    def read(self, text: object) -> Receipt:
        """The decision that a receipt names.

        Raises:
            ReceiptRefused: it is not genuine, or older than feedback may be.
        """
        return read_receipt(text, self._keys, most_seconds=self._settings.feedback_days * _DAY_SECONDS)


def model_key(settings: ServingSettings) -> bytes | None:
    """The key of the model's artifact; None where the service has none, or one of KMS only.

    Raises:
        KeyFileUnsafe: the key cannot be read, or others can.
    """
    if settings.model_key_file is not None:
        return read_key_file(settings.model_key_file)
    text = os.environ.get(KEY_VARIABLE)
    return decode_key(text) if text else None
