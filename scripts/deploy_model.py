#!/usr/bin/env python3
"""Deploys model versions to environments, looks after them, and takes them back: `deploy_model.py --help`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

CHECKOUT = Path(__file__).resolve().parents[1]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

from scripts.interrupts import end_at_once  # noqa: E402

if __name__ == "__main__":
    end_at_once()

import click  # noqa: E402

from conventions import exit_codes  # noqa: E402
from scripts import completion  # noqa: E402
from scripts.command_line import (  # noqa: E402
    Argument,
    Option,
    Options,
    Program,
    add_command,
    make_program,
    path_type,
    progress,
    run_command,
    show,
    table,
)
from scripts.console_commands import add_console_command  # noqa: E402
from scripts.endpoint_trust import curl_option, trust_lines  # noqa: E402
from scripts.environment_commands import add_environment_commands  # noqa: E402
from scripts.history_commands import add_history_commands  # noqa: E402
from scripts.report_command import add_report_command  # noqa: E402
from scripts.rollout_commands import (  # noqa: E402
    add_rollout_commands,
    break_glass_options,
    deployed,
    open_rollouts,
    read_break_glass,
    reason_option,
    strategy_options,
)
from scripts.times import When, require_past  # noqa: E402
from scripts.traffic_command import add_traffic_command  # noqa: E402

if TYPE_CHECKING:
    from rich.table import Table

    from stacks.checks.alerts import Alert
    from stacks.checks.health import HealthReport
    from stacks.deployment import ModelDeployment
    from stacks.deployment_updates import DeployOutcome

_EXAMPLES = """\
Examples:
  python scripts/deploy_model.py deploy fraud_detector_XGBoost_20241009_123456 development \\
      --config config/deployment_templates/development.yaml --health-check
  python scripts/deploy_model.py list-deployments --environment development
  python scripts/deploy_model.py health deploy_fraud-detection-dev_development_20241009_123500
  python scripts/deploy_model.py deploy fraud_detector@challenger production --strategy canary --steps 5,25,50,100 \\
      --interval 5m
  python scripts/deploy_model.py status production
  python scripts/deploy_model.py rollback development
"""
_PROGRAM = "python scripts/deploy_model.py"
_ID = "fraud_detector_XGBoost_20241009_123456"
_KEY_HELP = "file with an API key that has the scope admin (.secrets/api_key)"
_GOLDEN_KEY_HELP = (
    "file with an API key that has the scope predict, to ask golden rows (in development .secrets/api_key)"
)
_EXIT_CODES = tuple(code for code in exit_codes.MEANINGS if code != exit_codes.INCOMPLETE)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    return run_command(program(), arguments)


def _deployments() -> "ModelDeployment":
    from stacks import ModelDeployment

    return ModelDeployment(CHECKOUT, log=progress)


def _up(options: Options) -> int:
    from stacks.development.quickstart import bring_up

    outcome = bring_up(_deployments(), CHECKOUT, options.environment, log=progress)
    return _print_outcome(outcome, options, with_call=True)


def _deploy(options: Options) -> int:
    deployments = _deployments()
    config = deployments.create_deployment_config(options.model_id, options.environment, template=options.config)
    if options.force and not options.reason:
        raise click.UsageError("--force needs --reason WHY: it is recorded in the audit log")
    outcome = deployed(deployments, config, options)
    code = _print_outcome(outcome, options)
    if options.health_check:
        report = deployments.check_deployment_health(outcome.deployment.deployment_id, options.api_key_file)
        return _print_health(report, to_stderr=options.json)
    return code


def _rollback(options: Options) -> int:
    if options.to is not None and options.at is not None:
        raise click.UsageError("--to and --at exclude each other")
    require_past(options.at)
    glass = read_break_glass(options)
    outcome = open_rollouts(_deployments(), options).rollback(options.environment, options.to, options.at, glass)
    return _print_outcome(outcome, options)


def _diff(options: Options) -> int:
    from stacks.checks.comparison import compare

    deployments = _deployments()
    found = compare(
        deployments.deployment(options.deployment_a),
        deployments.deployment(options.deployment_b),
        deployments.registry,
    )
    columns = ("what", "a", "b")
    show(options, found, table(columns, found, empty="no difference"))
    return 0


def _health(options: Options) -> int:
    report = _deployments().check_deployment_health(options.deployment_id, options.api_key_file)
    if options.json:
        show(options, report.to_dict(), "")
        return report.exit_code
    return _print_health(report)


def _alerts(options: Options) -> int:
    _, alerts = _deployments().measure(options.environment, options.api_key_file)
    breached = [alert for alert in alerts if alert.breached]
    rows = [{**alert.to_dict(), "state": _state(alert)} for alert in alerts]
    text = table(("state", "name", "value", "threshold", "unit"), rows, empty="")
    show(options, [alert.to_dict() for alert in alerts], text)
    return exit_codes.BREACHED if breached else 0


def _watch(options: Options) -> int:
    import time

    from rich.console import Console
    from rich.live import Live

    from scripts.live_tables import as_text, metrics_table

    deployments = _deployments()

    def draw() -> "Table":
        return metrics_table(options.environment, *deployments.measure(options.environment, options.api_key_file))

    options.status_line.stop()
    console = Console()
    if options.json or not console.is_terminal:
        numbers, alerts = deployments.measure(options.environment, options.api_key_file)
        answer = {**numbers, "alerts": [alert.to_dict() for alert in alerts]}
        show(options, answer, as_text(console, metrics_table(options.environment, numbers, alerts)))
        return 0
    with Live(draw(), console=console, refresh_per_second=4) as live:
        while True:
            time.sleep(options.interval)
            live.update(draw())


def _state(alert: "Alert") -> str:
    return "BREACHED" if alert.breached else "unknown" if alert.value is None else "ok"


def _list_models(options: Options) -> int:
    models = [item.to_dict() for item in _deployments().registry.list_models(status=options.status)]
    columns = ("model_id", "version", "status", "serving", "created_at", "description")
    show(options, models, table(columns, models, empty="no model versions"))
    return 0


def _print_outcome(outcome: "DeployOutcome", options: Options, *, with_call: bool = False) -> int:
    deployment, url = outcome.deployment, outcome.outputs.get("url", "")
    lines = [
        f"{'deployed' if outcome.changed else 'nothing to change: already deployed'} in {deployment.environment}",
        f"  model id       {deployment.model_id}",
        f"  deployment id  {deployment.deployment_id}",
        f"  url            {url}",
    ]
    if with_call:
        lines += [f"  try            {_curl(url)}", f"  console        {_PROGRAM} console"]
    lines += trust_lines(CHECKOUT, url)
    answer = {**deployment.to_dict(), "changed": outcome.changed, "url": url, "outputs": outcome.outputs}
    show(options, answer, "\n".join(lines))
    return 0


def _curl(url: str) -> str:
    return (
        f'curl -s {curl_option(CHECKOUT, url)}{url}/predict -H "X-API-Key: $(cat .secrets/api_key)" '
        "-H 'Content-Type: application/json' -d @models/example_transaction.json"
    )


def _print_health(report: "HealthReport", *, to_stderr: bool = False) -> int:
    lines = [f"{report.deployment_id}: {'healthy' if report.healthy else 'NOT HEALTHY'}"]
    lines += [f"  {'ok' if check.healthy else 'FAILS':5}  {check.name:11}  {check.detail}" for check in report.checks]
    lines += [f"  mend: {report.mend}"] if report.mend else []
    (sys.stderr if to_stderr else sys.stdout).write("\n".join(lines) + "\n")
    return report.exit_code


def program() -> Program:
    """The program with its commands."""
    commands = make_program(
        "deploy_model.py",
        "Deploys model versions to environments, looks after them, and takes them back.",
        _EXAMPLES,
        _EXIT_CODES,
    )
    _add_deploy(commands)
    add_rollout_commands(commands, _PROGRAM, _KEY_HELP, _deployments, _print_outcome)
    _add_past(commands)
    add_history_commands(commands, _PROGRAM, _deployments)
    _add_checks(commands)
    _add_lists(commands)
    add_environment_commands(commands, _PROGRAM, _deployments, _up)
    add_console_command(commands, _PROGRAM)
    add_report_command(commands, _PROGRAM, _deployments)
    add_traffic_command(commands, _PROGRAM, _deployments, _environment())
    return commands


def _environment(**more: Any) -> Argument:
    summary = "development, staging or production"
    return Argument("environment", summary, shell_complete=completion.environments, **more)


def _key_file() -> Option:
    default = CHECKOUT / ".secrets" / "api_key"
    return Option("--api-key-file", type=path_type(), default=default, metavar="FILE", help=_KEY_HELP)


def _add_deploy(commands: Program) -> None:
    add_command(
        commands,
        "deploy",
        _deploy,
        "deploy a model version to an environment",
        f"{_PROGRAM} deploy {_ID} development --health-check",
        Argument("model_id", shell_complete=completion.models),
        _environment(),
        Option(
            "--config",
            type=path_type(),
            metavar="FILE",
            help="deployment template: its keys replace those of the stack's file, the others stay",
        ),
        Option("--health-check", is_flag=True, help="check the endpoint afterwards; 13 when unhealthy"),
        Option(
            "--force",
            is_flag=True,
            help="although it does not pass a gate, such as a metric's; needs --reason",
        ),
        *break_glass_options(),
        reason_option(),
        Option(
            "--no-auto-rollback",
            is_flag=True,
            help="leave a version that does not get healthy as it is, to look at",
        ),
        *strategy_options(_KEY_HELP),
    )


def _add_past(commands: Program) -> None:
    add_command(
        commands,
        "rollback",
        _rollback,
        "go back to a model version deployed before",
        f"{_PROGRAM} rollback development --to {_ID}",
        _environment(),
        Option(
            "--to",
            metavar="MODEL_ID",
            shell_complete=completion.models,
            help="the one to go back to, by any of its names; the last that differs when not given",
        ),
        Option("--at", metavar="TIME", type=When(), help="to what served then, UTC without a zone; a date is the day"),
        *break_glass_options(),
        reason_option(),
    )
    add_command(
        commands,
        "diff",
        _diff,
        "what differs between two deployments: config, model, metrics",
        f"{_PROGRAM} diff DEPLOYMENT_A DEPLOYMENT_B",
        Argument("deployment_a", shell_complete=completion.deployments),
        Argument("deployment_b", shell_complete=completion.deployments),
    )


def _add_checks(commands: Program) -> None:
    add_command(
        commands,
        "health",
        _health,
        "check a deployment's API, model and resources",
        f"{_PROGRAM} health deploy_fraud-detection-dev_development_20241009_123500",
        Argument("deployment_id", shell_complete=completion.deployments),
        Option("--api-key-file", type=path_type(), metavar="FILE", help=_GOLDEN_KEY_HELP),
    )
    add_command(
        commands,
        "alerts",
        _alerts,
        "compare what the endpoint measures with its thresholds; 20 on a breach",
        f"{_PROGRAM} alerts development",
        _environment(),
        _key_file(),
    )
    add_command(
        commands,
        "watch",
        _watch,
        "show what the endpoint measures, live on a terminal, once elsewhere",
        f"{_PROGRAM} watch development",
        _environment(),
        _key_file(),
        Option("--interval", type=float, default=2.0, metavar="SECONDS", help="seconds between looks (2)"),
    )


def _add_lists(commands: Program) -> None:
    add_command(
        commands,
        "list-models",
        _list_models,
        "list the registry's model versions",
        f"{_PROGRAM} list-models --status trained",
        Option(
            "--status",
            metavar="STATUS",
            shell_complete=completion.statuses,
            help="only those with this status, such as trained or deployed",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
