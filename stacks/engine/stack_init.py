"""Makes a stack's config file from the templates in `config/`; a file that is there is never written over."""

import os
from pathlib import Path

from conventions.config_keys import DEPLOYMENT
from conventions.regular_files import read_text
from infra.deployment_config import read_template
from infra.errors import ConfigError
from stacks.environments import DeploymentEnvironment

_PLACE = f"  {DEPLOYMENT}: {{}}\n"
_INDENT = " " * 4


def init_stack_file(checkout: Path, environment: DeploymentEnvironment, template: Path | None = None) -> Path:
    """Writes `Pulumi.<stack>.yaml` and returns its path.

    Args:
        checkout: the project's root.
        environment: whose stack it is.
        template: the deployment template; the environment's own in `config/deployment_templates/` when not given.

    Raises:
        ConfigError: the file is there already, a template is missing or does not fit, or is another environment's.
    """
    path = checkout / f"Pulumi.{environment.stack}.yaml"
    if path.exists() or path.is_symlink():
        raise ConfigError(
            f"{path.name} is there already and stays: it is what is deployed; edit it, or remove it first"
        )
    wanted = template or checkout / "config" / "deployment_templates" / f"{environment}.yaml"
    config = read_template(wanted)
    if config.environment != environment:
        raise ConfigError(
            f"{wanted}: environment: {config.environment!r} is not allowed; allowed: {str(environment)!r}"
        )
    frame = checkout / "config" / "stack_templates" / f"{environment}.yaml"
    try:
        around, deployment = read_text(frame), read_text(wanted)
    except OSError as error:
        raise ConfigError(f"{error.filename}: the template cannot be read ({error.strerror})") from None
    before, place, after = around.partition(_PLACE)
    if not place:
        raise ConfigError(f"{frame}: the line {_PLACE.strip()!r}, where the deployment goes, is missing")
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    staging.write_text(f"{before}  {DEPLOYMENT}:\n{_indented(deployment)}{after}", encoding="utf-8")
    try:
        os.link(staging, path)
    except FileExistsError:
        raise ConfigError(f"{path.name} was made by somebody else meanwhile, and stays") from None
    finally:
        staging.unlink()
    return path


def _indented(template: str) -> str:
    """The template's lines one level deeper, without the line for editors and what stands above the first key."""
    lines = template.splitlines()
    first = next(index for index, line in enumerate(lines) if line and not line.startswith("#"))
    return "".join(f"{_INDENT}{line}\n" if line else "\n" for line in lines[first:])
