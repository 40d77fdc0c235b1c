#!/usr/bin/env python3
"""Deploys model versions to environments, looks after them, and takes them back.

exit codes:
  0   done, or nothing had to be done
  1   something unexpected; the message says what
  2   wrong usage, or an unknown environment
  3   no such model version or deployment
  4   the artifact or model file is not intact (truncated, altered)
  5   the model file holds something that is not trusted
  6   the key is missing or not the right one
  7   no prior version to roll back to, or a conflict in the registry
  8   the registry cannot be written
  9   the template or the stack's config is not valid
  10  somebody else is changing the environment
  11  a run that has died left the stack locked: `deploy_model.py unlock`
  12  the deployment failed; what served before goes on
  13  the endpoint is not healthy
  14  there is no Pulumi engine: `python -m toolchain`
  130 interrupted
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

CHECKOUT = Path(__file__).resolve().parents[1]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

if TYPE_CHECKING:
    from stacks.deployment import DeployOutcome, ModelDeployment
    from stacks.health import HealthReport

_EXAMPLES = """\
examples:
  python scripts/deploy_model.py deploy fraud_detector_XGBoost_20241009_123456 development \\
      --config config/deployment_templates/development.yaml --health-check
  python scripts/deploy_model.py list-deployments --environment development
  python scripts/deploy_model.py health deploy_fraud-detection-dev_development_20241009_123500
  python scripts/deploy_model.py rollback development
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        _complain("interrupted; run the same command again to go on")
        return 130
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        _complain(str(error))
        return int(code)


def _deployments() -> "ModelDeployment":
    from stacks import ModelDeployment

    return ModelDeployment(CHECKOUT, say=_progress)


def _up(options: argparse.Namespace) -> int:
    from stacks.quickstart import bring_up

    outcome = bring_up(_deployments(), CHECKOUT, options.environment, say=_progress)
    return _print_outcome(outcome, options, with_call=True)


def _deploy(options: argparse.Namespace) -> int:
    deployments = _deployments()
    config = deployments.create_deployment_config(options.environment, options.config)
    outcome = deployments.deploy_model(options.model_id, config)
    code = _print_outcome(outcome, options)
    if options.health_check:
        report = deployments.check_deployment_health(outcome.deployment.deployment_id)
        return _print_health(report, to_stderr=options.json)
    return code


def _rollback(options: argparse.Namespace) -> int:
    return _print_outcome(_deployments().rollback_deployment(options.environment, options.to), options)


def _down(options: argparse.Namespace) -> int:
    destroyed = _deployments().destroy(options.environment)
    text = "stopped and destroyed; the registry and the history stay" if destroyed else "nothing is deployed"
    _print(options, {"environment": options.environment, "destroyed": destroyed}, f"{options.environment}: {text}")
    return 0


def _unlock(options: argparse.Namespace) -> int:
    removed = _deployments().unlock(options.environment)
    text = f"{removed} stale lock(s) removed" if removed else "not locked"
    _print(options, {"environment": options.environment, "removed": removed}, f"{options.environment}: {text}")
    return 0


def _health(options: argparse.Namespace) -> int:
    report = _deployments().check_deployment_health(options.deployment_id)
    if options.json:
        _print(options, report.to_dict(), "")
        return 0 if report.healthy else 13
    return _print_health(report)


def _list_models(options: argparse.Namespace) -> int:
    models = [item.to_dict() for item in _deployments().registry.list_models(status=options.status)]
    columns = ("model_id", "status", "created_at", "description")
    _print(options, models, _table(columns, models, empty="no model versions"))
    return 0


def _list_deployments(options: argparse.Namespace) -> int:
    found = [item.to_dict() for item in _deployments().list_deployments(options.environment)]
    columns = ("deployment_id", "model_id", "started_at", "intent", "current")
    _print(options, found, _table(columns, found, empty="no deployments"))
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
    _print(options, answer, "\n".join(lines))
    return 0


def _curl(url: str) -> str:
    return (
        f'curl -s {url}/predict -H "X-API-Key: $(cat .secrets/api_key)" '
        "-H 'Content-Type: application/json' -d @models/example_transaction.json"
    )


def _print_health(report: "HealthReport", *, to_stderr: bool = False) -> int:
    lines = [f"{report.deployment_id}: {'healthy' if report.healthy else 'NOT HEALTHY'}"]
    lines += [f"  {'ok' if check.healthy else 'FAILS':5}  {check.name:10}  {check.detail}" for check in report.checks]
    (sys.stderr if to_stderr else sys.stdout).write("\n".join(lines) + "\n")
    return 0 if report.healthy else 13


def _table(columns: tuple[str, ...], rows: list[dict[str, Any]], *, empty: str) -> str:
    """Columns as wide as their widest value, so that an id is never cut."""
    if not rows:
        return empty
    texts = [[str(row[column]) for column in columns] for row in rows]
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *texts, strict=True)]
    header = [column.replace("_", " ") for column in columns]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *texts]
    )


def _print(options: argparse.Namespace, value: object, text: str) -> None:
    sys.stdout.write((json.dumps(value, indent=2) if options.json else text) + "\n")


def _progress(line: str) -> None:
    if line.strip():
        sys.stderr.write(f"{line}\n")


def _complain(message: str) -> None:
    colour = ("\x1b[31m", "\x1b[0m") if sys.stderr.isatty() else ("", "")
    sys.stderr.write(f"{colour[0]}error:{colour[1]} {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deploy_model.py",
        description=(__doc__ or "").split("\n\n")[0],
        epilog=f"{_EXAMPLES}\n{(__doc__ or '').split(chr(10) * 2, 1)[1]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    deploy = _command(commands, "deploy", _deploy, "deploy a model version to an environment", _EXAMPLES)
    deploy.add_argument("model_id", metavar="MODEL_ID")
    deploy.add_argument("environment", metavar="ENVIRONMENT", help="development, staging or production")
    deploy.add_argument("--config", type=Path, help="deployment template; the environment's own when not given")
    deploy.add_argument("--health-check", action="store_true", help="check the endpoint afterwards; 13 when unhealthy")

    example = "example: python scripts/deploy_model.py rollback development --to fraud_detector_XGBoost_20241009_123456"
    rollback = _command(commands, "rollback", _rollback, "go back to a model version deployed before", example)
    rollback.add_argument("environment", metavar="ENVIRONMENT")
    rollback.add_argument(
        "--to", metavar="MODEL_ID", help="the one to go back to; the last that differs when not given"
    )

    example = "example: python scripts/deploy_model.py health deploy_fraud-detection-dev_development_20241009_123500"
    health = _command(commands, "health", _health, "check a deployment's API, model and resources", example)
    health.add_argument("deployment_id", metavar="DEPLOYMENT_ID")

    example = "example: python scripts/deploy_model.py list-models --status trained"
    models = _command(commands, "list-models", _list_models, "list the registry's model versions", example)
    models.add_argument("--status", help="only those with this status, such as trained or deployed")

    example = "example: python scripts/deploy_model.py list-deployments --environment development --json"
    listing = _command(commands, "list-deployments", _list_deployments, "list deployments, newest first", example)
    listing.add_argument("--environment", metavar="ENVIRONMENT", help="only this environment's")

    example = "example: python scripts/deploy_model.py up development"
    up = _command(commands, "up", _up, "make what is missing and bring the environment up", example)
    up.add_argument("environment", metavar="ENVIRONMENT")

    example = "example: python scripts/deploy_model.py down development"
    down = _command(commands, "down", _down, "stop the endpoint and destroy the stack", example)
    down.add_argument("environment", metavar="ENVIRONMENT")

    example = "example: python scripts/deploy_model.py unlock development"
    unlock = _command(commands, "unlock", _unlock, "remove the lock of a run that has died", example)
    unlock.add_argument("environment", metavar="ENVIRONMENT")
    return parser


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str, epilog: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON on standard output, progress on standard error")
    parser.set_defaults(run=run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
