"""A deployment template over a stack's own deployment: the keys that the template has change, all others stay."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conventions.config_keys import DEPLOYMENT
from infra.deployment_config import DeploymentConfig, parse_deployment_config, read_template
from infra.errors import ConfigError
from infra.yaml_files import read_yaml_file
from stacks.engine.run import Log
from stacks.engine.stack_file import StackFile

_SECTIONS = (
    "resource_limits",
    "scaling_config",
    "monitoring_config",
    "monitoring_config.alert_thresholds",
    "gates",
    "service",
)
"""Objects whose keys are merged one by one; any other value, such as a map of metric floors, is replaced whole."""


def deployment_config(
    checkout: Path, file: StackFile, template: Path | None, changes: Mapping[str, Any], log: Log
) -> DeploymentConfig:
    """Returns how an environment is to be deployed: as its stack's file says, and what differs from it.

    Args:
        checkout: the project's root; a stack without a file starts from its `config/deployment_templates/`.
        file: the stack's file.
        template: its keys replace the file's; None: there is none.
        changes: top-level keys that replace both.
        log: told each difference that the template makes.

    Raises:
        ConfigError: the template or a change does not fit the schema, or the template is another environment's.
    """
    in_file = DEPLOYMENT in file.config
    own = checkout / "config" / "deployment_templates" / f"{file.environment}.yaml"
    before = (file.deployment() if in_file else read_template(own)).to_dict()
    where = str(template or (file.name if in_file else own))
    values = merged(before, template_values(template)) if template else before
    config = parse_deployment_config({**values, **changes}, "create_deployment_config" if changes else where)
    if config.environment != file.environment:
        raise ConfigError(
            f"{where}: environment: {config.environment!r} is not allowed; allowed: {str(file.environment)!r}, "
            "the environment that is deployed to"
        )
    if template:
        for line in differences(before, config.to_dict()):
            log(f"{file.name}: {line} ({template})")
    return config


def template_values(path: Path) -> dict[str, Any]:
    """The keys that a deployment template has; it may have some of them only.

    Raises:
        ConfigError: the file is missing, is not YAML, or is not a mapping.
    """
    found = read_yaml_file(path, "the template")
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: a deployment is a mapping with keys such as `environment`, found {found!r}")
    return found


def merged(base: Mapping[str, Any], changes: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Returns an object with another one's keys in place of its own.

    Args:
        base: the stack's own deployment.
        changes: what differs.
        place: where in the deployment both lie; empty at its top.
    """
    found = dict(base)
    for key, value in changes.items():
        path = f"{place}.{key}" if place else str(key)
        below = found.get(key)
        if path in _SECTIONS and isinstance(value, Mapping) and isinstance(below, Mapping):
            found[key] = merged(below, value, path)
        else:
            found[key] = value
    return found


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Returns a line for each key that differs, such as `scaling_config.max_replicas: 4 becomes 6`."""
    old, new = _flat(before), _flat(after)
    return [
        f"{key}: {old.get(key, 'nothing')} becomes {new.get(key, 'nothing')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _flat(value: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        path = f"{place}.{key}" if place else str(key)
        found |= _flat(item, path) if isinstance(item, Mapping) else {path: item}
    return found
