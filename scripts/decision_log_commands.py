"""The commands of `deploy_model.py` that look decisions up and erase their features."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from scripts.command_line import Argument, Option, Options, Program, add_command, path_type, show, table
from scripts.times import End, Since

if TYPE_CHECKING:
    from stacks.decisions import Decisions
    from stacks.deployment import ModelDeployment

_MOST_SHOWN = 50
_COLUMNS = ("time", "model_id", "fraud_probability", "is_fraud", "overridden", "was_fraud", "request_id", "receipt")
_ALL = (*_COLUMNS[:-1], "threshold", "api_key", "receipt")


def add_decision_log_commands(
    commands: Program, program: str, make: Callable[[], "ModelDeployment"], environment: Argument
) -> None:
    """Adds decisions and erase-features.

    Args:
        commands: the program.
        program: its name, for examples.
        make: makes what deploys.
        environment: the argument that names the environment.
    """

    def opened(options: Options) -> "Decisions":
        from stacks.decisions import Decisions

        deployments = make()
        return Decisions(deployments.checkout, lambda: deployments.registry, options.model_key)

    def _decisions(options: Options) -> int:
        if (options.receipt is None) == (not options.since):
            raise click.UsageError("decisions takes --receipt RECEIPT or --since TIME")
        if options.json and options.csv:
            raise click.UsageError("--json and --csv exclude each other")
        why = options.reason if options.features else None
        if options.receipt is not None:
            return _show_one(options, opened(options).explain(options.environment, options.receipt, why))
        from datetime import datetime

        since = datetime.fromisoformat(options.since.replace("Z", "+00:00"))
        return _show_many(options, opened(options).between(options.environment, since, options.until, why))

    def _erase(options: Options) -> int:
        last = options.last or options.first
        days = opened(options).erase_features(options.environment, options.first, last, options.reason)
        text = f"{options.environment}: the features of {', '.join(days) or 'no day'} can be read no more"
        show(options, {"environment": options.environment, "erased": days}, text)
        return 0

    _declare(commands, program, environment, _decisions, _erase)


def _declare(
    commands: Program,
    program: str,
    environment: Argument,
    decisions: Callable[[Options], int],
    erase: Callable[[Options], int],
) -> None:
    key_help = "file with the key of the model, where it is not the present one"
    key = Option("--model-key", type=path_type(), metavar="FILE", help=key_help)
    reason_help = "why; recorded in the audit log"
    add_command(
        commands,
        "decisions",
        decisions,
        "show what a receipt names, and what the decision log has since a time",
        f"{program} decisions production --receipt r1.…\n"
        f"  {program} decisions production --since 2026-11-01 --until 2026-11-02 --csv > decisions.csv",
        environment,
        Option("--receipt", metavar="RECEIPT", help="the decision that it names, and whether it is genuine"),
        Option("--since", type=Since(), default="", metavar="TIME", help="the first moment, in UTC without a zone"),
        Option("--until", type=End(), metavar="TIME", help="the last moment; now when not given"),
        Option("--csv", is_flag=True, help="as CSV on standard output"),
        Option(
            "--features", is_flag=True, help="with the features, where they are logged; an admin may, with --reason"
        ),
        Option("--reason", default="", metavar="WHY", help=reason_help),
        key,
    )
    add_command(
        commands,
        "erase-features",
        erase,
        "destroy the keys of days: the features of their decisions can no longer be read; the decisions stay",
        f"{program} erase-features production 2026-11-01 --reason 'request of a customer'",
        environment,
        Argument("first", "the day", type=_DAY),
        Argument("last", "the last day of several", required=False, type=_DAY),
        Option("--reason", required=True, metavar="WHY", help=reason_help),
        key,
    )


class _Day(click.ParamType[date]):
    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            return value if isinstance(value, date) else date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day. Example: 2026-11-01", param, ctx)


_DAY = _Day()


def _show_one(options: Options, found: dict[str, Any]) -> int:
    logged = None if found["logged"] is None else _plain(found["logged"])
    answer = {**found, "logged": logged}
    if options.csv:
        _write_csv([logged or found], features=options.features)
        return 0
    lines = [f"{name:18}{value}" for name, value in found.items() if name != "logged"]
    known = [f"  {name:16}{value}" for name, value in logged.items() if name != "receipt"] if logged else []
    lines += ["in the decision log", *known] if logged else ["not in a decision log"]
    show(options, answer, "\n".join(lines))
    return 0


def _show_many(options: Options, found: Iterator[dict[str, Any]]) -> int:
    rows = map(_plain, found)
    if options.csv:
        _write_csv(rows, features=options.features)
    elif options.json:
        options.status_line.stop()
        # One after another: a day may have more than fits the memory.
        separator = "["
        for row in rows:
            sys.stdout.write(f"{separator}\n  {json.dumps(row)}")
            separator = ","
        sys.stdout.write("[]\n" if separator == "[" else "\n]\n")
    else:
        shown: list[dict[str, Any]] = []
        more = 0
        for row in rows:
            if len(shown) < _MOST_SHOWN:
                shown.append(row)
            else:
                more += 1
        left_out = f"\n{more} more; --csv or --json lists all" if more else ""
        show(options, shown, table(_COLUMNS, shown, empty="no decisions") + left_out)
    return 0


def _write_csv(rows: Iterable[Mapping[str, Any]], *, features: bool) -> None:
    columns = [*_ALL, "features"] if features else list(_ALL)
    writer = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        known = {**row, "features": json.dumps(row.get("features"))} if features else dict(row)
        writer.writerow({name: "" if value is None else value for name, value in known.items()})


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its time as text."""
    return {**row, "time": row["time"].isoformat(timespec="milliseconds").replace("+00:00", "Z")}
