"""A rollout, live: weights, both versions' numbers, and each sequential test's walk between its bounds."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from console.pages.environments import environment_of
from console.pages.live import live_part
from console.state import Console, console_of
from console.tables import Column, Table, as_file
from console.templating import page

_NUMBERS = (
    ("requests", "requests", "number"),
    ("errors", "errors", "number"),
    ("error rate", "error_rate", "percent"),
    ("latency p50, ms", "latency_p50_ms", "number"),
    ("latency p95, ms", "latency_p95_ms", "number"),
    ("decided as fraud", "fraud_rate", "percent"),
    ("right, of those with feedback", "accuracy", "percent"),
    ("drift index", "drift", "number"),
)
_COLUMNS = (Column("what", "since the last change"), Column("stable", "stable"), Column("candidate", "candidate"))
_CHECKS = (
    Column("check", "check"),
    Column("finding", "finding", "status"),
    Column("detail", "detail"),
    Column("ratio", "log likelihood ratio", "number"),
    Column("bound", "bound", "number"),
    Column("left", "requests left, about", "number"),
)


def rollout(request: Request) -> Response:
    """The page."""
    console, name = console_of(request), environment_of(request)
    shown = shown_rollout(console, name)
    return as_file(request, shown["numbers"], shown["checks"]) or page(
        request,
        "rollout.html",
        title=f"Rollout in {name}",
        environment=name,
        rights=console.rights(request),
        current=console.histories.of(name).current,
        **shown,
    )


async def rollout_events(request: Request) -> Response:
    """The page's live part, again and again while the page is open."""
    return live_part(request, environment_of(request), "rollout", shown_rollout)


def shown_rollout(console: Console, environment: str) -> dict[str, Any]:
    """What the live part shows."""
    look = console.looking.at(environment)
    status = look.rollout
    numbers, checks = [], []
    if status is not None and status.numbers:
        both = [status.numbers[variant] for variant in ("stable", "candidate")]
        numbers = [
            {"what": title, "kind": kind, "stable": both[0][key], "candidate": both[1][key]}
            for title, key, kind in _NUMBERS
        ]
        checks = [
            {
                "check": f"{check.name}: {what}" if len(check.walks) > 1 else check.name,
                "finding": str(check.finding),
                "detail": check.detail,
                "ratio": walk.ratio if walk else None,
                "bound": walk.bound if walk else None,
                "left": walk.left if walk else None,
            }
            for check in status.checks
            for what, walk in (check.walks.items() or [("", None)])
        ]
    return {
        "look": look,
        "status": status,
        "numbers": Table("numbers", _COLUMNS, numbers, empty="no candidate is being tried"),
        "checks": Table("checks", _CHECKS, checks, empty="no check yet"),
        "walks": walk_charts(console.looking.walked(environment)),
        "job": console.jobs.running(environment),
    }


def walk_charts(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each test a chart: its ratio by the candidate's requests, between the two bounds."""
    names = list(dict.fromkeys(name for point in points for name in point["walks"]))
    found = []
    for name in names:
        known = [point for point in points if name in point["walks"]]
        requests = [point["requests"] for point in known]
        bound = known[-1]["walks"][name]["bound"]
        found.append(
            {
                "title": name,
                "x": "requests of the candidate",
                "data": [
                    requests,
                    [round(point["walks"][name]["ratio"], 4) for point in known],
                    [round(bound, 4)] * len(known),
                    [round(-bound, 4)] * len(known),
                ],
                "series": ["ratio", "worse", "as good"],
            }
        )
    return found
