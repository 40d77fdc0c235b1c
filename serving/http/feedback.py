"""Feedback: what became of decisions. An item counts for the version that its receipt names, and once."""

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from conventions import metric_names
from model_store.decisions.receipts import Receipt
from model_store.errors import ReceiptRefused
from serving.http.messages import FeedbackTaken
from serving.http.refused import Refused
from serving.http.repeats import ProcessRepeats, SharedRepeats
from serving.inference.transactions import InvalidRequest, Outcome, parse_feedback

if TYPE_CHECKING:
    from serving.http.state import ServiceState

_encode = msgspec.json.Encoder().encode


class _Named(NamedTuple):
    """An item whose receipt is genuine."""

    receipt: Receipt
    was_fraud: bool


class FeedbackTaker:
    """Takes the feedback of one service.

    Args:
        state: of the service.
        shared: finds repeats over all replicas; None: each process for itself.
    """

    def __init__(self, state: "ServiceState", shared: SharedRepeats | None = None) -> None:
        self._state, self._metrics = state, state.metrics
        self._policy, self._most = state.settings.unverified_feedback, state.settings.max_batch
        self._own, self._shared = ProcessRepeats(), shared

    def take(self, body: bytes, request_id: str) -> bytes | Awaitable[bytes]:
        """Counts the items of a body; the answer.

        Raises:
            Refused: 422, an item does not fit or its receipt is not genuine; names it, and no item is counted.
        """
        try:
            items = parse_feedback(body, self._most)
        except InvalidRequest as error:
            raise Refused(422, error.code, str(error), where=error.field) from None
        named, bare = self._read(items)
        ids = [each.receipt.decision_id for each in named]
        if self._shared is None or not named:
            return self._counted(named, self._own.claim(ids), bare, request_id)
        return self._counted_later(self._shared, named, bare, request_id)

    async def _counted_later(
        self, shared: SharedRepeats, named: list[_Named], bare: list[Outcome], request_id: str
    ) -> bytes:
        ids = [each.receipt.decision_id for each in named]
        new = self._own.claim(ids)
        asked = [(each.receipt, each.was_fraud) for each, is_new in zip(named, new, strict=True) if is_new]
        told = await shared.claim(asked) if asked else []
        if told is not None:
            among_all = iter(told)
            new = [is_new and next(among_all) for is_new in new]
        return self._counted(named, new, bare, request_id)

    def _read(self, items: Sequence[Outcome]) -> tuple[list[_Named], list[Outcome]]:
        """The items with genuine receipts, and those without receipts."""
        named, bare = [], []
        first: tuple[ReceiptRefused, str] | None = None
        for number, item in enumerate(items):
            if item.receipt is msgspec.UNSET:
                bare.append(item)
                continue
            try:
                receipt = self._state.receipts.read(item.receipt)
                _require_agreement(item, receipt)
                named.append(_Named(receipt, item.was_fraud))
            except ReceiptRefused as error:
                self._metrics.feedback_items(error.code)
                first = first or (error, f"items[{number}].receipt")
        if first is None and bare and self._policy == "refuse":
            number = next(number for number, item in enumerate(items) if item.receipt is msgspec.UNSET)
            self._metrics.feedback_items("receipt_missing", len(bare))
            first = ReceiptRefused("receipt_missing", "feedback has to name a receipt here"), f"items[{number}]"
        if first is not None:
            refusal, where = first
            message = f"{where}: {refusal}; nothing of this request was counted"
            raise Refused(422, refusal.code, message, where=where)
        return named, bare

    def _counted(self, named: Sequence[_Named], new: Sequence[bool], bare: Sequence[Outcome], request_id: str) -> bytes:
        by_version: dict[str, list[tuple[bool, bool]]] = {}
        overridden = 0
        for (receipt, was_fraud), is_new in zip(named, new, strict=True):
            if not is_new:
                continue
            if receipt.overridden:
                overridden += 1
            else:
                by_version.setdefault(receipt.model_id, []).append((receipt.is_fraud, was_fraud))
        for model_id, outcomes in by_version.items():
            self._metrics.feedback(outcomes, model_id)
        if self._policy == "count":
            self._metrics.feedback([(bool(item.predicted_fraud), item.was_fraud) for item in bare])
        repeated = len(new) - sum(new)
        for what, count in (
            (metric_names.VERIFIED, sum(map(len, by_version.values()))),
            (metric_names.OVERRIDDEN_ITEMS, overridden),
            (metric_names.REPEATED, repeated),
            (metric_names.UNVERIFIED, len(bare)),
        ):
            self._metrics.feedback_items(what, count)
        taken = len(named) - repeated + len(bare)
        return _encode(FeedbackTaken(request_id, taken, repeated=repeated, unverified=len(bare)))


def _require_agreement(item: Outcome, receipt: Receipt) -> None:
    """Raises ReceiptRefused where an item says another decision than its receipt."""
    if item.predicted_fraud is not msgspec.UNSET and item.predicted_fraud != receipt.is_fraud:
        raise ReceiptRefused("receipt_contradicted", "predicted_fraud is not what the receipt says")
