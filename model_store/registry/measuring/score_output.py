"""Writes a table's rows with their answers, part by part, to a file that is there whole or not at all."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from model_store.errors import InvalidInput
from model_store.storage.atomic_file import atomic_write

if TYPE_CHECKING:
    from model_store.contract.tables import Part, Table

ANSWER_COLUMNS = ("fraud_probability", "predicted_fraud", "refused")
"""Stand after the columns that are copied."""
Write = Callable[["Part", Sequence[float | None], Sequence[bool | None], Mapping[int, str]], None]
"""Takes a part, its scores, its decisions, and why rows are refused, by position."""


@contextmanager
def open_output(path: Path, table: "Table", kept: Sequence[str]) -> Iterator[Write]:
    """Opens a CSV or Parquet file for the rows of a table.

    Args:
        path: ends in `.csv` or `.parquet`.
        table: whose rows are written.
        kept: columns of the table that are copied.

    Raises:
        InvalidInput: the path ends in something else.
        StorageFailed: the file cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise InvalidInput(f"{path}: allowed: a .csv or .parquet file")
    if kind == ".csv":
        with atomic_write(path) as file:
            text = TextIOWrapper(file, "utf-8", newline="")
            yield _csv_writer(text, kept)
            text.detach()
    else:
        with atomic_write(path) as file, _parquet_writer(file, table, kept) as write:
            yield write


def _csv_writer(file: TextIOWrapper, kept: Sequence[str]) -> Write:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*kept, *ANSWER_COLUMNS])

    def write(
        part: "Part", scores: Sequence[float | None], decisions: Sequence[bool | None], refused: Mapping[int, str]
    ) -> None:
        answers = [
            [_text(score) for score in scores],
            [_text(decision) for decision in decisions],
            [refused.get(position, "") for position in range(len(scores))],
        ]
        columns = [part.column(name) for name in kept]
        if part.batch is not None:
            columns = [[_text(value) for value in column] for column in columns]
        writer.writerows(zip(*columns, *answers, strict=True))

    return write


def _text(value: Any) -> str:
    """A value as its text; the shortest that is read as the same number."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(float(value) if isinstance(value, float) else value)


@contextmanager
def _parquet_writer(file: BinaryIO, table: "Table", kept: Sequence[str]) -> Iterator[Write]:
    import pyarrow
    from pyarrow import parquet

    fields = [pyarrow.field(name, pyarrow.string()) if table.as_texts else table.schema.field(name) for name in kept]
    types = (pyarrow.float64(), pyarrow.bool_(), pyarrow.string())
    answers = [pyarrow.field(name, of) for name, of in zip(ANSWER_COLUMNS, types, strict=True)]
    schema = pyarrow.schema([*fields, *answers])
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:

        def write(
            part: "Part", scores: Sequence[float | None], decisions: Sequence[bool | None], refused: Mapping[int, str]
        ) -> None:
            copied = [
                pyarrow.array(part.column(name), pyarrow.string()) if part.batch is None else part.batch.column(name)
                for name in kept
            ]
            reasons = [refused.get(position) for position in range(len(scores))]
            added = [
                pyarrow.array(values, of)
                for values, of in zip(([*map(_plain, scores)], decisions, reasons), types, strict=True)
            ]
            writer.write_batch(pyarrow.RecordBatch.from_arrays([*copied, *added], schema=schema))

        yield write


def _plain(score: float | None) -> float | None:
    return None if score is None else float(score)
