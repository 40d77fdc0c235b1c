"""Tables that are shown as HTML and can be taken along as CSV and JSON, by the same address with `format=`."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from console.values import cell

FORMATS = ("csv", "json")
MOST_DIGITS = 9


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    """The field of a row; the heading of the column in CSV."""
    title: str
    """The heading on the page."""
    kind: str = "text"
    """How the page shows it: `text`, `id`, `time`, `number`, `version`, `deployment`, `environment` or `size`."""
    sort: str = ""
    """The field that the page sorts by; empty: it does not."""


@dataclass(frozen=True)
class Table:
    """Rows of one kind."""

    name: str
    """Of the file, such as `versions`."""
    columns: tuple[Column, ...]
    rows: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    """As the page shows them."""
    whole: Sequence[Mapping[str, Any]] | None = None
    """Every row, where the page shows a part of them; as `rows` when not given."""
    empty: str = "nothing"

    @property
    def all_rows(self) -> Sequence[Mapping[str, Any]]:
        """Every row."""
        return self.rows if self.whole is None else self.whole

    def csv(self) -> str:
        """The table as CSV with a heading; no cell is a formula."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\r\n")
        writer.writerow([column.name for column in self.columns])
        writer.writerows([cell(row.get(column.name)) for column in self.columns] for row in self.all_rows)
        return buffer.getvalue()

    def json(self) -> str:
        """The rows as a JSON list; with every field that they have."""
        return json.dumps([dict(row) for row in self.all_rows], indent=1, default=str)


class Rows(Sequence[Mapping[str, Any]]):
    """Many rows, each made when it is asked for.

    Args:
        items: what the rows are of.
        make: makes one row.
    """

    def __init__(self, items: Sequence[Any], make: Callable[[Any], Mapping[str, Any]]) -> None:
        self._items, self._make = items, make

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, at: Any) -> Any:
        return [self._make(each) for each in self._items[at]] if isinstance(at, slice) else self._make(self._items[at])


def number_in(request: Request, name: str, default: int) -> int:
    """A number from 1 on in the address of a page; the default where there is none, or a text."""
    text = request.query_params.get(name, "")
    return max(1, int(text)) if text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS else default


def as_file(request: Request, *tables: Table) -> Response | None:
    """The table that the address asks for as a file: `format=csv` or `json`, `table=` where a page has several.

    Args:
        request: of the page.
        *tables: of the page; the first one is meant where none is named.
    """
    wanted = request.query_params.get("format", "")
    if wanted not in FORMATS or not tables:
        return None
    named = request.query_params.get("table", tables[0].name)
    table = next((each for each in tables if each.name == named), tables[0])
    text, kind = (table.csv(), "text/csv; charset=utf-8") if wanted == "csv" else (table.json(), "application/json")
    headers = {"Content-Disposition": f'attachment; filename="{table.name}.{wanted}"'}
    return Response(text, media_type=kind, headers=headers)
