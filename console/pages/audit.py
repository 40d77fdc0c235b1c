"""The audit log: filters, export, and from where to where it is proven."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from console.audit_view import row_of
from console.pages.environments import parse_when
from console.state import Console, console_of
from console.tables import FORMATS, MOST_DIGITS, Column, Table, number_in
from console.templating import page
from console.values import cell
from model_store.errors import ModelNotFound

_COLUMNS = (
    Column("sequence", "no.", "audit"),
    Column("at", "when", "time"),
    Column("actor", "who"),
    Column("action", "what", "status"),
    Column("model_id", "version", "version"),
    Column("environment", "environment"),
    Column("outcome", "outcome"),
    Column("reason", "why"),
    Column("through", "through"),
)
_FILTERS = ("actor", "action", "model_id", "environment", "since", "until")


def audit(request: Request) -> Response:
    """The records, newest first, and the state of the chain."""
    console = console_of(request)
    given = {name: request.query_params.get(name, "").strip() for name in _FILTERS}
    asked, problem = filters_of(given)
    if not problem and (wanted := request.query_params.get("format", "")) in FORMATS:
        return _export(console, wanted, asked)
    last = console.audit.last()
    before = min(number_in(request, "before", last + 1), last + 1)
    records, following = ([], 0) if problem else console.audit.search(asked, before)
    return page(
        request,
        "audit.html",
        title="Audit",
        table=Table("audit", _COLUMNS, [row_of(each) for each in records], empty="no records"),
        asked=given,
        problem=problem,
        last=last,
        following=following,
        proof=console.audit.proof,
    )


def filters_of(given: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """The filters with times as records have them, and why a time is none; a day is meant from its begin to its end."""
    asked, ends = dict(given), {"since": time.min, "until": time.max}
    for name, end in ends.items():
        moment, problem = parse_when(given[name])
        if problem:
            return asked, problem
        if moment is not None:
            whole = moment if isinstance(moment, datetime) else datetime.combine(moment, end, UTC)
            asked[name] = whole.isoformat(timespec="seconds").replace("+00:00", "Z")
    return asked, ""


def record(request: Request) -> Response:
    """One record, as it is stored."""
    number = request.path_params["number"]
    if not (number.isascii() and number.isdecimal() and len(number) <= MOST_DIGITS):
        raise ModelNotFound("there is no such record")
    found = console_of(request).audit.record(int(number))
    return page(request, "record.html", title=f"Audit record {found.sequence}", record=found, row=row_of(found))


def prove(request: Request) -> Response:
    """Proves the log, and shows how far it is proven."""
    return page(request, "part_proof.html", proof=console_of(request).audit.prove())


def _export(console: Console, kind: str, asked: Mapping[str, str]) -> Response:
    """Every record that fits, oldest first, sent as it is read; JSON has one object a line."""

    def lines() -> Iterator[str]:
        if kind == "csv":
            yield _line([column.name for column in _COLUMNS])
        for found in console.audit.whole(asked):
            if kind == "csv":
                row = row_of(found)
                yield _line([cell(row.get(column.name)) for column in _COLUMNS])
            else:
                yield json.dumps(found.to_dict(), sort_keys=True) + "\n"

    media, name = ("text/csv; charset=utf-8", "audit.csv") if kind == "csv" else ("application/jsonl", "audit.jsonl")
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(lines(), media_type=media, headers=headers)


def _line(cells: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue()
