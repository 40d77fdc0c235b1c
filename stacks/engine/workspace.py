"""One stack of this checkout, driven through the Automation API on the same state as the plain command line."""

import functools
import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conventions.config_keys import PROJECT
from stacks.engine.backend import (
    BACKEND_VARIABLE,
    SecretsProvider,
    backend_url,
    state_directory,
    stored_deployment,
    unwritable,
)
from stacks.engine.development_secrets import (
    PASSPHRASE_FILE,
    ensure_development_secrets,
    ensure_passphrase,
    is_passphrase_given,
)
from stacks.engine.reading import read_engine
from stacks.engine.secrets_provider import SECRETS_PROVIDER_VARIABLE, require_secrets_provider, unchanged
from stacks.environments import DeploymentEnvironment
from stacks.errors import DeploymentFailed, EngineMissing

if TYPE_CHECKING:
    from pulumi.automation import PulumiCommand, Stack

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def select_stack(checkout: Path, environment: DeploymentEnvironment, serves_on: str = "") -> "Stack":
    """Returns the environment's stack, made on first use; the program runs inline in this process.

    A stack that is there keeps the secrets provider that its state names, whatever this clone's files say or lack.

    Args:
        checkout: the project's root.
        environment: which.
        serves_on: the stable version, where an update leaves it as it is; see `infra.program.program`.

    Raises:
        EngineMissing: there is no `pulumi` to run.
        SecretsProviderProblem: the passphrase is lost or empty, or the stack's file names another secrets provider.
        StateDamaged: the state is cut short or altered.
        DeploymentFailed: the state or its secrets cannot be read, such as without credentials.
    """
    from pulumi import automation

    from infra.program import program

    stored = stack_provider(checkout, environment.stack)
    require_secrets_provider(checkout, environment.stack, stored)
    arguments = _workspace_arguments(checkout, environment)

    def select() -> "Stack":
        return automation.create_or_select_stack(
            environment.stack,
            PROJECT,
            functools.partial(program, serves_on),
            opts=automation.LocalWorkspaceOptions(
                # Of a stack that is made now; one that is there keeps what its state names.
                secrets_provider=os.environ.get(SECRETS_PROVIDER_VARIABLE),
                **arguments,
            ),
        )

    if stored is not None:
        return read_engine(checkout, environment.stack, select)
    with unchanged(checkout / f"Pulumi.{environment.stack}.yaml"):
        return read_engine(checkout, environment.stack, select)


def stack_provider(checkout: Path, stack: str) -> SecretsProvider | None:
    """What encrypts the secrets of a stack, as its state has it; None where there is no such stack.

    Raises:
        StateDamaged: the state is cut short or altered.
        DeploymentFailed: the state cannot be read.
    """
    return SecretsProvider.of(exported_state(checkout, stack))


def stack_outputs(checkout: Path, stack: str) -> dict[str, Any]:
    """The outputs of a stack, as its state has them, without secrets; empty for a stack that is not deployed.

    Raises:
        StateDamaged: the state is cut short or altered.
        DeploymentFailed: the state cannot be read.
    """
    return outputs_of(exported_state(checkout, stack))


def outputs_of(state: Mapping[str, Any] | None) -> dict[str, Any]:
    """The outputs in a stack's exported state, without secrets; empty where there are none."""
    for resource in (state or {}).get("resources") or ():
        if resource.get("type") == "pulumi:pulumi:Stack":
            return dict(resource.get("outputs") or {})
    return {}


def saved_at(state: Mapping[str, Any] | None) -> datetime | None:
    """When an exported state was saved, by the clock of the host that saved it; None where it does not tell."""
    try:
        text = str((state or {})["manifest"]["time"])
        found = datetime.fromisoformat(re.sub(r"\.\d+", "", text))
    except (KeyError, TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def exported_state(checkout: Path, stack: str) -> Mapping[str, Any] | None:
    """The state of a stack; None where there is no such stack.

    Raises:
        StateDamaged: the state is cut short or altered.
        DeploymentFailed: the state cannot be read.
    """
    if state_directory(checkout) is not None:
        return stored_deployment(checkout, stack)
    from pulumi import automation

    workspace = automation.LocalWorkspace(
        work_dir=str(checkout), env_vars=engine_environment(checkout), pulumi_command=_engine()
    )

    def export() -> Mapping[str, Any] | None:
        try:
            return workspace.export_stack(stack).deployment or {}
        except automation.StackNotFoundError:
            return None

    return read_engine(checkout, stack, export)


def existing_environments(checkout: Path) -> list[DeploymentEnvironment]:
    """The environments whose stacks were made on this state; looking makes none."""
    from pulumi import automation

    prepare_backend(checkout)
    workspace = automation.LocalWorkspace(
        work_dir=str(checkout), env_vars=_backend_environment(checkout), pulumi_command=_engine()
    )
    stacks = {summary.name for summary in read_engine(checkout, "", workspace.list_stacks)}
    for environment in DeploymentEnvironment:
        if environment.stack not in stacks:
            stored_deployment(checkout, environment.stack)  # a history without a state is a state that was lost
    return [environment for environment in DeploymentEnvironment if environment.stack in stacks]


def _workspace_arguments(checkout: Path, environment: DeploymentEnvironment) -> dict[str, Any]:
    prepare_backend(checkout)
    os.environ.update(_direct_loopback())  # the program runs in this process and calls the engine
    return {
        "work_dir": str(checkout),
        "env_vars": engine_environment(checkout, environment),
        "pulumi_command": _engine(),
    }


def prepare_backend(checkout: Path) -> None:
    """Makes the state's directory where the state is one.

    Raises:
        DeploymentFailed: it cannot be made there.
    """
    directory = state_directory(checkout)
    if directory is None:
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeploymentFailed(
            f"{directory}: the state cannot be kept there ({unwritable(directory) or error.strerror}); "
            f"name another place in {BACKEND_VARIABLE}"
        ) from None


def engine_environment(checkout: Path, environment: DeploymentEnvironment | None = None) -> dict[str, str]:
    """Variables the engine needs; what the caller has set already wins.

    In development the keys are made on first use. Elsewhere a person brings the model key: one that was made here would
    open no version of the registry.

    Raises:
        SecretsProviderProblem: the passphrase is missing, and a stack's secrets are encrypted with it.
    """
    variables = _backend_environment(checkout)
    if not is_passphrase_given(checkout):
        development = environment is DeploymentEnvironment.DEVELOPMENT
        passphrase = ensure_development_secrets(checkout).passphrase if development else ensure_passphrase(checkout)
        variables[PASSPHRASE_FILE] = str(passphrase)
    return variables


def _backend_environment(checkout: Path) -> dict[str, str]:
    """The engine's variables without a passphrase, which listing does not need."""
    return {
        BACKEND_VARIABLE: backend_url(checkout),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        # A clone whose stack file names no secrets provider takes the one that the state names.
        "PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER": "true",
        "FRAUD_DETECTION_PYTHON": sys.executable,
        **_direct_loopback(),
    }


def _direct_loopback() -> dict[str, str]:
    """Variables that keep calls between the engine, its plugins and the program off a proxy."""
    given = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    listed = ",".join(filter(None, (given, *(host for host in _LOOPBACK if host not in given.split(",")))))
    return {"NO_PROXY": listed, "no_proxy": listed}


def engine_version() -> str:
    """The version of the engine.

    Raises:
        EngineMissing: there is no `pulumi` to run.
    """
    return str(_engine().version)


@functools.cache
def _engine() -> "PulumiCommand":
    from stacks.engine.engine_command import EngineCommand

    beside_python = Path(sys.executable).parent
    root = str(beside_python.parent) if (beside_python / "pulumi").exists() else None
    try:
        return EngineCommand(root=root)
    except (OSError, ValueError) as error:
        raise EngineMissing(f"there is no usable `pulumi` ({error}); run: python -m toolchain") from None
