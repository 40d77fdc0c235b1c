"""What `watch` and `status` draw."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

    from stacks.checks.alerts import Alert
    from stacks.rollout.state import RolloutStatus

_ROWS = (
    ("model version", "model_id", ""),
    ("requests", "requests", ""),
    ("errors", "error_rate", "%"),
    ("latency p50", "latency_p50_ms", "ms"),
    ("latency p95", "latency_p95_ms", "ms"),
    ("decided as fraud", "fraud_rate", "%"),
    ("right, of those with feedback", "accuracy", "%"),
    ("drift", "drift", "index"),
)


def metrics_table(environment: str, numbers: dict[str, Any], alerts: "list[Alert]") -> "Table":
    """What an endpoint measures, against its thresholds."""
    from rich.table import Table

    title = (
        f"{environment}: {numbers['requests_per_second']:g} requests/s over {numbers['seconds']:g} s, "
        f"{numbers['total']['requests']} since it started"
    )
    drawn = Table(title=title, title_justify="left")
    for column in ("", "measured", "threshold", "unit"):
        drawn.add_column(column, justify="right" if column in ("measured", "threshold") else "left")
    for alert in alerts:
        value = "-" if alert.value is None else f"{alert.value:.4g}"
        drawn.add_row(alert.name, value, f"{alert.threshold:g}", alert.unit, style="red" if alert.breached else None)
    for name, value in sorted(numbers["drift_by_feature"].items(), key=lambda item: -item[1])[:5]:
        drawn.add_row(f"drift of {name}", f"{value:.3f}", "", "index", style="dim")
    return drawn


def rollout_view(status: "RolloutStatus", *, folded: bool = False) -> "Group":
    """A rollout: where it is, both versions' numbers, and what the checks say of them.

    Args:
        status: of the rollout.
        folded: whether a sentence is folded at the terminal's width; a command that is to be copied is not.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rollout = status.rollout
    drawn = Table()
    for column in ("since the last change", "stable", "candidate"):
        drawn.add_column(column, overflow="fold")
    for name, key, unit in _ROWS if status.numbers else ():
        drawn.add_row(name, *(_format_value(status.numbers[variant][key], unit) for variant in ("stable", "candidate")))
    share = status.candidate_share
    if share is not None and rollout.candidate:
        drawn.add_row("share of the requests", f"{1 - share:.1%}", f"{share:.1%}")
    headline, *captions = (
        Text(line) if folded else Text(line, no_wrap=True, overflow="ignore")
        for line in (f"{status.environment}: {_headline(status)}", *_captions(status))
    )
    return Group(headline, *([drawn] if drawn.rows else []), *captions)


def _headline(status: "RolloutStatus") -> str:
    rollout = status.rollout
    if not status.stable:
        return "nothing is deployed"
    if not rollout.candidate:
        serves = "is deployed and DOES NOT SERVE" if status.silence else "is stable"
        return f"{status.stable} {serves} ({rollout.strategy}), no candidate"
    where = "in the shadow" if rollout.shadow else f"at {rollout.weight} %"
    steps = f" of {', '.join(map(str, rollout.steps))}" if rollout.strategy == "canary" else ""
    return f"{rollout.candidate} {where}{steps}, beside {status.stable}"


def _captions(status: "RolloutStatus") -> list[str]:
    rollout = status.rollout
    found = []
    if silence := status.silence:
        found += [f"DOES NOT SERVE: {silence.reason}", f"mend: {silence.mend}"]
    if status.verdict:
        found.append(f"checks: {status.verdict}{f' ({status.reason})' if status.reason else ''}")
    if status.in_force is not None and status.in_force != rollout.weight:
        found.append(f"in force: {status.in_force} %, asked for {rollout.weight} %")
    if rollout.kept:
        found.append(f"kept: {rollout.kept} until {rollout.kept_until}")
    if override := status.override:
        paused = f"PAUSED until {override['until']}: every decision is {override['answer']}"
        found.append(f"{paused}; {override['by']}: {override['reason']}")
    if glass := status.break_glass:
        state = "ended" if status.lacking else "until"
        what = ", ".join(glass["missing"])
        found.append(f"break-glass {state} {glass['until']}: not {what}; {glass['by']}: {glass['reason']}")
    found += [f"LACKS {each}" for each in status.lacking]
    if status.interrupted:
        found.append(f"interrupted: {status.interrupted}")
    if status.held_by:
        found.append(f"being changed by {status.held_by}")
    return found


def _format_value(value: object, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "%" and isinstance(value, int | float):
        return f"{value:.2%}"
    return f"{value:.3g} {unit}".rstrip() if isinstance(value, float) else str(value)


def as_text(console: "Console", drawn: "Group | Table") -> str:
    """What is drawn as plain text."""
    with console.capture() as captured:
        console.print(drawn, crop=False)
    return captured.get().rstrip()
