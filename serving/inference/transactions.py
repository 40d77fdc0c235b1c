"""The body of a prediction request: read, checked against the model's contract, and put in the model's order."""

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec

from model_store.contract.features import ANY, Feature
from model_store.contract.own import gap_value
from model_store.contract.transaction import InvalidTransaction, allowed_categories, is_time, read_transaction

_Decode = Callable[[bytes], Any]
_Whole = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""`parse_rows` looks at larger ones: most are numbers all the same, one of 400 digits is none."""
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_UNSET = msgspec.UNSET
_astuple = msgspec.structs.astuple
_Finish = Callable[[tuple[Any, ...]], tuple[Any, ...] | None]


class Outcome(msgspec.Struct, forbid_unknown_fields=True):
    """One item of feedback: the decision, by its receipt, and what it turned out to be."""

    was_fraud: bool
    receipt: str | msgspec.UnsetType = msgspec.UNSET
    """Of the decision; the item then counts for the version that decided."""
    predicted_fraud: bool | msgspec.UnsetType = msgspec.UNSET
    """What the service decided; needed without a receipt."""


class InvalidRequest(InvalidTransaction):
    """The request's body is not what it may be; its field is None for the whole body."""


class TransactionReader:
    """Reads bodies of one model as typed structures, which takes a microsecond.

    A body that does not fit is read again by `parse_rows`, which says why.

    Args:
        features: what each transaction has, in the order of the rows.
        max_batch: how many transactions are allowed.
    """

    def __init__(self, features: Sequence[Feature], max_batch: int) -> None:
        self._features, self._max_batch = tuple(features), max_batch
        self._checks = any(_is_checked(each) for each in self._features)
        self._finish = _finisher(self._features)
        with_nulls, without = _decoder(self._features, nulls=True), _decoder(self._features, nulls=False)
        self._decode, self._decode_otherwise = without or _refuse, with_nulls or _refuse
        self._nulls = False
        """Whether the last body had gaps as null: the next one probably has some too, and is read as such at once."""

    def rows(self, body: bytes) -> list[Any]:
        """The transactions of a body as rows.

        Raises:
            InvalidRequest: as `parse_rows`.
        """
        found = self._typed_rows(body)
        return parse_rows(body, self._features, self._max_batch) if found is None else found

    def _typed_rows(self, body: bytes) -> list[Any] | None:
        try:
            content = self._decode(body)
        except _UNREADABLE:
            try:
                content = self._decode_otherwise(body)
            except _UNREADABLE:
                return None
            self._nulls = not self._nulls
            self._decode, self._decode_otherwise = self._decode_otherwise, self._decode
        if self._nulls and b"null" not in body:
            self._nulls = False
            self._decode, self._decode_otherwise = self._decode_otherwise, self._decode
        one, many = content.transaction, content.transactions
        if many is _UNSET and one is not _UNSET:
            rows = [_astuple(one)]
        elif one is _UNSET and many is not _UNSET and 1 <= len(many) <= self._max_batch:
            rows = list(map(_astuple, many))
        else:
            return None
        finish = self._finish
        if finish is None or not (self._checks or self._nulls):
            return rows
        finished = [finish(row) for row in rows]
        return None if any(row is None for row in finished) else finished


def _refuse(_body: bytes) -> Any:
    """Reads the bodies of a model that no structure describes."""
    raise msgspec.ValidationError("no structure")


def _decoder(features: Sequence[Feature], *, nulls: bool) -> _Decode | None:
    """Reads a body as structures; None when a feature's name cannot be a field's.

    Args:
        features: what each transaction has.
        nulls: whether a gap may be written as null; if not, it is a missing key, which the structure fills.
    """
    field_names = [f"f{number}" for number in range(len(features))]
    fields: list[tuple[str, Any, Any]] = [
        (
            field_name,
            _json_type(each) | None if nulls else _json_type(each),
            None if _is_checked(each) else gap_value(each),
        )
        if each.gaps
        else (field_name, _json_type(each), msgspec.NODEFAULT)
        for field_name, each in zip(field_names, features, strict=True)
    ]
    try:
        transaction: Any = msgspec.defstruct(
            "Transaction",
            fields,
            rename=dict(zip(field_names, (each.name for each in features), strict=True)),
            forbid_unknown_fields=True,
            kw_only=True,
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
        return msgspec.json.Decoder(body).decode
    except ValueError:
        # Quotes, backslashes and control characters, which the structures do not take.
        return None


def _json_type(feature: Feature) -> Any:
    if feature.dtype == ANY:
        return float | str | bool
    if feature.kind == "integer" or (feature.kind == "category" and feature.is_numeric):
        return _Whole | float
    if feature.kind == "number":
        return float
    if feature.kind == "boolean":
        return bool
    return str


def _is_checked(feature: Feature) -> bool:
    """Whether a value of the right JSON type may still be refused; a gap is filled after that look."""
    return feature.kind == "time" or allowed_categories(feature) is not None


def _finisher(features: Sequence[Feature]) -> _Finish | None:
    """Puts gaps as the model takes them; returns None for a row that `parse_rows` has to refuse."""
    gaps = tuple(gap_value(each) for each in features)
    fills = any(gap is not None and each.gaps for gap, each in zip(gaps, features, strict=True))
    checks = [
        (number, allowed_categories(each))
        for number, each in enumerate(features)
        if allowed_categories(each) is not None
    ]
    times = [number for number, each in enumerate(features) if each.kind == "time"]
    if not (fills or checks or times):
        return None

    def finish(row: tuple[Any, ...]) -> tuple[Any, ...] | None:
        for number, allowed in checks:
            if row[number] not in allowed and row[number] is not None:  # type: ignore[operator]
                return None
        for number in times:
            if row[number] is not None and not is_time(row[number]):
                return None
        if fills and None in row:
            return tuple([gap if value is None else value for value, gap in zip(row, gaps, strict=True)])
        return row

    return finish


def parse_rows(body: bytes, features: Sequence[Feature], max_batch: int) -> list[tuple[Any, ...]]:
    """The transactions of a body as rows.

    Args:
        body: `{"transaction": {…}}` or `{"transactions": [{…}, …]}`, JSON.
        features: what each transaction has, in the order of the rows.
        max_batch: how many transactions are allowed.

    Raises:
        InvalidRequest: malformed JSON, or a missing or unknown feature, or one of another kind; names it.
    """
    content = _json_object(body)
    if set(content) == {"transaction"}:
        return [_row(content["transaction"], "transaction", features)]
    if set(content) != {"transactions"}:
        raise InvalidRequest("invalid_body", 'the body has to have one field, "transaction" or "transactions"')
    transactions = content["transactions"]
    if not isinstance(transactions, list) or not 1 <= len(transactions) <= max_batch:
        raise InvalidRequest("invalid_batch", f"transactions has to be a list of 1 to {max_batch}", "transactions")
    return [_row(item, f"transactions[{number}]", features) for number, item in enumerate(transactions)]


def parse_feedback(body: bytes, max_batch: int) -> list[Outcome]:
    """The items of a body, each a decision and what it turned out to be.

    Args:
        body: `{"items": [{"receipt": "r1.…", "was_fraud": false}, …]}`, JSON; in place of the receipt an item may have
            `predicted_fraud`, or both.
        max_batch: how many items are allowed.

    Raises:
        InvalidRequest: malformed JSON, or an item with other fields or values; names it.
    """
    content = _json_object(body)
    items = content.get("items")
    if set(content) != {"items"} or not isinstance(items, list) or not 1 <= len(items) <= max_batch:
        raise InvalidRequest("invalid_body", f'the body has to have one field, "items", a list of 1 to {max_batch}')
    return [_outcome(item, f"items[{number}]") for number, item in enumerate(items)]


def _outcome(item: Any, path: str) -> Outcome:
    if not isinstance(item, dict) or not {"was_fraud"} < set(item) <= set(Outcome.__struct_fields__):
        raise InvalidRequest("invalid_item", f"{path} has to have the fields receipt and was_fraud", path)
    for name in ("predicted_fraud", "was_fraud"):
        if name in item and not isinstance(item[name], bool):
            raise InvalidRequest("not_a_boolean", f"{path}.{name} is neither true nor false", f"{path}.{name}")
    return Outcome(**item)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        # Of its own accord json reads UTF-16 and UTF-32 too; a mark of the byte order may stand before UTF-8.
        content = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise InvalidRequest("malformed_json", "the body is not JSON") from None
    if not isinstance(content, dict):
        raise InvalidRequest("invalid_body", "the body is not a JSON object")
    return content


def _row(transaction: Any, path: str, features: Sequence[Feature]) -> tuple[Any, ...]:
    try:
        return read_transaction(transaction, path, features)
    except InvalidTransaction as error:
        raise InvalidRequest(error.code, str(error), error.field) from None
