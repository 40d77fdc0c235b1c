"""The engine's Docker provider, which builds an image for a cluster: pinned, and looked for before an update."""

import os
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from conventions import config_keys
from infra.errors import ConfigError

_PROGRAM = "pulumi-resource-docker"
_INSTALL_SECONDS = 120


def docker_provider_version() -> str:
    """The version that this program is pinned to; the provider is the same."""
    return version("pulumi-docker")


def find_docker_provider() -> Path | None:
    """Returns the installed provider's program: on PATH, or among the engine's plugins; None without one."""
    if on_path := shutil.which(_PROGRAM):
        return Path(on_path)
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    plugin = home / "plugins" / f"resource-docker-v{docker_provider_version()}" / _PROGRAM
    return plugin if plugin.exists() else None


def install_command() -> str:
    """The command that installs the provider."""
    return f"pulumi plugin install resource docker {docker_provider_version()}"


def require_docker_provider(where: str) -> None:
    """Installs the Docker provider where it is missing.

    Args:
        where: the stack's file, for the error.

    Raises:
        ConfigError: it cannot be installed on this machine.
    """
    if find_docker_provider() is not None:
        return
    command = install_command().split()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
        problem = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem:
        raise ConfigError(
            f"{where}: {config_keys.IMAGE}.repository: an image is built by the Docker provider "
            f"{docker_provider_version()}, which cannot be installed here ({problem}); name a ready image in "
            f"{config_keys.IMAGE}.reference (make image, docker push), or where there is a network: {install_command()}"
        )
