"""From scores to the body of an answer: decisions at the threshold, and a receipt of each."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from model_store.contract.own import is_fraud
from serving.http.messages import Prediction, Predictions

if TYPE_CHECKING:
    from serving.http.state import ServiceState

_encode = msgspec.json.Encoder().encode
_now = time.time


class Decider:
    """Makes the answers of one model version.

    Args:
        state: of the service.
    """

    def __init__(self, state: "ServiceState") -> None:
        self._model_id, self._threshold = state.model.metadata.model_id, state.model.threshold
        self._model_decides = state.model.contract.decides == "model"
        signer = state.receipts.signer
        self._sign = None if signer is None else signer.sign

    def answer(self, scores: Sequence[float], request_id: str) -> tuple[bytes, int]:
        """The body of the answer, and how many of the transactions are fraud.

        Args:
            scores: of the transactions, in their order.
            request_id: of the request.
        """
        threshold = self._threshold
        if self._model_decides:
            # Such scores are more than floats: they hold the decision.
            decided = [is_fraud(score, threshold) for score in scores]
            scores = [float(score) for score in scores]
        else:
            decided = [score >= threshold for score in scores]
        if self._sign is None:
            predictions = list(map(Prediction, scores, decided))
        else:
            # A decision for fraud is true, which is the flag 1 of a receipt.
            _, receipts = self._sign(_now(), scores, decided)
            predictions = list(map(Prediction, scores, decided, receipts))
        return _encode(Predictions(self._model_id, threshold, request_id, predictions)), sum(decided)
