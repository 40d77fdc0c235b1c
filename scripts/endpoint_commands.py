"""The commands of `deploy_model.py` that step in at an endpoint: pause, unpause, receipt-key."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts.command_line import Argument, Option, Options, Program, add_command, path_type, progress, show
from scripts.rollout_commands import reason_option
from scripts.times import End

if TYPE_CHECKING:
    from stacks.deployment import ModelDeployment
    from stacks.overrides import Overrides

CHECKOUT = Path(__file__).resolve().parents[1]


def add_endpoint_commands(
    commands: Program, program: str, make: Callable[[], "ModelDeployment"], environment: Argument
) -> None:
    """Adds pause, unpause and receipt-key.

    Args:
        commands: the program.
        program: its name, for examples.
        make: makes what deploys.
        environment: the argument that names the environment.
    """

    def _overrides() -> "Overrides":
        from stacks.overrides import Overrides

        deployments = make()
        return Overrides(deployments.checkout, lambda: deployments.registry, progress)

    def _pause(options: Options) -> int:
        override = _overrides().pause(options.environment, options.answer, options.until, options.reason)
        text = f"{options.environment}: every decision is {override.answer} until {override.ends}"
        show(options, {"environment": options.environment, "override": override.to_dict()}, text)
        return 0

    def _unpause(options: Options) -> int:
        ended = _overrides().unpause(options.environment, options.reason)
        text = "nothing was paused" if ended is None else f"the model decides again; it was paused until {ended.ends}"
        answer = {"environment": options.environment, "ended": None if ended is None else ended.to_dict()}
        show(options, answer, f"{options.environment}: {text}")
        return 0

    add_command(
        commands,
        "pause",
        _pause,
        "let people decide in place of the model until a time: every answer is legit, or review (fraud)",
        f"{program} pause production --answer review --until 2h --reason 'scores look wrong since the feed changed'",
        environment,
        Option("--answer", type=click.Choice(("legit", "review")), required=True, help="what every decision is"),
        Option(
            "--until",
            type=End(),
            required=True,
            metavar="TIME",
            help="when it ends by itself: a time, a day in UTC, or 30m, 4h, 2d from now; at most 7 days",
        ),
        Option("--reason", required=True, metavar="WHY", help="why; recorded in the audit log and shown in status"),
    )
    example = f"{program} unpause production --reason 'the feed is repaired'"
    add_command(commands, "unpause", _unpause, "let the model decide again", example, environment, reason_option())
    _add_receipt_key(commands, program, environment)


def _add_receipt_key(commands: Program, program: str, environment: Argument) -> None:
    add_command(
        commands,
        "receipt-key",
        _receipt_key,
        "go on taking feedback on receipts of before, after the key of the model has changed",
        f"{program} receipt-key production --former old-model.key",
        environment,
        Option(
            "--former",
            type=path_type(),
            required=True,
            metavar="FILE",
            help="file with the key of the model that was in use before",
        ),
    )


def _receipt_key(options: Options) -> int:
    from conventions import variables
    from model_store.keys.defaults import key_file
    from stacks.development.api_keys import keep_receipt_key, recorded_key_change
    from stacks.registry_access import open_registry

    present = Path(os.environ.get(variables.MODEL_KEY_FILE) or key_file(CHECKOUT))
    name, path = recorded_key_change(
        open_registry(CHECKOUT),
        options.environment,
        "receipts",
        "receipts of a former key of the model are verified",
        lambda: keep_receipt_key(CHECKOUT, options.environment, present, options.former),
        action="receipt-key",
    )
    answer = {"environment": options.environment, "key": name, "file": str(path)}
    text = f"receipts of key {name} are verified in {options.environment}; {path} has that key, sealed"
    show(options, answer, text)
    return 0
