"""Rows of files: read in parts, and checked as the service checks the same values in JSON."""

import bz2
import csv
import gzip
import json
import lzma
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest

from model_store.contract.contract import Contract
from model_store.contract.features import Feature
from model_store.contract.table_rows import GAPS, TableRows
from model_store.contract.tables import PART_ROWS, open_table
from model_store.errors import FileMissing, InvalidInput
from serving.inference.transactions import InvalidRequest, TransactionReader

FEATURES = (
    Feature("amount"),
    Feature("count", kind="integer", gaps=True),
    Feature("flag", kind="boolean", gaps=True),
    Feature("kind", kind="category", categories=("card", "NA"), unknown="refused", gaps=True, dtype="object"),
    Feature("note", kind="text", gaps=True),
    Feature("at", kind="time", gaps=True),
)
CONTRACT = Contract("binary", "predict_proba", (0, 1), 1, 0.5, "default", True, FEATURES)
HEADER = "amount,count,flag,kind,note,at\n"


def _read(path: Path, contract: Contract = CONTRACT) -> tuple[list[tuple[Any, ...]], dict[int, str]]:
    """All rows that are taken, and by line why the others are not."""
    found, refused = [], {}
    with open_table(path) as table:
        rows = TableRows(contract, table)
        for part in table.parts():
            taken, _, why = rows.checked(part)
            found += taken
            refused |= {part.lines[position]: reason for position, reason in why.items()}
    return found, refused


def _csv(directory: Path, content: str) -> Path:
    path = directory / "rows.csv"
    path.write_text(content, newline="")
    return path


def _same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)


TEXTS = [
    "1.5,2,true,card,hello,2026-10-09T14:00:00Z",
    "0.1,,,,,",
    "1e308,9007199254740993,0,NA,NA,2026-10-09",
    '-0,-3,FALSE,card,"a, ""b""\nc",2026-10-09 14:00:00',
    "12345678901234567890,3.0,1,card,5,",
    "x,1,true,card,n,",
    "inf,1,true,card,n,",
    "1_000,1,true,card,n,",
    ",1,true,card,n,",
    "1,1.5,maybe,card,n,",
    "1,1,true,wire,n,",
    "1,1,true,card,n,yesterday",
    "true,1,true,card,n,",
]
JSON = [
    {"amount": 1.5, "count": 2, "flag": True, "kind": "card", "note": "hello", "at": "2026-10-09T14:00:00Z"},
    {"amount": 0.1},
    {"amount": 1e308, "count": 9007199254740993, "flag": 0, "kind": "NA", "at": "2026-10-09"},
    {"amount": 0, "count": -3, "flag": False, "kind": "card", "note": 'a, "b"\nc', "at": "2026-10-09 14:00:00"},
    {"amount": 12345678901234567890, "count": 3.0, "flag": 1, "kind": "card", "note": "5"},
    {"amount": "x", "count": 1, "flag": True, "kind": "card", "note": "n"},
    {"amount": math.inf, "count": 1, "flag": True, "kind": "card", "note": "n"},
    {"amount": "1_000", "count": 1, "flag": True, "kind": "card", "note": "n"},
    {"amount": None, "count": 1, "flag": True, "kind": "card", "note": "n"},
    {"amount": 1, "count": 1.5, "flag": "maybe", "kind": "card", "note": "n"},
    {"amount": 1, "count": 1, "flag": True, "kind": "wire", "note": "n"},
    {"amount": 1, "count": 1, "flag": True, "kind": "card", "note": "n", "at": "yesterday"},
    {"amount": True, "count": 1, "flag": True, "kind": "card", "note": "n"},
]


@pytest.mark.parametrize(("text", "transaction"), list(zip(TEXTS, JSON, strict=True)))
def test_a_line_is_taken_or_refused_as_the_service_does_the_same_transaction(
    text: str, transaction: dict[str, Any], tmp_path: Path
) -> None:
    found, refused = _read(_csv(tmp_path, f"{HEADER}{text}\n"))
    body = json.dumps({"transaction": transaction}).encode()
    if not refused:
        expected = TransactionReader(FEATURES, 1).rows(body)
        assert _same([tuple(row) for row in found], [tuple(row) for row in expected])
        return
    with pytest.raises(InvalidRequest) as refusal:
        TransactionReader(FEATURES, 1).rows(body)
    assert found == []
    assert refused == {2: str(refusal.value).replace("transaction.", "")}


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    frame = pandas.DataFrame(
        {
            "amount": [1.5, 2.0],
            "count": pandas.array([9007199254740993, None], dtype="Int64"),
            "flag": pandas.array([True, None], dtype="boolean"),
            "kind": pandas.Categorical(["card", None]),
            "note": ["5", None],
            "at": pandas.to_datetime(["2026-10-09T14:00:00Z", None]),
        }
    )
    frame.to_parquet(path := tmp_path / "rows.parquet")
    found, refused = _read(path)
    assert refused == {}
    assert found[0] == (1.5, 9007199254740993, True, "card", "5", "2026-10-09T14:00:00+00:00")
    assert _same(found[1], (2.0, math.nan, None, None, None, None))


def test_a_parquet_row_of_another_kind_is_refused_by_number(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"amount": [1.0, math.nan, math.inf], "note": ["a", "b", "c"]})
    for name in ("count", "flag", "kind", "at"):
        frame[name] = None
    frame.to_parquet(path := tmp_path / "rows.parquet")
    found, refused = _read(path)
    assert len(found) == 1
    assert refused == {
        2: "amount is null; the model takes no gaps there",
        3: "amount is not a finite number",
    }


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    content = f'{HEADER}1,,,,"two\nlines",\n\nx,,,,,\n1,2,3\n1,,,,,,,\r\n2,,,,,\n'
    found, refused = _read(_csv(tmp_path, "\ufeff" + content))
    assert [row[0] for row in found] == [1.0, 2.0]
    assert refused == {
        5: "amount is not a number",
        6: "has 3 fields, the first line has 6",
        7: "has 8 fields, the first line has 6",
    }


def test_every_part_counts(tmp_path: Path) -> None:
    count = 2 * PART_ROWS + 1
    found, refused = _read(_csv(tmp_path, HEADER + "".join(f"{number},,,,,\n" for number in range(count))))
    assert [row[0] for row in found] == list(range(count))
    assert refused == {}


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_a_compressed_file_is_read(suffix: str, pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / f"rows.csv{suffix}"
    path.write_bytes(pack(f"{HEADER}1,,,,,\n".encode()))
    assert len(_read(path)[0]) == 1
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InvalidInput, match="cannot be read"):
        _read(path)


def test_a_model_without_names_takes_the_columns_in_their_order(tmp_path: Path) -> None:
    features = (Feature("feature_0"), Feature("feature_1"))
    contract = Contract("binary", "predict_proba", (0, 1), 1, 0.5, "default", False, features)
    assert _read(_csv(tmp_path, "a,b\n1,2\n"), contract)[0] == [(1.0, 2.0)]
    with pytest.raises(InvalidInput, match="has no column 'feature_0'"):
        _read(_csv(tmp_path, "a,b,c\n1,2,3\n"), contract)


def test_a_gap_that_is_written_as_infinite_may_be_in_a_file(tmp_path: Path) -> None:
    contract = Contract(
        "binary", "predict_proba", (0, 1), 1, 0.5, "default", True, (Feature("a", gaps=True, written=math.inf),)
    )
    assert _read(_csv(tmp_path, "a\ninf\n1\n"), contract)[0] == [(math.inf,), (1.0,)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no rows"),
        (HEADER.encode(), "holds no rows"),
        (b"amount,amount\n1,2\n", "two columns of the name 'amount'"),
        (b"amount,count\n1,2\n", "has no column 'flag', which the model takes"),
        (HEADER.encode() + b'1,,,,"open\n', "cannot be read"),
        (HEADER.encode() + b"1,,,,\xff,\n", "is not UTF-8 text"),
        (HEADER.encode() + b"1,,,," + b"x" * 200_000 + b",\n", "cannot be read"),
        (HEADER.encode() + b"1" * (1 << 21), "line 2 has more than 1048576 characters"),
    ],
)
def test_a_damaged_table_is_refused_in_one_line(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=words) as refusal:
        _read(path)
    assert "\n" not in str(refusal.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    for name, content in (
        ("rows.txt", b"a"),
        ("rows.gz", b"a"),
        ("rows.parquet", b"PAR1 not"),
        ("rows.csv.gz", b"a,b"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidInput, match=name):
            _read(tmp_path / name)
    with pytest.raises(FileMissing):
        _read(tmp_path / "missing.csv")
    (tmp_path / "directory.csv").mkdir()
    with pytest.raises(InvalidInput, match="cannot be read"):
        _read(tmp_path / "directory.csv")


def test_gaps_are_the_texts_that_pandas_itself_reads_as_one(tmp_path: Path) -> None:
    file = tmp_path / "gaps.csv"
    others = ["none", "NAN", "-", "missing", "Null", "0", " "]
    with file.open("w", newline="") as target:
        csv.writer(target).writerows([["text", "number"], *([each, 1] for each in [*sorted(GAPS), *others])])
    read = pandas.read_csv(file)["text"].isna().tolist()
    assert read == [True] * len(GAPS) + [False] * len(others)
