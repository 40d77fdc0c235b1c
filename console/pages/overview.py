"""The overview: each environment as a card."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from console.pages.environments import row
from console.pages.live import event, live_response, ticks
from console.state import Console, console_of
from console.tables import Column, Table, as_file
from console.templating import page, part
from console.versions import Version
from conventions import metric_names
from model_store.errors import ModelStoreError
from stacks.environments import DeploymentEnvironment

_STRIP = 24
_COLUMNS = (
    Column("environment", "environment", "environment"),
    Column("health", "health"),
    Column("model_id", "version", "version"),
    Column("since", "since", "time"),
    Column("actor", "by"),
    Column("requests_per_second", "requests/s", "number"),
    Column("error_rate", "errors", "percent"),
    Column("latency_p95_ms", "p95 ms", "number"),
    Column("fraud_rate", "fraud rate", "percent"),
    Column("drift", "drift", "number"),
    Column("alarms", "alarms"),
)


def overview(request: Request) -> Response:
    """The page."""
    console = console_of(request)
    for each in DeploymentEnvironment:
        console.looking.at(str(each), wait=0.0)  # each begins to look before the first is waited for
    cards = [card(console, str(each)) for each in DeploymentEnvironment]
    table = Table("environments", _COLUMNS, [_row(each) for each in cards])
    versions, problem = _versions(console)
    return as_file(request, table) or page(
        request,
        "overview.html",
        title="Overview",
        cards=cards,
        table=table,
        versions=len(versions),
        models=len({each.model_name for each in versions}),
        problem=problem,
    )


def _versions(console: Console) -> tuple[Sequence[Version], str]:
    """The registry's versions, and why they cannot be read: what serves is shown all the same."""
    try:
        return console.versions.all(), ""
    except ModelStoreError as error:
        return (), str(error)


def card(console: Console, environment: str) -> dict[str, Any]:
    """What the card of an environment shows."""
    look, history = console.looking.at(environment), console.histories.of(environment)
    rollout = look.rollout
    return {
        "environment": environment,
        "look": look,
        "history": history,
        "current": history.current,
        "strip": [row(each) for each in history.deployments[:_STRIP][::-1]],
        "gauges": look.numbers.get("gauges", {}),
        "names": metric_names,
        "breached": [alert for alert in look.alerts if alert["breached"]],
        "candidate": rollout.rollout.candidate if rollout else "",
        "job": console.jobs.running(environment),
    }


def _row(found: dict[str, Any]) -> dict[str, Any]:
    look, current, gauges = found["look"], found["current"], found["gauges"]
    numbers = look.numbers
    return {
        "environment": found["environment"],
        "health": look.health,
        "model_id": current.model_id if current else "",
        "since": current.finished_at if current else "",
        "actor": current.actor if current else "",
        "requests_per_second": numbers.get("requests_per_second"),
        "error_rate": numbers.get("error_rate"),
        "latency_p95_ms": numbers.get("latency_ms", {}).get("p95"),
        "fraud_rate": gauges.get(metric_names.FRAUD_RATE),
        "drift": gauges.get(metric_names.DRIFT),
        "alarms": [alert["name"] for alert in found["breached"]],
    }


async def overview_events(request: Request) -> Response:
    """The cards, again and again while the page is open."""

    async def events() -> AsyncIterator[str]:
        console = console_of(request)
        async for _ in ticks(request):
            for each in DeploymentEnvironment:
                found = await run_in_threadpool(card, console, str(each))
                yield event(f"card-{each}", part("part_card.html", card=found))

    return live_response(events())
