"""Charts as SVG: they need no script, and a report carries them along.

Colours are classes of the style sheet. Each chart has a title for screen readers; the numbers stand in a table beside
it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from markupsafe import Markup

_WIDTH, _EDGE, _LANE = 720, 8, 26
_LANE_LINE = Markup('<line class="lane" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"></line>')
_STEP = Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"></line>')
_NAME = Markup('<text class="label" x="{}" y="{:.1f}">{}</text>')
_PERIOD = Markup(
    '<a href="#{id}" aria-label="{model}: {intent}, {begin} to {until}"><rect class="{kind}" x="{x:.1f}" y="{y:.1f}" '
    'width="{width:.1f}" height="8" rx="3"><title>{model}: {intent}, {begin} to {until}</title></rect></a>'
)
_MARK = Markup('<polygon class="{}" points="{}"><title>{} {} {}</title></polygon>')
_BAR = Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>')
_DOT = Markup('<circle class="series-{}" cx="{:.1f}" cy="14" r="6"><title>{}: {}</title></circle>')
_CHART = Markup(
    '<svg class="chart" role="{}" aria-label="{}" viewBox="0 0 {} {:.0f}" preserveAspectRatio="xMinYMin meet">{}</svg>'
)


def timeline(deployments: Sequence[Mapping[str, Any]], until: str) -> Markup:
    """Deployments from left to right in time, a lane for each version; a rollback is a line back to its version.

    Args:
        deployments: oldest first: `model_id`, `from`, `until`, `intent`, `deployment_id`, `candidate`.
        until: where the time ends: RFC 3339.
    """
    if not deployments:
        return Markup("")
    lanes = {name: lane for lane, name in enumerate(dict.fromkeys(each["model_id"] for each in deployments))}
    first, last = _seconds(deployments[0]["from"]), _seconds(until)

    def across(moment: str) -> float:
        share = (_seconds(moment) - first) / max(last - first, 1.0)
        return _EDGE + min(max(share, 0.0), 1.0) * (_WIDTH - 2 * _EDGE)

    def down(name: str) -> float:
        return _EDGE + lanes[name] * _LANE + _LANE * 0.7

    parts = [_LANE_LINE.format(_EDGE, _WIDTH - _EDGE, down(name), down(name)) for name in lanes]
    for before, each in pairwise(deployments):
        if before["model_id"] != each["model_id"]:
            kind = "back" if each["intent"] == "rollback" else "forward"
            x = across(each["from"])
            parts.append(_STEP.format(kind, x, x, down(before["model_id"]), down(each["model_id"])))
    parts += [
        _period(each, across(each["from"]), across(each["until"] or until), down(each["model_id"]))
        for each in deployments
    ]
    parts += [_NAME.format(_EDGE + 4, down(name) - 8, name) for name in lanes]
    title, height = "deployments over time, one lane a version", len(lanes) * _LANE + 2 * _EDGE
    return _CHART.format("group", title, _WIDTH, height, Markup("").join(parts))


def _period(each: Mapping[str, Any], begin: float, end: float, y: float) -> Markup:
    kind = "period rollback" if each["intent"] == "rollback" else "period canary" if each["candidate"] else "period"
    return _PERIOD.format(
        id=each["deployment_id"],
        kind=kind,
        x=begin,
        y=y - 4,
        width=max(end - begin, 3.0),
        model=each["model_id"],
        intent=each["intent"],
        begin=each["from"],
        until=each["until"] or "now",
    )


def strip(deployments: Sequence[Mapping[str, Any]]) -> Markup:
    """The last deployments as a row of marks, oldest first; a rollback has its own shape."""
    parts = []
    for number, each in enumerate(deployments):
        x = _EDGE + number * 18
        back = each["intent"] == "rollback"
        shape = f"{x},4 {x + 12},4 {x + 6},16" if back else f"{x},4 {x + 12},4 {x + 12},16 {x},16"
        kind = "mark rollback" if back else "mark canary" if each["candidate"] else "mark"
        parts.append(_MARK.format(kind, shape, each["intent"], each["model_id"], each["finished_at"]))
    return _chart(f"the last {len(deployments)} deployments, oldest first", 20, parts, width=18 * 24 + 2 * _EDGE)


def histogram(labels: Sequence[str], then: Sequence[float], now: Sequence[float] | None, title: str) -> Markup:
    """The shares of a feature's bins in training, beside those of the latest requests where they are known."""
    most = max([*then, *(now or ()), 1e-9])
    each, height = (_WIDTH / 2 - 2 * _EDGE) / max(len(then), 1), 96
    parts = []
    for number, label in enumerate(labels):
        for shift, kind, shares in ((0.08, "then", then), (0.5, "now", now)):
            if shares is None:
                continue
            x, tall = _EDGE + (number + shift) * each, shares[number] / most * height
            told = f"{label}: {shares[number]:.1%} {'in training' if kind == 'then' else 'now'}"
            parts.append(_BAR.format(kind, x, _EDGE + height - tall, each * 0.4, tall, told))
    return _chart(title, height + 2 * _EDGE, parts, width=_WIDTH // 2)


def dots(names: Sequence[str], values: Sequence[float | None], title: str) -> Markup:
    """One metric of some versions as dots on a line; its least value on the left, its greatest on the right."""
    known = [value for value in values if value is not None]
    if not known:
        return Markup("")
    low, high, width = min(known), max(known), _WIDTH // 2
    parts = [_LANE_LINE.format(12, width - 12, 14, 14)]
    for number, (name, value) in enumerate(zip(names, values, strict=True)):
        if value is not None:
            share = (value - low) / (high - low) if high > low else 0.5
            parts.append(_DOT.format(number, 12 + share * (width - 24), name, f"{value:.6g}"))
    return _chart(title, 28, parts, width=width)


def _chart(title: str, height: float, parts: Sequence[Markup], width: int) -> Markup:
    return _CHART.format("img", title, width, height, Markup("").join(parts))


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
