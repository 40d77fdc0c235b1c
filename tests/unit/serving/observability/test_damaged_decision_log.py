"""A decision log that somebody has damaged: what is wrong is named, and nothing else."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model_store.decisions.log_parts import FeatureKeys, LoggedAnswer, day_of, feedback_key, part_key, write_part
from model_store.decisions.log_reader import DecisionLogReader
from model_store.decisions.log_store import open_log
from model_store.decisions.receipt_keys import ReceiptKey
from model_store.decisions.receipts import Receipt, ReceiptSigner, parse_receipt
from model_store.errors import KeyUnwrap, UnreadableModel

DAMAGED = [b"", b"{", b"[]", b"null", b"[" * 100_000, b"\xff\xfe\x00", b'{"was_fraud": "no", "sealed": 5}',
           b'{"sealed": "zz"}', b'{"sealed": "00"}', b'{"was_fraud": true, "was_fraud": false}']  # fmt: skip


class Log:
    """A log of one decision with features and feedback."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, open_log(str(root))
        self.keys = FeatureKeys(self.store, b"s" * 32)
        signer = ReceiptSigner(ReceiptKey.derive(b"k" * 32, "development", "d"), "fraud_XGBoost_20261009_123456")
        now = time.time()
        self.day = day_of(now)
        number, receipts = signer.sign(now, [0.5], [True])
        self.receipt: Receipt = parse_receipt(receipts[0])
        answer = LoggedAnswer(now, number, "id", "key", [0.5], [True], False, receipts, [["\ud800", 10**50]])
        seal = {"key": self.keys.for_writing(self.day), "names": ["note", "amount"]}
        self.part = root / part_key(self.day, signer.process, number, number)
        self.store.put(str(self.part.relative_to(root)), write_part([answer], "m", 0.5, seal))
        self.feedback, self.key = root / feedback_key(self.receipt), root / f"keys/{self.day}.json"
        self.store.put_if_absent(feedback_key(self.receipt), b'{"was_fraud": true}')

    def looks(self) -> list[Callable[[], Any]]:
        """Each way to look at the decision; a new reader each time, which remembers nothing."""
        day = timedelta(days=1)
        since, until = datetime.now(UTC) - day, datetime.now(UTC) + day
        keys = FeatureKeys(self.store, b"s" * 32)
        return [
            lambda: DecisionLogReader(self.store, keys).find(self.receipt),
            lambda: list(DecisionLogReader(self.store, keys).between(since, until)),
        ]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


@pytest.mark.parametrize("content", DAMAGED)
def test_feedback_or_a_key_that_is_damaged_is_named(log: Log, content: bytes) -> None:
    for file in (log.feedback, log.key):
        if file == log.key and b"sealed" not in content and b"{" in content and content != b"{":
            continue
        whole = file.read_bytes()
        file.write_bytes(content)
        for look in log.looks():
            with pytest.raises(UnreadableModel, match=f"^{file.relative_to(log.root)}: damaged"):
                look()
        file.write_bytes(whole)
    assert [bool(look()) for look in log.looks()] == [True, True]


def test_the_features_of_a_day_whose_key_is_damaged_can_be_erased(log: Log) -> None:
    log.key.write_bytes(b"{")
    assert log.keys.destroy(log.day)
    assert log.looks()[0]()["features"] is None


def test_a_part_with_other_columns_or_values_is_named(log: Log) -> None:
    table = pq.read_table(log.part)
    features = table.schema.get_field_index("features")
    for other in (
        pa.table({"x": [1]}),
        table.drop_columns(["features"]),
        table.set_column(0, "receipt", pa.array(["r1"])),
        table.set_column(0, "receipt", pa.array([None], pa.string())),
        table.set_column(1, "time", pa.array(["now"])),
        table.set_column(features, "features", pa.array([b"xx"])),
    ):
        pq.write_table(other, log.part)
        for look in log.looks():
            with pytest.raises((UnreadableModel, KeyUnwrap)):
                look()


def test_other_files_are_left_aside(log: Log) -> None:
    for name in ("day=zzz", f"day={log.day}x", f"day={log.day}/more"):
        (log.root / name).mkdir()
    (log.part.parent / "README").write_text("of somebody else")
    (log.root / "keys" / "README").write_text("of somebody else")
    assert len(log.looks()[1]()) == 1
    assert DecisionLogReader(log.store).remove_before(date(2020, 1, 1)) == 0
