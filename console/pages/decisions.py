"""Decisions by receipt or period, where an environment keeps a decision log."""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from console.guard import session_of
from console.pages.environments import environment_of, parse_when
from console.processes import WorkerFailed, read_in_worker
from console.state import console_of
from console.tables import FORMATS, Column, Table, as_file
from console.templating import page
from stacks.environments import DeploymentEnvironment

_MOST_SHOWN, _MOST_TAKEN = 100, 20_000
_COLUMNS = (
    Column("time", "when", "time"),
    Column("model_id", "version", "version"),
    Column("fraud_probability", "fraud probability", "number"),
    Column("threshold", "threshold", "number"),
    Column("is_fraud", "decided as fraud", "number"),
    Column("overridden", "overridden", "number"),
    Column("was_fraud", "was fraud", "number"),
    Column("api_key", "API key"),
    Column("request_id", "request", "id"),
    Column("receipt", "receipt", "receipt"),
)


def all_decisions(request: Request) -> Response:
    """Which environments keep a decision log."""
    console = console_of(request)
    looks = {str(each): console.looking.at(str(each)) for each in DeploymentEnvironment}
    return page(request, "decisions.html", title="Decisions", looks=looks)


def decisions(request: Request) -> Response:
    """What a receipt names, or the decisions of a day or another period."""
    return _page(request, request.query_params, None)


def with_features(request: Request, form: Mapping[str, Any]) -> Response:
    """The same with the features, which an admin may see; the reason is recorded."""
    return _page(request, {name: str(value) for name, value in form.items()}, str(form.get("reason", "")))


def _page(request: Request, asked: Mapping[str, str], features_reason: str | None) -> Response:
    console, name = console_of(request), environment_of(request)
    receipt, given = asked.get("receipt", "").strip(), asked.get("at", "").strip()
    begin, end, problem = period_of(given)
    most = _MOST_TAKEN if request.query_params.get("format") in FORMATS else _MOST_SHOWN
    found: dict[str, Any] = {}
    if not problem and (receipt or given):
        wanted = {"environment": name, "receipt": receipt, "since": begin, "until": end, "most": most}
        try:
            actor = session_of(request).person.actor
            found = read_in_worker(console.checkout, "decisions", actor, {**wanted, "features_reason": features_reason})
        except WorkerFailed as error:
            problem = str(error)
    table = Table("decisions", _COLUMNS, found.get("rows", []), empty="no decisions")
    return as_file(request, table) or page(
        request,
        "environment_decisions.html",
        title=f"Decisions of {name}",
        environment=name,
        receipt=receipt,
        asked=given,
        found=found,
        table=table,
        problem=problem,
    )


def period_of(text: str) -> tuple[str, str, str]:
    """Begin and end of a day, or of the hour after a time, as RFC 3339; and why the text is neither."""
    moment, problem = parse_when(text)
    if moment is None:
        return "", "", problem
    if isinstance(moment, datetime):
        begin, long = moment, timedelta(hours=1)
    else:
        begin, long = datetime.combine(moment, time.min, UTC), timedelta(days=1)
    try:
        end = begin + long
    except OverflowError:
        return "", "", "that is the end of the calendar"
    return begin.isoformat(), end.isoformat(), ""
