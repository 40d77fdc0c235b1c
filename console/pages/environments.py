"""An environment: its deployments over time, what served at a moment, and the difference between any two."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from console.state import console_of
from console.tables import Column, Rows, Table, as_file, number_in
from console.templating import page
from conventions.moments import parse_day, parse_moment
from stacks.environments import DeploymentEnvironment
from stacks.errors import UnknownDeployment
from stacks.history import Deployment
from stacks.periods import served_at

_PER_PAGE = 50
_WAIT_SECONDS = 20.0
"""What a page needs the history for, it waits so long for after the console's start."""
COLUMNS = (
    Column("from", "from", "time"),
    Column("until", "until", "time"),
    Column("intent", "what", "intent"),
    Column("model_id", "version", "version"),
    Column("actor", "by"),
    Column("reason", "why"),
    Column("candidate", "candidate", "candidate"),
    Column("commit", "commit", "commit"),
    Column("run", "run"),
    Column("deployment_id", "deployment", "id"),
)


def environment(request: Request) -> Response:
    """The timeline, and what served at the time that is asked for."""
    console, name = console_of(request), environment_of(request)
    history = console.histories.of(name)
    asked = request.query_params.get("at", "").strip()
    moment, problem = parse_when(asked)
    found: Sequence[Deployment] = history.deployments
    if moment is not None:
        found = served_at(history.deployments, moment)
    number = number_in(request, "page", 1)
    rows = Rows(found, row)
    shown = rows[(number - 1) * _PER_PAGE : number * _PER_PAGE]
    empty = "nothing served then" if moment is not None else "nothing was deployed"
    table = Table("deployments", COLUMNS, shown, rows, empty)
    return as_file(request, table) or page(
        request,
        "environment.html",
        title=name.capitalize(),
        environment=name,
        history=history,
        table=table,
        drawn=shown[::-1],
        until=(shown[0]["until"] if shown else "") or _now(),
        number=number,
        pages=max(1, -(-len(rows) // _PER_PAGE)),
        found=len(rows),
        asked=asked,
        problem=problem,
        moment=moment,
        current=history.current,
        rights=console.rights(request),
        look=console.looking.at(name, wait=0.0),
        job=console.jobs.running(name),
    )


def difference(request: Request) -> Response:
    """What differs between two deployments: config, model version, metrics."""
    from stacks.checks.comparison import compare

    console = console_of(request)
    names = [request.query_params.get(each, "") for each in ("a", "b")]
    pairs = []
    for name in names:
        found = next(
            filter(None, (console.histories.of(each, wait=_WAIT_SECONDS).find(name) for each in DeploymentEnvironment)),
            None,
        )
        if found is None:
            raise UnknownDeployment(f"there is no deployment {name!r}")
        pairs.append(found)
    pairs.sort(key=lambda pair: pair[0].started_at)
    rows = compare(pairs[0], pairs[1], console.versions.registry)
    columns = (
        Column("what", "what"),
        Column("a", pairs[0][0].deployment_id),
        Column("b", pairs[1][0].deployment_id),
    )
    table = Table("difference", columns, rows, empty="no difference")
    return as_file(request, table) or page(
        request, "difference.html", title="Difference", table=table, first=pairs[0][0], second=pairs[1][0]
    )


def why(request: Request) -> Response:
    """A version's whole story in an environment: trained, registered, validated, approved, gated, deployed."""
    from stacks.story import story_of

    console, name = console_of(request), environment_of(request)
    asked = request.query_params.get("at", "").strip()
    moment, _ = parse_when(asked)
    story = story_of(
        list(console.histories.of(name, wait=_WAIT_SECONDS).deployments), name, moment, console.versions.registry
    )
    columns = (
        Column("at", "when", "time"),
        Column("by", "by"),
        Column("check", "check"),
        Column("reason", "why"),
        Column("outcome", "outcome"),
        Column("audit", "audit record", "audit"),
    )
    gates = Table("checks", columns, [{"outcome": "", **each} for each in story["gated"]], empty="no check is recorded")
    return as_file(request, gates) or page(
        request, "why.html", title=f"Why {name}", environment=name, story=story, gates=gates, asked=asked
    )


def environment_of(request: Request) -> str:
    """The environment in the address.

    Raises:
        UnknownEnvironment: there is none of this name.
    """
    return str(DeploymentEnvironment.named(request.path_params["environment"]))


def row(deployment: Deployment) -> dict[str, Any]:
    """A deployment as a row; its weight stands with the candidate."""
    candidate = f"{deployment.candidate} at {deployment.candidate_weight} %" if deployment.candidate else ""
    return {
        **deployment.to_dict(),
        "from": deployment.finished_at,
        "intent": str(deployment.intent),
        "candidate": candidate,
    }


def parse_when(text: str) -> tuple[date | None, str]:
    """A time, UTC without a zone, or a day; and why it is none."""
    if not text:
        return None, ""
    try:
        return parse_day(text) or parse_moment(text), ""
    except ValueError:
        return None, "that is not a time. Example: 2026-10-09T14:00Z, or 2026-10-09 for the whole day"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
