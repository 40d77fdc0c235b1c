"""The parts of a decision log: Parquet files by day, named by the decisions that they hold.

    day=2026-11-27/9b20f6621c97-0000000000-00000003e7.parquet      process, first and last number of an answer
    feedback/day=2026-11-27/9b20f6621c97-00000003e7-0.json         what a decision of that day turned out to be
    keys/2026-11-27.json                                           what opens the features of that day

A receipt has the process, the number of the answer and the time, so it names the one part that holds its decision.
"""

import io
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from conventions.regular_files import parse_json
from model_store.decisions.log_store import LogStore
from model_store.decisions.receipts import Receipt
from model_store.errors import KeyUnwrap, ModelNotFound, UnreadableModel

_KEY_BYTES, _NONCE_BYTES = 32, 12
_ROWS_AT_ONCE = 500
"""Rows that are put together without a pause: other threads of the process go on in between."""
COLUMNS = (
    "receipt",
    "time",
    "model_id",
    "threshold",
    "fraud_probability",
    "is_fraud",
    "overridden",
    "request_id",
    "api_key",
    "features",
)


class LoggedAnswer(NamedTuple):
    """The decisions of one answer, as they wait to be written."""

    at: float
    """Unix time."""
    answer: int
    """Its number in the process."""
    request_id: str
    api_key: str
    """Name of the key that asked."""
    scores: Sequence[float]
    decided: Sequence[bool]
    overridden: bool
    receipts: Sequence[str]
    rows: Sequence[Sequence[Any]]
    """The features of each transaction; empty where they are not logged."""


def day_of(seconds: float) -> str:
    """The day of a Unix time, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def part_key(day: str, process: str, first: int, last: int) -> str:
    """The key of a part."""
    return f"day={day}/{process}-{first:010x}-{last:010x}.parquet"


def feedback_key(receipt: Receipt) -> str:
    """The key of what a decision turned out to be."""
    return f"feedback/day={day_of(receipt.seconds)}/{receipt.decision_id}.json"


def holds(key: str, receipt: Receipt) -> bool:
    """Whether a part may hold the decision of a receipt."""
    name = key.rpartition("/")[2].removesuffix(".parquet")
    process, _, numbers = name.partition("-")
    first, _, last = numbers.partition("-")
    try:
        return process == receipt.process and int(first, 16) <= receipt.answer <= int(last, 16)
    except ValueError:
        return False


def read_object(store: LogStore, key: str) -> dict[str, Any]:
    """The JSON object at a key.

    Raises:
        StorageFailed: it cannot be read.
        ModelNotFound: there is none.
        UnreadableModel: it is damaged; names it.
    """
    try:
        found = parse_json(store.get(key))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UnreadableModel(f"{key}: damaged, not a JSON object; restore it from a backup, or remove it")
    return found


class FeatureKeys:
    """The keys of the features, one a day; to destroy a day's key is to erase the features of that day.

    Args:
        store: of the log.
        seal: the deployment's own key, which seals them.
    """

    def __init__(self, store: LogStore, seal: bytes) -> None:
        self._store, self._seal = store, seal
        self._known: dict[str, bytes | None] = {}

    def for_writing(self, day: str) -> bytes | None:
        """The key of a day, made on first use; None where it was destroyed.

        Raises:
            StorageFailed: it cannot be read or written.
            KeyUnwrap: it was sealed under another key.
            UnreadableModel: it is damaged.
        """
        if day not in self._known:
            key = secrets.token_bytes(_KEY_BYTES)
            made = self._store.put_if_absent(_key_of(day), self._sealed(day, key))
            self._known = {day: key if made else self.for_reading(day)}
        return self._known[day]

    def for_reading(self, day: str) -> bytes | None:
        """The key of a day; None where there is none, or where it was destroyed.

        Raises:
            StorageFailed: it cannot be read.
            KeyUnwrap: it was sealed under another key.
            UnreadableModel: it is damaged.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            content = read_object(self._store, _key_of(day))
        except ModelNotFound:
            return None
        if "sealed" not in content:
            return None
        try:
            sealed = bytes.fromhex(str(content["sealed"]))
        except ValueError:
            sealed = b""
        if len(sealed) <= _NONCE_BYTES:
            raise UnreadableModel(
                f"{_key_of(day)}: damaged; restore it from a backup, or erase the features of the day"
            )
        try:
            return AESGCM(self._seal).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], day.encode())
        except InvalidTag:
            raise KeyUnwrap(
                f"the features of {day} were sealed under another key of the model; name that one with --model-key"
            ) from None

    def destroy(self, day: str) -> bool:
        """Destroys the key of a day for good, with its former versions; false where there was none.

        Raises:
            StorageFailed: it cannot be destroyed.
        """
        try:
            had_one = "sealed" in read_object(self._store, _key_of(day))
        except ModelNotFound:
            had_one = False
        except UnreadableModel:
            had_one = True
        self._store.remove(_key_of(day))
        erased = {"erased": datetime.now(UTC).isoformat(timespec="seconds")}
        self._store.put(_key_of(day), json.dumps(erased).encode())
        return had_one

    def _sealed(self, day: str, key: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(_NONCE_BYTES)
        return json.dumps({"sealed": (nonce + AESGCM(self._seal).encrypt(nonce, key, day.encode())).hex()}).encode()


def seal_features(key: bytes, receipt: str, names: Sequence[str], row: Sequence[Any]) -> bytes:
    """The features of one decision, encrypted; bound to its receipt."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE_BYTES)
    plain = json.dumps(dict(zip(names, row, strict=True)), default=str).encode()
    return nonce + AESGCM(key).encrypt(nonce, plain, receipt.encode())


def open_features(key: bytes, receipt: str, sealed: bytes) -> dict[str, Any]:
    """The features of one decision.

    Raises:
        KeyUnwrap: the key does not open them, or they are another decision's.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        plain = AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], receipt.encode())
    except (InvalidTag, ValueError):
        raise KeyUnwrap("the key of the day does not open these features") from None
    found: dict[str, Any] = json.loads(plain)
    return found


def write_part(
    answers: Sequence[LoggedAnswer], model_id: str, threshold: float, seal: "Mapping[str, Any] | None" = None
) -> bytes:
    """The content of a part.

    Args:
        answers: of one day.
        model_id: the version that decided.
        threshold: from which on a transaction is fraud.
        seal: `key` and `names` for features; None for none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("receipt", pa.string()),
            ("time", pa.timestamp("ms", tz="UTC")),
            ("model_id", pa.string()),
            ("threshold", pa.float64()),
            ("fraud_probability", pa.float64()),
            ("is_fraud", pa.bool_()),
            ("overridden", pa.bool_()),
            ("request_id", pa.string()),
            ("api_key", pa.string()),
            ("features", pa.binary()),
        ]
    )
    file = io.BytesIO()
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in _batches(answers):
            writer.write_table(pa.table(_columns(batch, model_id, threshold, seal), schema=schema))
    return file.getvalue()


def _batches(answers: Sequence[LoggedAnswer]) -> list[list[LoggedAnswer]]:
    found: list[list[LoggedAnswer]] = [[]]
    rows = 0
    for each in answers:
        if rows >= _ROWS_AT_ONCE:
            found.append([])
            rows = 0
        found[-1].append(each)
        rows += len(each.scores)
    return found


def _columns(
    answers: Sequence[LoggedAnswer], model_id: str, threshold: float, seal: "Mapping[str, Any] | None"
) -> dict[str, list[Any]]:
    counts = [len(each.scores) for each in answers]
    total = sum(counts)

    def repeated(values: list[Any]) -> list[Any]:
        return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]

    receipts = [receipt for each in answers for receipt in each.receipts]
    features: list[bytes | None] = [None] * total
    if seal is not None:
        sealed = partial(seal_features, seal["key"])
        rows = [row for each in answers for row in each.rows]
        features = [sealed(receipt, seal["names"], row) for receipt, row in zip(receipts, rows, strict=True)]
    return {
        "receipt": receipts,
        "time": repeated([int(each.at * 1000) for each in answers]),
        "model_id": [model_id] * total,
        "threshold": [threshold] * total,
        "fraud_probability": [float(score) for each in answers for score in each.scores],
        "is_fraud": [bool(decided) for each in answers for decided in each.decided],
        "overridden": repeated([each.overridden for each in answers]),
        "request_id": repeated([each.request_id for each in answers]),
        "api_key": repeated([each.api_key for each in answers]),
        "features": features,
    }


def _key_of(day: str) -> str:
    return f"keys/{day}.json"
