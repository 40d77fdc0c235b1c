"""Looks decisions up in a decision log: by receipt, or by time."""

import io
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

from model_store.decisions.log_parts import FeatureKeys, day_of, feedback_key, holds, open_features, read_object
from model_store.decisions.log_store import LogStore
from model_store.decisions.receipts import Receipt, parse_receipt
from model_store.errors import ModelNotFound, ReceiptRefused, UnreadableModel

_PLAIN = ("receipt", "time", "model_id", "threshold", "fraud_probability", "is_fraud", "overridden", "request_id",
          "api_key")  # fmt: skip


_KINDS = {"receipt": "string", "time": "timestamp[ms, tz=UTC]", "is_fraud": "bool", "features": "binary"}
"""Of columns that are worked with."""


class DecisionLogReader:
    """Reads one decision log; several processes may write it meanwhile.

    Args:
        store: of the log.
        keys: open the features; None: features are not read.
    """

    def __init__(self, store: LogStore, keys: FeatureKeys | None = None) -> None:
        self._store, self._keys = store, keys

    def find(self, receipt: Receipt) -> dict[str, Any] | None:
        """The decision of a receipt, with what it turned out to be; None where the log does not have it.

        Raises:
            StorageFailed: the log cannot be read.
            UnreadableModel: a part, a key or feedback is damaged; names it.
            KeyUnwrap: the features were sealed under another key.
        """
        day = day_of(receipt.seconds)
        for key in self._store.names(f"day={day}/{receipt.process}-"):
            if holds(key, receipt):
                for row in self._rows(key, day):
                    if row["receipt"] == receipt.text:
                        return {**row, "was_fraud": self._outcome(receipt)}
        return None

    def between(self, since: datetime, until: datetime) -> Iterator[dict[str, Any]]:
        """The decisions from a time on and before another one; sorted by time within each part.

        Raises:
            As for `find`.
        """
        first, last = since.date(), until.date()
        for day in self._store.days():
            if not first <= _date(day) <= last:
                continue
            judged = {name.rpartition("/")[2] for name in self._store.names(f"feedback/day={day}/")}
            for key in self._store.names(f"day={day}/"):
                if not key.endswith(".parquet"):
                    continue
                for row in self._rows(key, day):
                    if since <= row["time"] < until:
                        receipt = parse_receipt(row["receipt"])
                        known = f"{receipt.decision_id}.json" in judged
                        yield {**row, "was_fraud": self._outcome(receipt) if known else None}

    def remove_before(self, day: date) -> int:
        """Removes the parts, keys and feedback of all days before one; returns how many objects.

        Raises:
            StorageFailed: one cannot be removed.
        """
        removed = 0
        for prefix in ("day=", "feedback/day=", "keys/"):
            for name in self._store.names(prefix):
                if _date(name.removeprefix(prefix).removesuffix(".json")) < day:
                    keys = [name] if name.endswith(".json") else self._store.names(f"{name}/")
                    for key in keys:
                        self._store.remove(key)
                    removed += len(keys)
        return removed

    def _rows(self, key: str, day: str) -> Iterator[dict[str, Any]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = list(_PLAIN) if self._keys is None else [*_PLAIN, "features"]
        opened = None if self._keys is None else self._keys.for_reading(day)
        try:
            part = pq.ParquetFile(io.BytesIO(self._store.get(key)))
            _require_part(part.schema_arrow)
            for batch in part.iter_batches(columns=columns):
                for row in batch.to_pylist():
                    parse_receipt(row["receipt"])
                    if self._keys is not None:
                        sealed = row["features"]
                        known = opened is not None and sealed is not None
                        row["features"] = open_features(opened, row["receipt"], sealed) if known and opened else None
                    yield row
        except (pa.ArrowException, OSError, ReceiptRefused) as error:
            raise UnreadableModel(f"{key}: not a part of a decision log ({error})") from None

    def _outcome(self, receipt: Receipt) -> bool | None:
        try:
            was_fraud = read_object(self._store, feedback_key(receipt)).get("was_fraud")
        except ModelNotFound:
            return None
        if not isinstance(was_fraud, bool):
            raise UnreadableModel(f"{feedback_key(receipt)}: damaged; restore it from a backup, or remove it")
        return was_fraud


def _require_part(schema: Any) -> None:
    """Raises ArrowInvalid unless a file has the columns of a part."""
    import pyarrow as pa

    kinds = {field.name: str(field.type) for field in schema}
    wrong = [name for name, kind in _KINDS.items() if kinds.get(name) != kind]
    if wrong:
        raise pa.ArrowInvalid(f"its column {wrong[0]} is {kinds.get(wrong[0], 'missing')}")


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return date.max
