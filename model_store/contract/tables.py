"""Reads CSV and Parquet files in parts, so that memory does not grow with the file.

with open_table(Path("transactions.csv")) as table:
    for part in table.parts():
        part.lines, part.column("amount")
"""

import bz2
import csv
import gzip
import lzma
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO

from conventions.regular_files import open_regular
from model_store.errors import FileMissing, InvalidInput

PART_ROWS = 4096
_MOST_LINE_CHARACTERS = 1 << 20
_OPENERS: Mapping[str, Callable[[BinaryIO], Any]] = {
    ".csv": lambda file: file,
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
ALLOWED = ".csv, .csv.gz, .csv.bz2, .csv.xz and .parquet files"


@dataclass(frozen=True)
class Part:
    """Some rows of a table.

    Attributes:
        names: of the columns.
        lines: where each row stands: its line in a CSV file, whose header is line 1; in a Parquet file its number.
        columns: the values of each column; texts in a CSV file.
        faults: by the row's position in this part, why the row itself cannot be read.
        batch: the same rows as Arrow has them; None for a CSV file.
    """

    names: Sequence[str]
    lines: Sequence[int]
    columns: Sequence[Sequence[Any]]
    faults: Mapping[int, str] = field(default_factory=dict)
    batch: Any = None

    def column(self, name: str) -> Sequence[Any]:
        """The values of a column."""
        return self.columns[self.names.index(name)]


class Table:
    """An open table.

    Args:
        path: the file, for messages.
        names: of its columns.
        as_texts: whether every value is a text, as in a CSV file.
        read: gives the parts; of the columns named, or of all.
        progress: how much has been read, and of how much, in bytes or rows.
        schema: of Arrow; None for a CSV file.
    """

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        read: "Callable[[Sequence[str]], Iterator[Part]]",
        progress: Callable[[], tuple[int, int]],
        schema: Any = None,
    ) -> None:
        self.path, self.names, self.progress, self.schema = path, tuple(names), progress, schema
        self._read = read
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise InvalidInput(f"{path}: has two columns of the name {twice[0]!r}; rename one of them")

    @property
    def as_texts(self) -> bool:
        """Whether every value is a text, as in a CSV file."""
        return self.schema is None

    def parts(self, names: Collection[str] | None = None) -> Iterator[Part]:
        """The rows, from first to last.

        Args:
            names: of the columns that are needed; None for all.

        Raises:
            InvalidInput: the file is damaged, or has no rows.
        """
        rows = 0
        wanted = self.names if names is None else [each for each in self.names if each in names]
        with _readable(self.path):
            for part in self._read(wanted):
                rows += len(part.lines)
                yield part
        if not rows:
            raise InvalidInput(f"{self.path}: holds no rows")


@contextmanager
def open_table(path: Path) -> Iterator[Table]:
    """Opens a CSV file (UTF-8, commas, names in the first line; also compressed), or a Parquet file.

    Raises:
        FileMissing: there is no such file.
        InvalidInput: it is a file of another kind, is damaged, or has two columns of one name.
    """
    suffixes = [each.lower() for each in path.suffixes]
    kind = suffixes[-1] if suffixes else ""
    parquet = kind in (".parquet", ".pq")
    if not parquet and (kind not in _OPENERS or ".csv" not in suffixes):
        raise InvalidInput(f"{path}: not a table; allowed: {ALLOWED}")
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_regular(path))
        except FileNotFoundError:
            raise FileMissing(f"{path}: there is no such file") from None
        except OSError as error:
            raise InvalidInput(f"{path}: cannot be read ({error.strerror or error})") from None
        with _readable(path):
            table = _open_parquet(path, file) if parquet else _open_csv(path, file, _OPENERS[kind], path.stat().st_size)
        yield table


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raises InvalidInput for whatever a damaged file makes its reader raise."""
    from pyarrow import ArrowException

    try:
        yield
    except UnicodeDecodeError:
        raise InvalidInput(f"{path}: is not UTF-8 text") from None
    except (csv.Error, EOFError, OSError, lzma.LZMAError, ArrowException) as error:
        raise InvalidInput(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})") from None


def _open_csv(path: Path, file: BinaryIO, opener: Callable[[BinaryIO], Any], size: int) -> Table:
    text = TextIOWrapper(opener(file), "utf-8-sig", newline="")
    reader = csv.reader(_lines(text, path), strict=True)
    names = next((row for row in reader if row), [])
    if not names:
        raise InvalidInput(f"{path}: holds no rows")

    def read(wanted: Sequence[str]) -> Iterator[Part]:
        kept = [names.index(each) for each in wanted]
        rows: list[list[str]] = []
        lines: list[int] = []
        faults: dict[int, str] = {}
        line = reader.line_num + 1
        for row in reader:
            if row:
                if len(row) != len(names):
                    faults[len(rows)] = f"has {len(row)} fields, the first line has {len(names)}"
                    row = (row + [""] * len(names))[: len(names)]
                rows.append(row)
                lines.append(line)
            line = reader.line_num + 1
            if len(rows) == PART_ROWS:
                yield _part_of_texts(wanted, kept, lines, rows, faults)
                rows, lines, faults = [], [], {}
        if rows:
            yield _part_of_texts(wanted, kept, lines, rows, faults)

    # Refers to `text`, which closes the file once nothing refers to it.
    return Table(path, names, read, lambda: (size if text.closed else min(file.tell(), size), size))


def _part_of_texts(
    wanted: Sequence[str], kept: Sequence[int], lines: list[int], rows: list[list[str]], faults: dict[int, str]
) -> Part:
    columns = list(zip(*rows, strict=True))
    return Part(wanted, lines, [columns[number] for number in kept], faults)


def _lines(file: TextIOWrapper, path: Path) -> Iterator[str]:
    number = 0
    while line := file.readline(_MOST_LINE_CHARACTERS):
        number += 1
        if len(line) == _MOST_LINE_CHARACTERS:
            raise InvalidInput(f"{path}: line {number} has more than {_MOST_LINE_CHARACTERS} characters")
        yield line


def _open_parquet(path: Path, file: BinaryIO) -> Table:
    from pyarrow import parquet

    opened = parquet.ParquetFile(file)
    total = opened.metadata.num_rows
    done = 0

    def read(wanted: Sequence[str]) -> Iterator[Part]:
        nonlocal done
        for batch in opened.iter_batches(PART_ROWS, columns=list(wanted)):
            columns = [_plain(column.to_pylist()) for column in batch.columns]
            lines = range(done + 1, done + batch.num_rows + 1)
            done += batch.num_rows
            yield Part(batch.schema.names, lines, columns, batch=batch)

    return Table(path, opened.schema_arrow.names, read, lambda: (done, total), opened.schema_arrow)


def _plain(values: list[Any]) -> list[Any]:
    """Values as JSON has them: times as texts, NaN as None."""
    found = []
    for value in values:
        if hasattr(value, "isoformat"):
            found.append(value.isoformat())
        elif type(value).__name__ == "Decimal":
            found.append(float(value))
        else:
            found.append(None if isinstance(value, float) and math.isnan(value) else value)
    return found
