"""The command of `deploy_model.py` that writes rules and a dashboard for a monitoring of one's own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.command_line import Argument, Option, Options, Program, add_command, path_type, show

if TYPE_CHECKING:
    from stacks.deployment import ModelDeployment


def add_monitoring_command(
    commands: Program, program: str, make: Callable[[], "ModelDeployment"], environment: Argument
) -> None:
    """Adds monitoring.

    Args:
        commands: the program.
        program: its name, for examples.
        make: makes what deploys.
        environment: the argument that names the environment.
    """

    def _monitoring(options: Options) -> int:
        import yaml

        from infra.prometheus import alert_rules, dashboard
        from model_store.storage.atomic_file import atomic_write
        from stacks.engine.stack_file import StackFile
        from stacks.environments import DeploymentEnvironment

        named = DeploymentEnvironment.named(options.environment)
        deployment = StackFile.read(make().checkout, named).deployment()
        directory: Path = options.out
        directory.mkdir(parents=True, exist_ok=True)
        rules, board = directory / f"{named}.rules.yml", directory / f"{named}.dashboard.json"
        for path, text in (
            (rules, yaml.safe_dump(alert_rules(deployment), sort_keys=False, width=1000)),
            (board, json.dumps(dashboard(deployment), indent=2) + "\n"),
        ):
            with atomic_write(path) as file:
                file.write(text.encode())
            path.chmod(0o644)
        shown = {"environment": str(named), "rules": str(rules), "dashboard": str(board)}
        text = f"wrote {rules} (rule_files of Prometheus) and {board} (import it in Grafana)"
        show(options, shown, text)
        return 0

    out = Option(
        "--out", type=path_type(), default="monitoring", metavar="DIRECTORY", help="where the files go (monitoring)"
    )
    summary = "write Prometheus's alert rules and Grafana's dashboard with the stack's thresholds"
    add_command(commands, "monitoring", _monitoring, summary, f"{program} monitoring staging", environment, out)
