"""The commands of `deploy_model.py` that take a candidate through its rollout."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conventions import exit_codes
from scripts import completion
from scripts.command_line import Argument, Option, Options, Program, Run, add_command, path_type, show
from scripts.times import Duration, End

if TYPE_CHECKING:
    from stacks.deployment import ModelDeployment
    from stacks.deployment_updates import DeployOutcome
    from stacks.model_deployment import ModelDeploymentConfig
    from stacks.requirements import BreakGlassRequest
    from stacks.rollout.rollouts import Rollouts

Make = Callable[[], "ModelDeployment"]
Report = Callable[["DeployOutcome", Options], int]
_KEY = Path(__file__).resolve().parents[1] / ".secrets" / "api_key"


def deployed(deployments: "ModelDeployment", config: "ModelDeploymentConfig", options: Options) -> "DeployOutcome":
    """Deploys in place, or takes the model version through a rollout."""
    from infra.errors import ConfigError
    from stacks.rollout.rollouts import with_options

    rollouts = open_rollouts(deployments, options)
    wanted = with_options(
        rollouts.settings(options.environment),
        strategy=options.strategy,
        steps=options.steps,
        interval_seconds=options.interval,
        keep_minutes=options.keep_minutes,
    )
    override_reason = options.reason if options.force else ""
    break_glass = read_break_glass(options)
    if wanted.has_two_slots:
        return rollouts.deploy(
            config, wanted, shadow=options.shadow, override_reason=override_reason, break_glass=break_glass
        )
    if options.shadow:
        raise ConfigError("--shadow: needs --strategy blue_green or canary: there is no candidate otherwise")
    return deployments.deploy(
        config,
        reason=options.reason,
        auto_rollback=not options.no_auto_rollback,
        override_reason=override_reason,
        break_glass=break_glass,
        rollout=wanted,
    )


def read_break_glass(options: Options) -> "BreakGlassRequest | None":
    """The wish to deploy a version that lacks what the environment requires; None when it is not wished."""
    from stacks.requirements import BreakGlassRequest

    if not options.break_glass:
        if options.until is not None:
            raise click.UsageError("--until needs --break-glass")
        return None
    if options.until is None or not options.reason.strip():
        raise click.UsageError("--break-glass needs --reason WHY and --until TIME: both are recorded in the audit log")
    return BreakGlassRequest(options.reason, options.until)


def describe_break_glass(glass: Mapping[str, Any]) -> str:
    """Why and until when a glass is broken, in a line; empty when none is."""
    return f"not {', '.join(glass['missing'])} until {glass['until']}: {glass['reason']}" if glass else ""


def reason_option() -> Option:
    """The option `--reason` of the commands that change an environment."""
    return Option("--reason", default="", metavar="WHY", help="why; recorded in the history and in the audit log")


def break_glass_options() -> list[click.Parameter]:
    """The options of `deploy` and `rollback` for an emergency."""
    return [
        Option(
            "--break-glass",
            is_flag=True,
            help="although it is not validated or approved as the environment requires; needs --reason and --until",
        ),
        Option(
            "--until",
            type=End(),
            metavar="TIME",
            help="when the break-glass ends: a time, a day in UTC, or 30m, 4h, 2d from now",
        ),
    ]


def open_rollouts(deployments: "ModelDeployment", options: Options) -> "Rollouts":
    """What takes candidates through their rollouts, with the key that the command line names."""
    from stacks.rollout.rollouts import Rollouts

    return Rollouts(deployments, getattr(options, "api_key_file", None), reason=getattr(options, "reason", ""))


def strategy_options(key_help: str) -> list[click.Parameter]:
    """The options of `deploy` about a rollout."""
    option = partial(Option, section="Rollout, kept in the stack's config")
    strategies = click.Choice(("rolling", "blue_green", "canary"))
    return [
        option("--strategy", type=strategies, help="the stack's own (rolling)"),
        option("--steps", type=_STEPS, metavar="PERCENTS", help="of a canary, percent of the requests (5,25,50,100)"),
        option("--interval", type=Duration(), metavar="TIME", help="how long a step lasts at least (5m)"),
        option(
            "--keep-minutes",
            type=click.IntRange(min=0),
            metavar="N",
            help="how long the version before stays ready (30)",
        ),
        option("--shadow", is_flag=True, help="first send it copies, and compare its answers"),
        option("--api-key-file", type=path_type(), metavar="FILE", help=key_help),
    ]


def add_rollout_commands(commands: Program, program: str, key_help: str, make: Make, report: Report) -> None:
    """Adds promote, abort, resume and status.

    Args:
        commands: the program.
        program: its name, for examples.
        key_help: describes `--api-key-file`.
        make: makes what deploys.
        report: prints an outcome and returns the exit code.
    """

    def _promote(options: Options) -> int:
        outcome = open_rollouts(make(), options).promote(options.environment)
        return report(outcome, options)

    def _abort(options: Options) -> int:
        outcome = open_rollouts(make(), options).abort(options.environment, options.reason or "aborted by hand")
        return report(outcome, options)

    def _resume(options: Options) -> int:
        outcome = open_rollouts(make(), options).resume(options.environment)
        if outcome is not None:
            return report(outcome, options)
        show(
            options, {"environment": options.environment, "changed": False}, f"{options.environment}: nothing to resume"
        )
        return 0

    def _status(options: Options) -> int:
        import time

        from rich.console import Console
        from rich.live import Live

        from scripts.live_tables import as_text, rollout_view

        rollouts = open_rollouts(make(), options)
        options.status_line.stop()
        console = Console()
        if options.json or not options.follow or not console.is_terminal:
            status = rollouts.status(options.environment)
            show(options, status.to_dict(), as_text(console, rollout_view(status)))
            return exit_codes.ENDPOINT_SILENT if status.silence else exit_codes.UNFIT if status.lacking else 0
        with Live(rollout_view(rollouts.status(options.environment), folded=True), console=console) as live:
            while True:
                time.sleep(options.every)
                live.update(rollout_view(rollouts.status(options.environment), folded=True))

    _declare(commands, program, key_help, (_promote, _abort, _resume, _status))


def _declare(commands: Program, program: str, key_help: str, runs: tuple[Run, Run, Run, Run]) -> None:
    promote, abort, resume, status = runs
    environment = Argument("environment", "development, staging or production", shell_complete=completion.environments)
    key = Option("--api-key-file", type=path_type(), default=_KEY, metavar="FILE", help=key_help)
    why = reason_option()
    summary = "make the candidate the stable version now"
    add_command(commands, "promote", promote, summary, f"{program} promote production", environment, why)
    summary = "withdraw the candidate; stable has all requests again"
    example = f"{program} abort production --reason 'callers complain'"
    add_command(commands, "abort", abort, summary, example, environment, why)
    summary = "go on with a rollout that was interrupted; drop what was kept long enough"
    add_command(commands, "resume", resume, summary, f"{program} resume production", environment, key, why)
    summary = "show a rollout: steps, weights, both versions' numbers, the verdict"
    add_command(
        commands,
        "status",
        status,
        summary,
        f"{program} status production --follow",
        environment,
        Option("--follow", is_flag=True, help="live, on a terminal"),
        Option("--every", type=float, default=2.0, metavar="SECONDS", help="seconds between looks (2)"),
        key,
    )


class _Steps(click.ParamType[tuple[int, ...]]):
    name = "percents"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        try:
            return tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} are not percents; allowed: numbers such as 5,25,50,100", param, ctx)


_STEPS = _Steps()
