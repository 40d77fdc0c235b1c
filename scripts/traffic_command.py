"""The command of `deploy_model.py` that sends an endpoint transactions made from its model's contract."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conventions import exit_codes
from scripts.command_line import Argument, Option, Options, Program, add_command, path_type, progress, show
from scripts.times import Duration

if TYPE_CHECKING:
    from stacks.checks.traffic import Sent
    from stacks.deployment import ModelDeployment


_KEY = Path(__file__).resolve().parents[1] / ".secrets" / "api_key"


def add_traffic_command(
    commands: Program, program: str, make: Callable[[], "ModelDeployment"], environment: Argument
) -> None:
    """Adds traffic.

    Args:
        commands: the program.
        program: its name, for examples.
        make: makes what deploys.
        environment: the argument that names the environment.
    """

    def _traffic(options: Options) -> int:
        from stacks.checks.endpoint import endpoint_verification
        from stacks.checks.traffic import send_traffic, transactions
        from stacks.environments import DeploymentEnvironment
        from stacks.errors import UnknownDeployment

        deployments = make()
        named = DeploymentEnvironment.named(options.environment)
        file = deployments.stack_file(named)
        url = file.deployment().api_endpoint
        if not file.model_version:
            raise UnknownDeployment(f"nothing is deployed to {named}: python scripts/deploy_model.py up {named}")
        schema = deployments.registry.get_metadata(file.model_version).feature_schema
        sent = send_traffic(
            url,
            options.api_key_file,
            transactions(schema, options.seed),
            rate=options.rate,
            seconds=options.seconds,
            verify=endpoint_verification(url, deployments.checkout),
            told=lambda so_far: progress(_line(so_far)),
        )
        answer = {"environment": str(named), "url": url, **sent.to_dict()}
        show(options, answer, f"{named}: {_line(sent)}")
        return exit_codes.DONE if sent.good == sent.requests else exit_codes.ENDPOINT_SILENT

    add_command(
        commands,
        "traffic",
        _traffic,
        "send transactions made from the model's contract where no callers do; 13 when one is not decided",
        f"{program} traffic staging --rate 50 --for 10m",
        environment,
        Option("--rate", type=click.FloatRange(0, 10_000, min_open=True), default=20.0, metavar="N",
               help="requests a second (20)"),
        Option("--for", "seconds", type=Duration(), default="5m", metavar="TIME", help="how long (5m)"),
        Option("--seed", type=int, metavar="N", help="of the random numbers; another one each time when not given"),
        Option("--api-key-file", type=path_type(), default=_KEY, metavar="FILE",
               help="file with an API key that has the scope predict (.secrets/api_key)"),
    )  # fmt: skip


def _line(sent: "Sent") -> str:
    parts = [f"{sent.requests} requests in {sent.seconds:.0f} s", f"{sent.good} decided, {sent.frauds} as fraud"]
    parts += [f"{count} answered {status}" for status, count in sorted(sent.answers.items()) if status != 200]
    parts += [f"{sent.silent} not answered"] if sent.silent else []
    parts += [f"{sent.late} left out: the endpoint is slower than the rate"] if sent.late else []
    shares = [f"{model_id} {count}" for model_id, count in sorted(sent.by_version.items())]
    return "; ".join([*parts, *(shares if len(shares) > 1 else [])])
