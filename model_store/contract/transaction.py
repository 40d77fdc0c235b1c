"""One transaction against a model's contract: each value checked and put in the model's order.

The service checks requests with it, and `score` the rows of a file: both refuse the same rows for the same reasons.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from model_store.contract.features import ANY, Feature
from model_store.contract.own import gap_value

_SHOWN_CHARACTERS = 80


class InvalidTransaction(Exception):
    """A transaction does not fit the contract.

    Args:
        code: such as `missing_feature`.
        message: one sentence.
        field: where, such as `transactions[2].amount`; None when it is not about a field.
    """

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


def read_transaction(transaction: Any, path: str, features: Sequence[Feature]) -> tuple[Any, ...]:
    """A transaction as a row of the model.

    Args:
        transaction: values of JSON by the features' names; None or no such name is a gap.
        path: of the transaction, for messages, such as `transactions[2]`; empty where features alone are named.
        features: of the contract, in the order of the row.

    Raises:
        InvalidTransaction: a feature is missing, unknown, or of another kind; names it.
    """
    if not isinstance(transaction, dict):
        raise InvalidTransaction("invalid_transaction", f"{path} is not an object of features", path)
    row, prefix = [], f"{path}." if path else ""
    for feature in features:
        value = transaction.get(feature.name)
        where = f"{prefix}{feature.name}"
        if value is None and not feature.gaps and feature.name not in transaction:
            raise InvalidTransaction("missing_feature", f"{path} has no feature {feature.name!r}", where)
        row.append(check_value(feature, value, where))
    if len(transaction) == len(features) and all(feature.name in transaction for feature in features):
        return tuple(row)
    names = {feature.name for feature in features}
    for name in transaction:
        if name not in names:
            unknown = _shown(name)
            raise InvalidTransaction(
                "unknown_feature", f"{path} has an unknown feature {unknown!r}", f"{prefix}{unknown}"
            )
    return tuple(row)


def check_value(feature: Feature, value: Any, where: str) -> Any:
    """A value as the model takes it.

    Args:
        feature: whose value it is.
        value: of JSON; None is a gap.
        where: names the value in messages.

    Raises:
        InvalidTransaction: the value is of another kind, not finite, a gap or a category that the model does not take.
    """
    if value is None:
        if not feature.gaps:
            raise InvalidTransaction(_expected(feature)[0], f"{where} is null; the model takes no gaps there", where)
        return gap_value(feature)
    if type(value) is float and feature.kind == "number" and math.isfinite(value):
        return value
    return _value(feature, value, where)


def _expected(feature: Feature) -> tuple[str, str]:
    """Code and words for a value of another kind."""
    if feature.is_numeric:
        return "not_a_number", "is not a number"
    if feature.kind == "boolean":
        return "not_a_boolean", "is neither true nor false"
    if feature.kind == "time":
        return "not_a_time", "is not a time as in 2026-10-09T14:00:00Z (RFC 3339)"
    return "not_a_text", "is not a text"


def _value(feature: Feature, value: Any, where: str) -> Any:
    if feature.dtype == ANY and isinstance(value, str | bool):
        return value
    code, words = _expected(feature)
    if feature.is_numeric:
        found: Any = _number(feature, value, where)
    elif feature.kind == "boolean":
        if isinstance(value, bool):
            found = value
        elif isinstance(value, int | float) and value in (0, 1):
            found = bool(value)
        else:
            raise InvalidTransaction(code, f"{where} {words}", where)
    elif not isinstance(value, str) or (feature.kind == "time" and not is_time(value)):
        raise InvalidTransaction(code, f"{where} {words}", where)
    else:
        found = value
    if (
        _refuses_others(feature)
        and found not in feature.categories
        and (feature.written is None or found != feature.written)
    ):
        known = ", ".join(str(each) for each in feature.categories[:8])
        more = ", …" if len(feature.categories) > len(feature.categories[:8]) else ""
        shown = _shown(str(value))
        raise InvalidTransaction("unknown_category", f"{where} is {shown!r}; the model knows {known}{more}", where)
    return found


def _number(feature: Feature, value: Any, where: str) -> Any:
    # Booleans are numbers to Python; to a model they are a caller's mistake, unless it knows 0 and 1 alone.
    zero_and_one = (feature.minimum, feature.maximum) == (0, 1) or set(feature.categories) == {0, 1}
    if isinstance(value, bool) and zero_and_one:
        return float(value)
    if isinstance(value, bool):
        way_out = "send 1 or 0, or register the version with --sample, which tells true and false"
        raise InvalidTransaction("not_a_number", f"{where} is not a number; {way_out}", where)
    if not isinstance(value, int | float):
        raise InvalidTransaction("not_a_number", f"{where} is not a number", where)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidTransaction("not_finite", f"{where} is not a finite number", where)
    # Whole numbers stay whole where a library tells them apart past 64-bit floats.
    return value if feature.kind in ("integer", "category") else number


def allowed_categories(feature: Feature) -> frozenset[Any] | None:
    """The categories, where the model refuses all others; None where it takes any."""
    if _refuses_others(feature):
        # What a gap is written as may be sent as it is.
        return frozenset((*feature.categories, *(() if feature.written is None else (feature.written,))))
    return None


def _refuses_others(feature: Feature) -> bool:
    return feature.kind == "category" and feature.unknown == "refused"


def is_time(text: str) -> bool:
    """Whether a text is a time (RFC 3339)."""
    try:
        return datetime.fromisoformat(text.upper()) is not None
    except ValueError:
        return False


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
