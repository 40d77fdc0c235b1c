"""The commands of `deploy_model.py` that make, open and take down an environment."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from scripts import completion
from scripts.api_key_commands import add_api_key_command
from scripts.command_line import Argument, Option, Options, Program, Run, add_command, show
from scripts.decision_log_commands import add_decision_log_commands
from scripts.endpoint_commands import add_endpoint_commands
from scripts.monitoring_commands import add_monitoring_command
from scripts.rollout_commands import reason_option
from scripts.setup_commands import add_setup_commands

if TYPE_CHECKING:
    from stacks.deployment import ModelDeployment

CHECKOUT = Path(__file__).resolve().parents[1]


def add_environment_commands(commands: Program, program: str, make: Callable[[], "ModelDeployment"], up: Run) -> None:
    """Adds the commands for setting up, monitoring, keys, pauses and decisions, and up, down and unlock.

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
    add_api_key_command(commands, program, make, environment)
    add_endpoint_commands(commands, program, make, environment)
    add_decision_log_commands(commands, program, make, environment)
    summary = "remove the lock of a run that has died"
    dead_host = Option(
        "--dead-host", default="", metavar="HOST", help="a host whose run has ended: its lock is removed, however young"
    )
    add_command(commands, "unlock", _unlock, summary, f"{program} unlock development", environment, dead_host)
