#!/usr/bin/env python3
"""Deploys model versions to environments, looks after them, and takes them back.

exit codes:
  0   done, or nothing had to be done
  1   something unexpected; the message says what
  2   wrong usage
  3   no such model version or deployment
  4   the artifact or model file is not intact (truncated, altered)
  5   the model file holds something that is not trusted
  6   the key is missing or not the right one
  7   a conflict in the registry
  8   the registry cannot be written
  9   the template or the stack's config is not valid
  10  somebody else is changing the environment
  11  a run that has died left the stack locked: `deploy_model.py unlock`
  12  the deployment failed; what served before goes on
  13  the endpoint is not healthy
  14  there is no Pulumi engine: `python -m toolchain`
  15  another program listens where the endpoint should
  17  there is no such environment
  18  there is no prior version to roll back to
  19  the model version does not pass a gate
  20  a threshold is breached
  21  a candidate is being tried already, or none is
  22  the candidate was worse and was withdrawn; what served before goes on
  23  too few requests came to decide about the candidate; it stays as it is
  130 interrupted
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from conventions import exit_codes

CHECKOUT = Path(__file__).resolve().parents[1]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

from scripts.command_line import add_command, complain, make_parser, progress, run_command, show, table  # noqa: E402
from scripts.rollout_commands import (  # noqa: E402
    add_rollout_commands,
    add_strategy_options,
    deployed,
    rollouts_of,
)

if TYPE_CHECKING:
    from rich.table import Table

    from stacks.checks.alerts import Alert
    from stacks.checks.health import HealthReport
    from stacks.deployment import ModelDeployment
    from stacks.deployment_updates import DeployOutcome

_EXAMPLES = """\
examples:
  python scripts/deploy_model.py deploy fraud_detector_XGBoost_20241009_123456 development \\
      --config config/deployment_templates/development.yaml --health-check
  python scripts/deploy_model.py list-deployments --environment development
  python scripts/deploy_model.py health deploy_fraud-detection-dev_development_20241009_123500
  python scripts/deploy_model.py deploy fraud_detector@challenger production --strategy canary --steps 5,25,50,100 \\
      --interval 5m
  python scripts/deploy_model.py status production
  python scripts/deploy_model.py rollback development
"""


_GOLDEN_KEY_HELP = (
    "file with an API key that has the scope predict, to ask golden rows (in development .secrets/api_key)"
)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    return run_command(_parser(), arguments)


def _deployments() -> "ModelDeployment":
    from stacks import ModelDeployment

    return ModelDeployment(CHECKOUT, log=progress)


def _up(options: argparse.Namespace) -> int:
    from stacks.development.quickstart import bring_up

    outcome = bring_up(_deployments(), CHECKOUT, options.environment, log=progress)
    return _print_outcome(outcome, options, with_call=True)


def _deploy(options: argparse.Namespace) -> int:
    deployments = _deployments()
    config = deployments.create_deployment_config(options.model_id, options.environment, template=options.config)
    if options.force and not options.reason:
        complain("--force needs --reason WHY: it is recorded in the audit log")
        return exit_codes.INVALID_INPUT
    outcome = deployed(deployments, config, options)
    code = _print_outcome(outcome, options)
    if options.health_check:
        report = deployments.check_deployment_health(outcome.deployment.deployment_id, options.api_key_file)
        return _print_health(report, to_stderr=options.json)
    return code


def _rollback(options: argparse.Namespace) -> int:
    outcome = rollouts_of(_deployments(), options).rollback(options.environment, options.to, options.at)
    return _print_outcome(outcome, options)


def _history(options: argparse.Namespace) -> int:
    from stacks.history import deployment_at

    found = _deployments().list_deployments(options.environment)
    if options.at is not None:
        then = deployment_at(found, options.at)
        found = [then] if then else []
    rows = [item.to_dict() for item in found]
    columns = ["started_at", "intent", "model_id", "deployment_id", "update", "current"]
    if any(row["candidate"] for row in rows):
        columns += ["candidate", "candidate_weight"]
    show(options, rows, table(columns, rows, empty="nothing was deployed"))
    return 0


def _diff(options: argparse.Namespace) -> int:
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


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time. Example: 2026-10-09T14:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _down(options: argparse.Namespace) -> int:
    destroyed = _deployments().destroy(options.environment)
    text = "stopped and destroyed; the registry and the history stay" if destroyed else "nothing is deployed"
    show(options, {"environment": options.environment, "destroyed": destroyed}, f"{options.environment}: {text}")
    return 0


def _unlock(options: argparse.Namespace) -> int:
    removed = _deployments().unlock(options.environment)
    text = f"{removed} stale lock(s) removed" if removed else "not locked"
    show(options, {"environment": options.environment, "removed": removed}, f"{options.environment}: {text}")
    return 0


def _api_key(options: argparse.Namespace) -> int:
    from stacks.development.api_keys import add_api_key

    scopes = options.scope or ["predict", "feedback"]
    key, path = add_api_key(CHECKOUT, options.environment, options.name, scopes, options.requests_per_second)
    answer = {"environment": options.environment, "name": options.name, "api_key": key, "file": str(path)}
    text = f"{key}\n  of {options.name} in {options.environment}; it is shown this once, {path} keeps its hash alone"
    show(options, answer, text)
    return 0


def _health(options: argparse.Namespace) -> int:
    report = _deployments().check_deployment_health(options.deployment_id, options.api_key_file)
    if options.json:
        show(options, report.to_dict(), "")
        return 0 if report.healthy else exit_codes.ENDPOINT_SILENT
    return _print_health(report)


def _alerts(options: argparse.Namespace) -> int:
    _, alerts = _deployments().measure(options.environment, options.api_key_file)
    breached = [alert for alert in alerts if alert.breached]
    rows = [{**alert.to_dict(), "state": _state(alert)} for alert in alerts]
    text = table(("state", "name", "value", "threshold", "unit"), rows, empty="")
    show(options, [alert.to_dict() for alert in alerts], text)
    return exit_codes.BREACHED if breached else 0


def _watch(options: argparse.Namespace) -> int:
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


def _list_models(options: argparse.Namespace) -> int:
    models = [item.to_dict() for item in _deployments().registry.list_models(status=options.status)]
    columns = ("model_id", "status", "created_at", "description")
    show(options, models, table(columns, models, empty="no model versions"))
    return 0


def _list_deployments(options: argparse.Namespace) -> int:
    found = [item.to_dict() for item in _deployments().list_deployments(options.environment)]
    columns = ("deployment_id", "model_id", "started_at", "intent", "current")
    show(options, found, table(columns, found, empty="no deployments"))
    return 0


def _print_outcome(outcome: "DeployOutcome", options: argparse.Namespace, *, with_call: bool = False) -> int:
    deployment, url = outcome.deployment, outcome.outputs.get("url", "")
    lines = [
        f"{'deployed' if outcome.changed else 'nothing to change: already deployed'} in {deployment.environment}",
        f"  model id       {deployment.model_id}",
        f"  deployment id  {deployment.deployment_id}",
        f"  url            {url}",
    ]
    if with_call:
        lines += [f"  try            {_curl(url)}"]
    answer = {**deployment.to_dict(), "changed": outcome.changed, "url": url, "outputs": outcome.outputs}
    show(options, answer, "\n".join(lines))
    return 0


def _curl(url: str) -> str:
    return (
        f'curl -s {url}/predict -H "X-API-Key: $(cat .secrets/api_key)" '
        "-H 'Content-Type: application/json' -d @models/example_transaction.json"
    )


def _print_health(report: "HealthReport", *, to_stderr: bool = False) -> int:
    lines = [f"{report.deployment_id}: {'healthy' if report.healthy else 'NOT HEALTHY'}"]
    lines += [f"  {'ok' if check.healthy else 'FAILS':5}  {check.name:11}  {check.detail}" for check in report.checks]
    (sys.stderr if to_stderr else sys.stdout).write("\n".join(lines) + "\n")
    return 0 if report.healthy else exit_codes.ENDPOINT_SILENT


def _parser() -> argparse.ArgumentParser:
    parser, commands = make_parser("deploy_model.py", __doc__ or "", _EXAMPLES)
    key_help = "file with an API key that has the scope admin (.secrets/api_key)"
    program, some_id = "python scripts/deploy_model.py", "fraud_detector_XGBoost_20241009_123456"

    example = f"{program} deploy {some_id} development --health-check"
    deploy = add_command(commands, "deploy", _deploy, "deploy a model version to an environment", example)
    deploy.add_argument("model_id", metavar="MODEL_ID")
    deploy.add_argument("environment", metavar="ENVIRONMENT", help="development, staging or production")
    deploy.add_argument("--config", type=Path, help="deployment template; the environment's own when not given")
    deploy.add_argument("--health-check", action="store_true", help="check the endpoint afterwards; 13 when unhealthy")

    deploy.add_argument("--force", action="store_true", help="although it does not pass a gate; needs --reason")
    deploy.add_argument("--reason", default="", help="why; recorded in the audit log")
    deploy.add_argument(
        "--no-auto-rollback", action="store_true", help="leave a version that does not get healthy as it is, to look at"
    )

    add_strategy_options(deploy, key_help)
    add_rollout_commands(commands, program, key_help, _deployments, _print_outcome)

    example = f"{program} rollback development --to {some_id}"
    rollback = add_command(commands, "rollback", _rollback, "go back to a model version deployed before", example)
    rollback.add_argument("environment", metavar="ENVIRONMENT")
    target = rollback.add_mutually_exclusive_group()
    target.add_argument("--to", metavar="MODEL_ID", help="the one to go back to; the last that differs when not given")
    target.add_argument("--at", metavar="TIME", type=_moment, help="to what was deployed then, UTC without a zone")

    example = f"{program} history production --at 2026-10-09T14:00Z"
    history = add_command(commands, "history", _history, "what was deployed when, or at one time", example)
    history.add_argument("environment", metavar="ENVIRONMENT")
    history.add_argument("--at", metavar="TIME", type=_moment, help="only what served then, UTC without a zone")

    example = f"{program} diff DEPLOYMENT_A DEPLOYMENT_B"
    diff = add_command(commands, "diff", _diff, "what differs between two deployments: config, model, metrics", example)
    diff.add_argument("deployment_a", metavar="DEPLOYMENT_A")
    diff.add_argument("deployment_b", metavar="DEPLOYMENT_B")

    example = f"{program} health deploy_fraud-detection-dev_development_20241009_123500"
    health = add_command(commands, "health", _health, "check a deployment's API, model and resources", example)
    health.add_argument("deployment_id", metavar="DEPLOYMENT_ID")
    health.add_argument("--api-key-file", type=Path, help=_GOLDEN_KEY_HELP)

    example = f"{program} alerts development"
    alerts = add_command(
        commands, "alerts", _alerts, "compare what the endpoint measures with its thresholds; 20 on a breach", example
    )
    alerts.add_argument("environment", metavar="ENVIRONMENT")
    alerts.add_argument("--api-key-file", type=Path, default=CHECKOUT / ".secrets" / "api_key", help=key_help)

    example = f"{program} watch development"
    watch = add_command(
        commands, "watch", _watch, "show what the endpoint measures, live on a terminal, once elsewhere", example
    )
    watch.add_argument("environment", metavar="ENVIRONMENT")
    watch.add_argument("--api-key-file", type=Path, default=CHECKOUT / ".secrets" / "api_key", help=key_help)
    watch.add_argument("--interval", type=float, default=2.0, help="seconds between looks (2)")

    example = f"{program} list-models --status trained"
    models = add_command(commands, "list-models", _list_models, "list the registry's model versions", example)
    models.add_argument("--status", help="only those with this status, such as trained or deployed")

    example = f"{program} list-deployments --environment development --json"
    listing = add_command(commands, "list-deployments", _list_deployments, "list deployments, newest first", example)
    listing.add_argument("--environment", metavar="ENVIRONMENT", help="only this environment's")

    example = f"{program} up development"
    up = add_command(commands, "up", _up, "make what is missing and bring the environment up", example)
    up.add_argument("environment", metavar="ENVIRONMENT")

    example = f"{program} down development"
    down = add_command(commands, "down", _down, "stop the endpoint and destroy the stack", example)
    down.add_argument("environment", metavar="ENVIRONMENT")

    example = f"{program} api-key staging checkout-service --scope predict"
    api_key = add_command(commands, "api-key", _api_key, "make an API key for an environment and print it", example)
    api_key.add_argument("environment", metavar="ENVIRONMENT")
    api_key.add_argument("name", metavar="NAME", help="who calls with it; shown in logs")
    api_key.add_argument(
        "--scope", action="append", choices=("predict", "feedback", "admin"), help="may be repeated (predict, feedback)"
    )
    api_key.add_argument("--requests-per-second", type=float, help="a limit of its own; the service's when not given")

    example = f"{program} unlock development"
    unlock = add_command(commands, "unlock", _unlock, "remove the lock of a run that has died", example)
    unlock.add_argument("environment", metavar="ENVIRONMENT")
    return parser


if __name__ == "__main__":
    sys.exit(main())
