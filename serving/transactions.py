"""The body of a prediction request: read, checked against the model's features, and put in their order."""

import json
import math
from collections.abc import Sequence
from typing import Any

import msgspec

_SHOWN_CHARACTERS = 80
_AROUND_BYTES, _NUMBER_BYTES = 64, 32
FEEDBACK_FIELDS = ("predicted_fraud", "was_fraud")
"""Of each item of feedback: what the service decided, and what it turned out to be."""


class InvalidRequest(Exception):
    """The request's body is not what it may be.

    Args:
        code: such as `missing_feature`.
        message: one sentence.
        field: where, such as `transactions[2].amount`; None for the whole body.
    """

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class TransactionReader:
    """Reads bodies of one model as typed structures, which takes a microsecond.

    A body that does not fit is read again by `parse_rows`, which says why.

    Args:
        feature_names: what each transaction has to have, in the order of the rows.
        max_batch: how many transactions are allowed.
    """

    def __init__(self, feature_names: Sequence[str], max_batch: int) -> None:
        self._names, self._max_batch = tuple(feature_names), max_batch
        self.one_row_bytes = _AROUND_BYTES + sum(len(json.dumps(name)) + _NUMBER_BYTES for name in self._names)
        """A body with one transaction, written without needless spaces and digits, is no longer than this."""
        places = [f"f{number}" for number in range(len(self._names))]
        transaction: Any = msgspec.defstruct(
            "Transaction",
            [(place, float) for place in places],
            rename=dict(zip(places, self._names, strict=True)),
            forbid_unknown_fields=True,
            gc=False,
        )
        body: Any = msgspec.defstruct(
            "Body",
            [
                ("transaction", transaction | msgspec.UnsetType, msgspec.UNSET),
                ("transactions", list[transaction] | msgspec.UnsetType, msgspec.UNSET),
            ],
            forbid_unknown_fields=True,
            gc=False,
        )
        self._decode = msgspec.json.Decoder(body).decode

    def one_row(self, body: bytes) -> Any:
        """The row of a body with one transaction and nothing wrong; None for any other body."""
        try:
            content = self._decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        if content.transactions is not msgspec.UNSET or content.transaction is msgspec.UNSET:
            return None
        return msgspec.structs.astuple(content.transaction)

    def rows(self, body: bytes) -> list[Any]:
        """The transactions of a body as rows of finite numbers.

        Raises:
            InvalidRequest: as `parse_rows`.
        """
        try:
            content = self._decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return parse_rows(body, self._names, self._max_batch)
        one, many = content.transaction, content.transactions
        if many is msgspec.UNSET and one is not msgspec.UNSET:
            return [msgspec.structs.astuple(one)]
        if one is msgspec.UNSET and many is not msgspec.UNSET and 1 <= len(many) <= self._max_batch:
            return [msgspec.structs.astuple(item) for item in many]
        return parse_rows(body, self._names, self._max_batch)


def parse_rows(body: bytes, feature_names: Sequence[str], max_batch: int) -> list[list[float]]:
    """The transactions of a body as rows of numbers.

    Args:
        body: `{"transaction": {…}}` or `{"transactions": [{…}, …]}`, JSON.
        feature_names: what each transaction has to have, in the order of the rows.
        max_batch: how many transactions are allowed.

    Raises:
        InvalidRequest: malformed JSON, or a missing, unknown, non-numeric or non-finite feature; names it.
    """
    content = _json_object(body)
    if set(content) == {"transaction"}:
        return [_row(content["transaction"], "transaction", feature_names)]
    if set(content) != {"transactions"}:
        raise InvalidRequest("invalid_body", 'the body has to have one field, "transaction" or "transactions"')
    transactions = content["transactions"]
    if not isinstance(transactions, list) or not 1 <= len(transactions) <= max_batch:
        raise InvalidRequest("invalid_batch", f"transactions has to be a list of 1 to {max_batch}", "transactions")
    return [_row(item, f"transactions[{number}]", feature_names) for number, item in enumerate(transactions)]


def parse_feedback(body: bytes, max_batch: int) -> list[tuple[bool, bool]]:
    """What was decided and what it turned out to be, for each item of a body.

    Args:
        body: `{"items": [{"predicted_fraud": true, "was_fraud": false}, …]}`, JSON.
        max_batch: how many items are allowed.

    Raises:
        InvalidRequest: malformed JSON, or an item with other fields or values; names it.
    """
    content = _json_object(body)
    items = content.get("items")
    if set(content) != {"items"} or not isinstance(items, list) or not 1 <= len(items) <= max_batch:
        raise InvalidRequest("invalid_body", f'the body has to have one field, "items", a list of 1 to {max_batch}')
    return [_outcome(item, f"items[{number}]") for number, item in enumerate(items)]


def _outcome(item: Any, place: str) -> tuple[bool, bool]:
    if not isinstance(item, dict) or set(item) != set(FEEDBACK_FIELDS):
        raise InvalidRequest("invalid_item", f"{place} has to have the fields {' and '.join(FEEDBACK_FIELDS)}", place)
    for name in FEEDBACK_FIELDS:
        if not isinstance(item[name], bool):
            raise InvalidRequest("not_a_boolean", f"{place}.{name} is neither true nor false", f"{place}.{name}")
    return item[FEEDBACK_FIELDS[0]], item[FEEDBACK_FIELDS[1]]


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequest("malformed_json", "the body is not JSON") from None
    if not isinstance(content, dict):
        raise InvalidRequest("invalid_body", "the body is not a JSON object")
    return content


def _row(transaction: Any, place: str, feature_names: Sequence[str]) -> list[float]:
    if not isinstance(transaction, dict):
        raise InvalidRequest("invalid_transaction", f"{place} is not an object of features", place)
    row = []
    for name in feature_names:
        if name not in transaction:
            raise InvalidRequest("missing_feature", f"{place} has no feature {name!r}", f"{place}.{name}")
        row.append(_number(transaction[name], f"{place}.{name}"))
    if len(transaction) != len(feature_names):
        unknown = _shown(next(name for name in transaction if name not in feature_names))
        raise InvalidRequest("unknown_feature", f"{place} has an unknown feature {unknown!r}", f"{place}.{unknown}")
    return row


def _number(value: Any, place: str) -> float:
    # Booleans are numbers to Python; to a model they are a caller's mistake.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest("not_a_number", f"{place} is not a number", place)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidRequest("not_finite", f"{place} is not a finite number", place)
    return number


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
