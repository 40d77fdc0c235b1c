"""The commands of `deploy_model.py` that make, open and take down an environment."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts import completion
from scripts.command_line import Argument, Option, Options, Program, Run, add_command, show
from scripts.monitoring_commands import add_monitoring_command
from scripts.rollout_commands import reason_option
from scripts.setup_commands import add_setup_commands

if TYPE_CHECKING:
    from stacks.deployment import ModelDeployment

CHECKOUT = Path(__file__).resolve().parents[1]


def add_environment_commands(commands: Program, program: str, make: Callable[[], "ModelDeployment"], up: Run) -> None:
    """Adds init, doctor, monitoring, up, down, api-key and unlock.

    Args:
        commands: the program.
        program: its name, for examples.
        make: makes what deploys.
        up: runs `up`.
    """

    def _down(options: Options) -> int:
        destroyed = make().destroy(options.environment, options.reason)
        text = "stopped and destroyed; the registry and the history stay" if destroyed else "nothing is deployed"
        show(options, {"environment": options.environment, "destroyed": destroyed}, f"{options.environment}: {text}")
        return 0

    def _unlock(options: Options) -> int:
        removed = make().unlock(options.environment, options.dead_host)
        text = f"{removed} stale lock(s) removed" if removed else "not locked"
        show(options, {"environment": options.environment, "removed": removed}, f"{options.environment}: {text}")
        return 0

    environment = Argument("environment", "development, staging or production", shell_complete=completion.environments)
    add_setup_commands(commands, program, make, environment)
    add_monitoring_command(commands, program, make, environment)
    summary = "make what is missing and bring the environment up"
    add_command(commands, "up", up, summary, f"{program} up development", environment)
    summary = "stop the endpoint and destroy the stack"
    add_command(commands, "down", _down, summary, f"{program} down development", environment, reason_option())
    add_command(
        commands,
        "api-key",
        _api_key,
        "make an API key for an environment and print it",
        f"{program} api-key staging checkout-service --scope predict",
        environment,
        Argument("name", "who calls with it; shown in logs"),
        Option(
            "--scope",
            multiple=True,
            type=click.Choice(("predict", "feedback", "admin")),
            help="may be repeated (predict, feedback)",
        ),
        Option(
            "--requests-per-second",
            type=float,
            metavar="NUMBER",
            help="a limit of its own; the service's when not given",
        ),
    )
    summary = "remove the lock of a run that has died"
    dead_host = Option(
        "--dead-host", default="", metavar="HOST", help="a host whose run has ended: its lock is removed, however young"
    )
    add_command(commands, "unlock", _unlock, summary, f"{program} unlock development", environment, dead_host)


def _api_key(options: Options) -> int:
    from stacks.development.api_keys import add_recorded_api_key
    from stacks.registry_access import open_registry

    scopes = options.scope or ["predict", "feedback"]
    key, path = add_recorded_api_key(
        open_registry(CHECKOUT), CHECKOUT, options.environment, options.name, scopes, options.requests_per_second
    )
    answer = {"environment": options.environment, "name": options.name, "api_key": key, "file": str(path)}
    text = f"{key}\n  of {options.name} in {options.environment}; it is shown this once, {path} keeps its hash alone"
    show(options, answer, text)
    return 0
