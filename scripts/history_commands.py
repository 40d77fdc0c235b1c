"""The commands of `deploy_model.py` that look back: what was deployed when, by whom and why."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from scripts import completion
from scripts.command_line import Argument, Option, Options, Program, Run, add_command, progress, show, table
from scripts.rollout_commands import describe_break_glass
from scripts.times import Since, When, require_past

if TYPE_CHECKING:
    from stacks.deployment import ModelDeployment
    from stacks.history import Deployment
    from stacks.outcomes import Attempt

_HISTORY = ("from", "until", "intent", "model_id", "actor", "reason", "commit", "run", "deployment_id", "update")
_DEPLOYMENTS = ("deployment_id", "model_id", "started_at", "intent", "actor", "reason", "commit", "run", "current")

_PERIODS = ("day", "month")


def add_history_commands(commands: Program, program: str, make: "Callable[[], ModelDeployment]") -> None:
    """Adds history, list-deployments, why and stats.

    Args:
        commands: the program.
        program: its name, for examples.
        make: makes what knows the stacks' histories.
    """

    def _history(options: Options) -> int:
        require_past(options.at)
        return _show_history(_deployments_of(make(), options.environment), options)

    def _list_deployments(options: Options) -> int:
        deployments = make()
        found = [item.to_dict() for item in _deployments_of(deployments, options.environment)]
        silences = {row["environment"]: _silence(deployments, row["environment"]) for row in found if row["current"]}
        for row in found:
            row["silence"] = silences[row["environment"]] if row["current"] else None
        show(options, found, table(_DEPLOYMENTS, [_shown(row) for row in found], empty="no deployments"))
        for name, silence in silences.items():
            if silence:
                progress(f"{name} DOES NOT SERVE: {silence['reason']}; mend: {silence['mend']}")
        return 0

    def _why(options: Options) -> int:
        from scripts.story_page import story_page
        from stacks.story import story_of

        require_past(options.at)
        deployments = make()
        history = _deployments_of(deployments, options.environment)
        story = story_of(history, options.environment, options.at, deployments.registry)
        show(options, story, story_page(story))
        return 0

    def _stats(options: Options) -> int:
        return _show_stats(make(), options)

    _declare(commands, program, _history, _list_deployments, _why)
    _declare_stats(commands, program, _stats)


def _declare(commands: Program, program: str, history: Run, list_deployments: Run, why: Run) -> None:
    environment = "development, staging or production"
    add_command(
        commands,
        "history",
        history,
        "what was deployed when, by whom and why; or what served at one time",
        f"{program} history production --at 2026-10-09T14:00Z\n  {program} history production --at 2026-10-09",
        Argument("environment", environment, shell_complete=completion.environments),
        _at("only"),
    )
    add_command(
        commands,
        "list-deployments",
        list_deployments,
        "list deployments, newest first",
        f"{program} list-deployments --environment development --json",
        Option(
            "--environment",
            metavar="ENVIRONMENT",
            shell_complete=completion.environments,
            help="only this environment's",
        ),
    )
    add_command(
        commands,
        "why",
        why,
        "tell a version's whole story: trained, registered, validated, approved, gated, deployed, by whom and why",
        f"{program} why production\n  {program} why production --at 2026-10-09T14:00Z --json",
        Argument("environment", environment, shell_complete=completion.environments),
        _at("of"),
    )


def _declare_stats(commands: Program, program: str, stats: Run) -> None:
    add_command(
        commands,
        "stats",
        stats,
        "count deployments by how they ended, by environment and period: succeeded, failed, rolled back",
        f"{program} stats\n  {program} stats --environment production --by day --since 2026-10-01 --json",
        Option(
            "--environment",
            metavar="ENVIRONMENT",
            shell_complete=completion.environments,
            help="only this environment's",
        ),
        Option(
            "--by", type=click.Choice(_PERIODS), default="month", help="the period that a row counts, in UTC (month)"
        ),
        Option(
            "--since", default="", type=Since(), metavar="TIME", help="only what was started from a date or time on"
        ),
    )


def _show_stats(deployments: "ModelDeployment", options: Options) -> int:
    from stacks.outcomes import counts

    found = [each for each in _attempts_of(deployments, options) if each.started_at >= options.since]
    counted = counts(found, options.by)
    rows = [each.to_dict() for each in counted]
    shown = [{**each.to_dict(), "success_rate": _percent(each.success_rate)} for each in counted]
    show(options, rows, table(list(rows[0]) if rows else (), shown, empty="nothing was deployed"))
    return 0


def _attempts_of(deployments: "ModelDeployment", options: Options) -> "list[Attempt]":
    """What was started in an environment, or in all; without what the audit log tells where it cannot be read."""
    from model_store.errors import ModelStoreError
    from stacks.deployment_history import DeploymentHistory
    from stacks.outcomes import read_audit

    found = DeploymentHistory(deployments.checkout).attempts(options.environment)
    try:
        return read_audit(found, deployments.registry, options.since)
    except ModelStoreError as error:
        progress(f"runs that were killed are not counted: the audit log cannot be read ({error})")
    return [each for attempts in found.values() for each in attempts]


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.0%}"


def _at(word: str) -> Option:
    what = f"{word} what served then, UTC without a zone; a date is the whole day in UTC"
    return Option("--at", metavar="TIME", type=When(), help=what)


def _deployments_of(deployments: "ModelDeployment", environment: str | None) -> "list[Deployment]":
    """The deployments, each with its actor as far as the stack's history or the audit log tells."""
    from stacks.recorded_actors import known_actors

    return known_actors(deployments.list_deployments(environment), lambda: deployments.registry, progress)


def _silence(deployments: "ModelDeployment", environment: str) -> dict[str, str] | None:
    """Why an environment's version does not serve; None when it serves, or its stack's config cannot be read."""
    from infra.errors import ConfigError
    from stacks.engine.serving_state import find_silence

    try:
        found = find_silence(deployments.stack_file(environment), deployments.checkout)
    except ConfigError as error:
        progress(f"whether {environment} serves is not known: {error}")
        return None
    return found.to_dict() if found else None


def _show_history(history: "Sequence[Deployment]", options: Options) -> int:
    from stacks.periods import served_at

    found = history if options.at is None else served_at(history, options.at)
    rows = [{**item.to_dict(), "from": item.finished_at} for item in found]
    columns = [*_HISTORY, "current"]
    if any(row["break_glass"] for row in rows):
        columns.append("break_glass")
    if any(row["candidate"] for row in rows):
        columns += ["candidate", "candidate_weight"]
    empty = "nothing was deployed" if options.at is None or not history else _first_of(history)
    show(options, rows, table(columns, [_shown(row) for row in rows], empty=empty))
    if options.at is not None and len(found) > 1:
        sys.stderr.write(
            f"{len(found)} deployments served in {options.environment} on {options.at}; choose one by its time, "
            f"such as --at {found[-1].finished_at}\n"
        )
    return 0


def _first_of(history: "Sequence[Deployment]") -> str:
    first = history[-1]
    return f"nothing served then; the first deployment in {first.environment} is of {first.finished_at}"


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for people: a commit by its first digits, a broken glass in words."""
    return {**row, "commit": row["commit"][:12], "break_glass": describe_break_glass(row["break_glass"])}
