"""Writes a stack's config file, comments kept, in one step, and puts the old one back when a change fails."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from conventions.config_keys import DEPLOYMENT, MODEL_VERSION, PLATFORM, ROLLOUT
from infra.deployment_config import DeploymentConfig
from infra.rollout_config import RolloutConfig, parse_rollout_config
from stacks.errors import StacksError


@contextmanager
def changed_config(
    path: Path, model_id: str, deployment: DeploymentConfig, rollout: RolloutConfig | None = None
) -> Iterator[None]:
    """Sets model version, deployment and rollout for the block; when the block fails, they are as they were before.

    Other keys that the block adds, such as the stack's `encryptionsalt`, stay.
    """
    before = read_config(path)
    write_config(path, model_id, deployment, rollout)
    try:
        yield
    except BaseException:
        _put_back(path, before)
        raise


def read_config(path: Path) -> dict[str, Any]:
    """The values under `config:` in a stack's file; empty when there is none.

    An object may be written as JSON text, as `pulumi config set` does: it is an object here, as it is to the program.

    Raises:
        StacksError: the file is not valid YAML.
    """
    return {key: _as_object(value) for key, value in (_load(path).get("config") or {}).items()}


def _as_object(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith("{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def write_config(path: Path, model_id: str, deployment: DeploymentConfig, rollout: RolloutConfig | None = None) -> None:
    """Sets model version, deployment and, where one is given, rollout; what says so already is left untouched."""
    document = _load(path)
    config = document.setdefault("config", CommentedMap())
    wanted: dict[str, Any] = {MODEL_VERSION: model_id, DEPLOYMENT: deployment.to_dict()}
    if rollout is not None and (rollout != RolloutConfig() or ROLLOUT in config):
        wanted[ROLLOUT] = rollout.to_dict()
    changed = {key: value for key, value in wanted.items() if config.get(key) != value}
    if changed:
        config.update(changed)
        _save(path, document)


def read_rollout(path: Path) -> RolloutConfig:
    """The rollout of a stack's file.

    Raises:
        ConfigError: it does not fit.
    """
    config = read_config(path)
    where = f"{path.name}: {ROLLOUT}"
    version, platform = str(config.get(MODEL_VERSION, "")), str(config.get(PLATFORM, "local"))
    return parse_rollout_config(config.get(ROLLOUT), where, version, platform)


def _put_back(path: Path, before: dict[str, Any]) -> None:
    document = _load(path)
    config = document.setdefault("config", CommentedMap())
    for key in (MODEL_VERSION, DEPLOYMENT, ROLLOUT):
        if key in before:
            config[key] = before[key]
        else:
            config.pop(key, None)
    _save(path, document)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    return yaml


def _load(path: Path) -> CommentedMap:
    if not path.exists():
        return CommentedMap()
    try:
        document = _yaml().load(path.read_text(encoding="utf-8"))
    except Exception as error:
        raise StacksError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    return document if isinstance(document, CommentedMap) else CommentedMap()


def _save(path: Path, document: CommentedMap) -> None:
    buffer = io.StringIO()
    _yaml().dump(document, buffer)
    staging = path.with_name(f".{path.name}.new")
    staging.write_text(buffer.getvalue(), encoding="utf-8")
    staging.replace(path)
