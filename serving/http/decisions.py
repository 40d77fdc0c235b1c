"""From scores to the body of an answer: decisions at the threshold, and a receipt of each."""

import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import msgspec

from model_store.contract.own import is_fraud
from model_store.decisions.log_parts import LoggedAnswer
from model_store.decisions.override import Override
from model_store.decisions.receipts import FRAUD, OVERRIDDEN
from serving.errors import SettingsError
from serving.http.messages import OverrideShown, Prediction, Predictions
from serving.http.receipts import model_key
from serving.observability.decision_log import DecisionLog

if TYPE_CHECKING:
    from serving.http.auth import ApiKey
    from serving.http.state import ServiceState

_encode = msgspec.json.Encoder().encode
_now = time.time


class Decider:
    """Makes the answers of one model version.

    Args:
        state: of the service.
    """

    def __init__(self, state: "ServiceState") -> None:
        self._state = state
        self._model_id, self._threshold = state.model.metadata.model_id, state.model.threshold
        self._model_decides = state.model.contract.decides == "model"
        signer = state.receipts.signer
        self._log = state.decision_log
        self._sign = None if signer is None else signer.sign
        plain = signer is not None and self._log is None and not self._model_decides
        self._sign_one = signer.sign_one if signer is not None and plain else None
        """For answers of one row that nothing else is done with."""

    def answer(
        self, scores: Sequence[float], request_id: str, key: "ApiKey | None", rows: Sequence[Any]
    ) -> tuple[bytes, int]:
        """The body of the answer, and how many of the transactions are fraud.

        Args:
            scores: of the transactions, in their order.
            request_id: of the request.
            key: that asked.
            rows: the transactions.
        """
        threshold, now = self._threshold, _now()
        override = self._state.override
        if override is not None and now < override.until:
            return self._overridden(override, now, scores, request_id, key, rows)
        if self._sign_one is not None and len(scores) == 1:
            score = scores[0]
            fraud = score >= threshold
            prediction = Prediction(score, fraud, self._sign_one(now, score, fraud))
            return _encode(Predictions(self._model_id, threshold, request_id, [prediction])), int(fraud)
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
            number, receipts = self._sign(now, scores, decided)
            if self._log is not None:
                self._log_answer(now, number, request_id, key, scores, decided, receipts, rows)
            predictions = list(map(Prediction, scores, decided, receipts))
        return _encode(Predictions(self._model_id, threshold, request_id, predictions)), sum(decided)

    def _log_answer(
        self,
        now: float,
        number: int,
        request_id: str,
        key: "ApiKey | None",
        scores: Sequence[float],
        decided: Sequence[bool],
        receipts: Sequence[str],
        rows: Sequence[Any],
        *,
        overridden: bool = False,
    ) -> None:
        log = self._log
        assert log is not None  # noqa: S101 - the caller has looked
        name = "" if key is None else key.name
        kept = rows if log.keeps_features else ()
        log.add(LoggedAnswer(now, number, request_id, name, scores, decided, overridden, receipts, kept))

    def _overridden(
        self,
        override: Override,
        now: float,
        scores: Sequence[float],
        request_id: str,
        key: "ApiKey | None",
        rows: Sequence[Any],
    ) -> tuple[bytes, int]:
        """The answer with the decision of an override; the probabilities are the model's."""
        scores = [float(score) for score in scores]
        count, fraud = len(scores), override.is_fraud
        receipts: Sequence[Any] = [msgspec.UNSET] * count
        if self._sign is not None:
            number, receipts = self._sign(now, scores, [OVERRIDDEN | (FRAUD if fraud else 0)] * count)
            if self._log is not None:
                decided = [fraud] * count
                self._log_answer(now, number, request_id, key, scores, decided, receipts, rows, overridden=True)
        predictions = list(map(Prediction, scores, [fraud] * count, receipts))
        self._state.metrics.overridden(override.answer, count)
        shown = OverrideShown(override.answer, override.ends)
        answer = Predictions(self._model_id, self._threshold, request_id, predictions, shown)
        return _encode(answer), count if fraud else 0


def open_decision_log(state: "ServiceState") -> DecisionLog | None:
    """The decision log that the settings name; None where they name none.

    Raises:
        SettingsError: the service has no key, so its decisions have no names.
    """
    settings, model = state.settings, state.model
    if not settings.decision_log:
        return None
    key, signer = model_key(settings), state.receipts.signer
    if key is None or signer is None:
        raise SettingsError("DECISION_LOG: decisions are named by receipts, which need the key in MODEL_KEY_FILE")
    if find_spec("pyarrow") is None:
        raise SettingsError("DECISION_LOG: the package pyarrow is not installed; it writes the log")
    names = [feature.name for feature in model.contract.features]
    return DecisionLog(settings, key, signer.process, model.threshold, names, state.metrics.logged)
