"""One stack of this checkout, driven through the Automation API on the same state as the plain command line."""

import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conventions.config_keys import PROJECT
from stacks.engine.development_secrets import ensure_development_secrets
from stacks.environments import DeploymentEnvironment
from stacks.errors import DeploymentFailed, EngineMissing

if TYPE_CHECKING:
    from pulumi.automation import PulumiCommand, Stack

SECRETS_PROVIDER_VARIABLE = "PULUMI_SECRETS_PROVIDER"
"""What a stack that is made encrypts its secrets with, such as `awskms://alias/fraud-detection?region=eu-central-1`; a
passphrase when it is not set."""


def backend_url(checkout: Path) -> str:
    """The location of the state: `$PULUMI_BACKEND_URL`, or `.state` in the checkout."""
    return os.environ.get("PULUMI_BACKEND_URL") or f"file://{checkout / '.state'}"


def select_stack(checkout: Path, environment: DeploymentEnvironment, serves_on: str = "") -> "Stack":
    """Returns the environment's stack, made on first use; the program runs inline in this process.

    Args:
        checkout: the project's root.
        environment: which.
        serves_on: the stable version, where an update leaves it as it is; see `infra.program.program`.

    Raises:
        EngineMissing: there is no `pulumi` to run.
        DeploymentFailed: the state or its secrets cannot be read, such as without credentials.
    """
    from pulumi import automation

    from infra.program import program

    try:
        return automation.create_or_select_stack(
            environment.stack,
            PROJECT,
            functools.partial(program, serves_on),
            opts=automation.LocalWorkspaceOptions(
                # Of a stack that is made now; one that is there keeps what its config file names.
                secrets_provider=os.environ.get(SECRETS_PROVIDER_VARIABLE),
                **_workspace_arguments(checkout),
            ),
        )
    except automation.CommandError as error:
        lines = [line for line in str(error).splitlines() if "error:" in line]
        reason = lines[-1].split("error:", 1)[1].strip() if lines else str(error).strip()
        raise DeploymentFailed(f"stack {environment.stack} cannot be opened: {reason}; nothing was changed") from None


def existing_environments(checkout: Path) -> list[DeploymentEnvironment]:
    """The environments whose stacks were made on this state; looking makes none."""
    from pulumi import automation

    workspace = automation.LocalWorkspace(**_workspace_arguments(checkout))
    stacks = {summary.name for summary in workspace.list_stacks()}
    return [environment for environment in DeploymentEnvironment if environment.stack in stacks]


def _workspace_arguments(checkout: Path) -> dict[str, Any]:
    prepare_backend(checkout)
    return {
        "work_dir": str(checkout),
        "env_vars": engine_environment(checkout),
        "pulumi_command": _engine(),
    }


def prepare_backend(checkout: Path) -> None:
    """Makes the state's directory where the state is one."""
    url = backend_url(checkout)
    if url.startswith("file://"):
        Path(url.removeprefix("file://").split("?")[0]).mkdir(parents=True, exist_ok=True)


def engine_environment(checkout: Path) -> dict[str, str]:
    """Variables the engine needs; what the caller has set already wins."""
    variables = {
        "PULUMI_BACKEND_URL": backend_url(checkout),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "FRAUD_DETECTION_PYTHON": sys.executable,
    }
    if not {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"} & os.environ.keys():
        secrets = ensure_development_secrets(checkout)
        variables["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(secrets.passphrase)
    return variables


@functools.cache
def _engine() -> "PulumiCommand":
    from pulumi.automation import PulumiCommand

    beside_python = Path(sys.executable).parent
    root = str(beside_python.parent) if (beside_python / "pulumi").exists() else None
    try:
        return PulumiCommand(root=root)
    except (OSError, ValueError) as error:
        raise EngineMissing(f"there is no usable `pulumi` ({error}); run: python -m toolchain") from None
