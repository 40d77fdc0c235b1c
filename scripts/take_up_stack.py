#!/usr/bin/env python3
"""Writes into a clone's stack file what the last deployment in the backend had: model version, slot and candidate.

A job of CI starts from a clone, whose files hold configuration alone. A file that names a model version stays as it is.

exit codes: 0 done, or nothing had to be done; 1 or more: as deploy_model.py
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

from conventions import config_keys  # noqa: E402
from infra.errors import ConfigError  # noqa: E402
from scripts.command_line import complain, progress  # noqa: E402
from stacks.errors import StacksError  # noqa: E402

_EXAMPLE = "example:\n  python scripts/take_up_stack.py production"
_OF_A_ROLLOUT = ("slot", "candidate", "weight", "shadow", "kept", "kept_until")
"""What of the rollout tells where it is; the other keys tell how it is made."""


def main(arguments: list[str] | None = None) -> int:
    """Takes up a stack; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        model_id = take_up(CHECKOUT, options.environment)
    except (ConfigError, StacksError) as error:
        complain(str(error))
        return error.exit_code
    if model_id:
        progress(f"{options.environment} serves {model_id}, says the backend")
    return 0


def take_up(checkout: Path, name: str) -> str:
    """Writes what runs into the stack's file, where it names no model version.

    Args:
        checkout: the project's root.
        name: of the environment.

    Returns:
        The model version; empty where nothing was written.

    Raises:
        ConfigError: the file does not fit.
        StacksError: the backend cannot be read.
    """
    from infra.break_glass import parse_break_glass
    from infra.rollout_config import parse_rollout_config
    from stacks.deployment import ModelDeployment
    from stacks.environments import DeploymentEnvironment

    environment = DeploymentEnvironment.named(name)
    deployments = ModelDeployment(checkout, log=progress)
    file = deployments.stack_file(environment)
    if file.model_version:
        return ""
    values = with_what_runs(file.config, deployments.last_config(environment))
    model_id = str(values.get(config_keys.MODEL_VERSION) or "")
    if not model_id:
        return ""
    where = f"{file.name}: {config_keys.ROLLOUT}"
    rollout = parse_rollout_config(values.get(config_keys.ROLLOUT), where, model_id, file.platform)
    glass = parse_break_glass(values.get(config_keys.BREAK_GLASS), file.name)
    (file.with_break_glass(glass) if glass else file).written(model_id, file.deployment(), rollout)
    return model_id


def with_what_runs(values: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, Any]:
    """A stack's config with the model version and the place in a rollout of the last deployment, where it has none.

    Args:
        values: of the stack's file.
        last: the config of the last deployment; empty when there was none.
    """
    found = dict(values)
    version, rollout, glass = config_keys.MODEL_VERSION, config_keys.ROLLOUT, config_keys.BREAK_GLASS
    if found.get(version) or not last.get(version):
        return found
    found[version] = last[version]
    if glass in last:
        found.setdefault(glass, last[glass])
    place = {key: value for key, value in (last.get(rollout) or {}).items() if key in _OF_A_ROLLOUT}
    if rollout in found or rollout in last:
        found[rollout] = {**place, **(found.get(rollout) or last[rollout])}
    return found


def _parser() -> argparse.ArgumentParser:
    summary, _, rest = str(__doc__).partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="take_up_stack.py",
        description=summary,
        epilog=f"{_EXAMPLE}\n\n{rest}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("environment", metavar="ENVIRONMENT", help="development, staging or production")
    return parser


if __name__ == "__main__":
    sys.exit(main())
