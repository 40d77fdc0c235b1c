"""The commands of `deploy_model.py` that take a candidate through its rollout."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.command_line import add_command, show

if TYPE_CHECKING:
    from stacks.deployment import ModelDeployment
    from stacks.deployment_updates import DeployOutcome
    from stacks.model_deployment import ModelDeploymentConfig
    from stacks.rollout.rollouts import Rollouts

Make = Callable[[], "ModelDeployment"]
Report = Callable[["DeployOutcome", argparse.Namespace], int]
_KEY = Path(__file__).resolve().parents[1] / ".secrets" / "api_key"


def deployed(
    deployments: "ModelDeployment", config: "ModelDeploymentConfig", options: argparse.Namespace
) -> "DeployOutcome":
    """Deploys in place, or takes the model version through a rollout."""
    from infra.errors import ConfigError
    from stacks.rollout.rollouts import with_options

    rollouts = rollouts_of(deployments, options)
    wanted = with_options(
        rollouts.settings(options.environment),
        strategy=options.strategy,
        steps=options.steps,
        interval_seconds=options.interval,
        keep_minutes=options.keep_minutes,
    )
    override_reason = options.reason if options.force else ""
    if wanted.has_two_slots:
        return rollouts.deploy(config, wanted, shadow=options.shadow, override_reason=override_reason)
    if options.shadow:
        raise ConfigError("--shadow: needs --strategy blue_green or canary: there is no candidate otherwise")
    return deployments.deploy(
        config, auto_rollback=not options.no_auto_rollback, override_reason=override_reason, rollout=wanted
    )


def rollouts_of(deployments: "ModelDeployment", options: argparse.Namespace) -> "Rollouts":
    """What takes candidates through their rollouts, with the key that the command line names."""
    from stacks.rollout.rollouts import Rollouts

    return Rollouts(deployments, getattr(options, "api_key_file", None))


def add_strategy_options(deploy: argparse.ArgumentParser, key_help: str) -> None:
    """Adds to `deploy` what a rollout is told."""
    strategy = deploy.add_argument_group("rollout, kept in the stack's config")
    strategy.add_argument("--strategy", choices=("rolling", "blue_green", "canary"), help="the stack's own (rolling)")
    strategy.add_argument("--steps", type=_steps, help="of a canary, percent of the requests (5,25,50,100)")
    strategy.add_argument("--interval", type=_seconds, metavar="TIME", help="how long a step lasts at least (5m)")
    strategy.add_argument("--keep-minutes", type=int, help="how long the version before stays ready (30)")
    strategy.add_argument("--shadow", action="store_true", help="first send it copies, and compare its answers")
    strategy.add_argument("--api-key-file", type=Path, help=key_help)


def add_rollout_commands(commands: Any, program: str, key_help: str, make: Make, report: Report) -> None:
    """Adds promote, abort, resume and status.

    Args:
        commands: of the parser.
        program: its name, for examples.
        key_help: describes `--api-key-file`.
        make: makes what deploys.
        report: prints an outcome and returns the exit code.
    """

    def _promote(options: argparse.Namespace) -> int:
        outcome = rollouts_of(make(), options).promote(options.environment)
        return report(outcome, options)

    def _abort(options: argparse.Namespace) -> int:
        outcome = rollouts_of(make(), options).abort(options.environment, options.reason)
        return report(outcome, options)

    def _resume(options: argparse.Namespace) -> int:
        outcome = rollouts_of(make(), options).resume(options.environment)
        if outcome is not None:
            return report(outcome, options)
        show(
            options, {"environment": options.environment, "changed": False}, f"{options.environment}: nothing to resume"
        )
        return 0

    def _status(options: argparse.Namespace) -> int:
        import time

        from rich.console import Console
        from rich.live import Live

        from scripts.live_tables import as_text, rollout_table

        rollouts = rollouts_of(make(), options)
        options.status_line.stop()
        console = Console()
        if options.json or not options.follow or not console.is_terminal:
            status = rollouts.status(options.environment)
            show(options, status.to_dict(), as_text(console, rollout_table(status)))
            return 0
        with Live(rollout_table(rollouts.status(options.environment)), console=console) as live:
            while True:
                time.sleep(options.every)
                live.update(rollout_table(rollouts.status(options.environment)))

    example = f"{program} promote production"
    promote = add_command(commands, "promote", _promote, "make the candidate the stable version now", example)
    promote.add_argument("environment", metavar="ENVIRONMENT")

    example = f"{program} abort production --reason 'callers complain'"
    abort = add_command(commands, "abort", _abort, "withdraw the candidate; stable has all requests again", example)
    abort.add_argument("environment", metavar="ENVIRONMENT")
    abort.add_argument("--reason", default="aborted by hand", help="why; recorded in the history")

    example = f"{program} resume production"
    resume = add_command(
        commands,
        "resume",
        _resume,
        "go on with a rollout that was interrupted; drop what was kept long enough",
        example,
    )
    resume.add_argument("environment", metavar="ENVIRONMENT")
    resume.add_argument("--api-key-file", type=Path, default=_KEY, help=key_help)

    example = f"{program} status production --follow"
    status = add_command(
        commands, "status", _status, "show a rollout: steps, weights, both versions' numbers, the verdict", example
    )
    status.add_argument("environment", metavar="ENVIRONMENT")
    status.add_argument("--follow", action="store_true", help="live, on a terminal")
    status.add_argument("--every", type=float, default=2.0, help="seconds between looks (2)")
    status.add_argument("--api-key-file", type=Path, default=_KEY, help=key_help)


def _steps(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: percents, such as 5,25,50,100") from None


def _seconds(text: str) -> int:
    parts = re.fullmatch(r"(\d+)([smh]?)", text)
    if parts is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; allowed: such as 30s, 5m or 1h")
    return int(parts[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[parts[2]]
