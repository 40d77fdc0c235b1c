"""An endpoint: rates, latency percentiles, drift of each feature with both histograms, the threshold simulator."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from console.guard import session_of
from console.pages.environments import environment_of
from console.pages.live import live_part
from console.processes import WorkerFailed, read_in_worker
from console.simulation import MOST_ROWS, LabelledScores, simulated
from console.state import Console, console_of
from console.tables import Column, Table, as_file
from console.templating import page
from conventions import metric_names
from model_store.errors import InvalidInput, ModelStoreError

_ALERTS = (
    Column("name", "what"),
    Column("value", "measured", "number"),
    Column("threshold", "threshold", "number"),
    Column("unit", "unit"),
    Column("state", "state", "status"),
)
_DRIFT = (Column("feature", "feature"), Column("index", "drift index", "number"), Column("size", "shift", "status"))
_SMALL, _LARGE = 0.1, 0.25


def endpoint(request: Request) -> Response:
    """The page."""
    console, name = console_of(request), environment_of(request)
    shown = shown_endpoint(console, name)
    return as_file(request, shown["alerts"], shown["drift"]) or page(
        request,
        "endpoint.html",
        title=f"Endpoint of {name}",
        environment=name,
        histograms=histograms(console, shown["look"]),
        simulation=None,
        **shown,
    )


async def endpoint_events(request: Request) -> Response:
    """The page's live part, again and again while the page is open."""
    return live_part(request, environment_of(request), "endpoint", shown_endpoint)


def shown_endpoint(console: Console, environment: str) -> dict[str, Any]:
    """What the live part shows."""
    look = console.looking.at(environment)
    alerts = [{**alert, "state": _state(alert)} for alert in look.alerts]
    drift = sorted(look.numbers.get("drift_by_feature", {}).items(), key=lambda item: -item[1])
    rows = [{"feature": feature, "index": index, "size": _size(index)} for feature, index in drift]
    return {
        "look": look,
        "numbers": look.numbers,
        "gauges": look.numbers.get("gauges", {}),
        "names": metric_names,
        "alerts": Table("thresholds", _ALERTS, alerts, empty="nothing is measured"),
        "drift": Table("drift", _DRIFT, rows, empty="not known yet: it takes 500 transactions"),
        "plots": _plots(console.looking.measured(environment)),
    }


def _state(alert: Mapping[str, Any]) -> str:
    return "breached" if alert["breached"] else "unknown" if alert["value"] is None else "ok"


def _size(index: float) -> str:
    return "large" if index >= _LARGE else "moderate" if index >= _SMALL else "small"


def _plots(points: Sequence[Mapping[str, float | None]]) -> list[dict[str, Any]]:
    times = [point["at"] for point in points]

    def plot(title: str, *names: str) -> dict[str, Any]:
        data = [times, *([point[name] for point in points] for name in names)]
        return {"title": title, "x": "time", "data": data, "series": list(names)}

    return [plot("latency, ms", "p50", "p95", "p99"), plot("requests a second", "rate"), plot("error rate", "errors")]


def histograms(console: Console, look: Any) -> list[dict[str, Any]]:
    """For each watched feature the shares of its bins in training, and of the latest requests where known."""
    if not look.model_version:
        return []
    try:
        schema = console.versions.registry.get_metadata(look.model_version).feature_schema
    except ModelStoreError:
        return []
    now, indexes = look.numbers.get("drift_shares", {}), look.numbers.get("drift_by_feature", {})
    found = []
    for feature in schema:
        bins = feature.get("bins")
        if not bins:
            continue
        name, shares, gaps = str(feature["name"]), list(bins["shares"]), bins.get("gaps")
        then = shares if gaps is None else [*(share * (1 - gaps) for share in shares), gaps]
        labels = _labels(bins) + ([] if gaps is None else ["no value"])
        present = now.get(name)
        known = present if present is not None and len(present) == len(then) else None
        found.append({"name": name, "index": indexes.get(name), "labels": labels, "then": then, "now": known})
    return sorted(found, key=lambda each: -(each["index"] or 0.0))


def _labels(bins: Mapping[str, Any]) -> list[str]:
    if "categories" in bins:
        return [*map(str, bins["categories"]), "others"]
    edges = [f"{edge:.4g}" for edge in bins["edges"]]
    between = [f"{low} to {high}" for low, high in pairwise(edges)]
    return [f"up to {edges[0]}", *between, f"over {edges[-1]}"] if edges else ["all"]


def simulate(request: Request, form: Mapping[str, Any]) -> Response:
    """Precision, recall and alerts a day at each threshold, on scores with labels from a file."""
    console, name = console_of(request), environment_of(request)
    simulation, problem = None, ""
    try:
        scores = LabelledScores.read_csv(io.StringIO(_text(form.get("file"))), _days(str(form.get("days", ""))))
        simulation = simulated(scores, _threshold(console, name))
    except (InvalidInput, csv.Error) as error:
        problem = str(error)
    return page(request, "part_simulation.html", environment=name, simulation=simulation, problem=problem)


def simulate_log(request: Request, form: Mapping[str, Any]) -> Response:
    """The same on the decisions of the last days that feedback has named."""
    console, name = console_of(request), environment_of(request)
    simulation, problem = None, ""
    try:
        days = _days(str(form.get("days", "")))
        until = datetime.now(UTC)
        period = {"since": (until - timedelta(days=days)).isoformat(), "until": until.isoformat()}
        asked = {"environment": name, **period, "most": MOST_ROWS}
        found = read_in_worker(console.checkout, "labelled", session_of(request).person.actor, asked)
        simulation = simulated(LabelledScores.of(found["scores"], found["labels"], days), _threshold(console, name))
    except (InvalidInput, WorkerFailed) as error:
        problem = str(error)
    return page(request, "part_simulation.html", environment=name, simulation=simulation, problem=problem)


def _text(given: Any) -> str:
    content = given.file.read() if hasattr(given, "file") else str(given or "").encode()
    return bytes(content).decode("utf-8-sig", "replace")


def _days(text: str) -> float:
    try:
        days = float(text or 1)
    except ValueError:
        days = 0.0
    if not 0 < days < 100_000:
        raise InvalidInput("the days are not a number above 0")
    return days


def _threshold(console: Console, environment: str) -> float | None:
    look = console.looking.at(environment)
    if look.config is not None and look.config.service.decision_threshold is not None:
        return float(look.config.service.decision_threshold)
    try:
        contract = console.versions.registry.get_metadata(look.model_version).contract or {}
    except ModelStoreError:
        return None
    return contract.get("threshold")
