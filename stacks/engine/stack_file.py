"""One stack's config file: a command reads it once, changes it in one step, and puts it back when the change fails."""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from conventions.config_keys import BREAK_GLASS, CLOUD, DEPLOYMENT, KUBERNETES, MODEL_VERSION, PLATFORM, ROLLOUT
from infra.break_glass import BreakGlass, parse_break_glass
from infra.cloud_config import CloudConfig, KubernetesConfig, parse_object
from infra.deployment_config import DeploymentConfig, parse_deployment_config
from infra.errors import describe_yaml_error
from infra.rollout_config import RolloutConfig, parse_rollout_config
from stacks.environments import DeploymentEnvironment
from stacks.errors import StackBusy, StacksError

_OWN_KEYS = (MODEL_VERSION, DEPLOYMENT, ROLLOUT, BREAK_GLASS)
"""The keys that a deploy writes; all others belong to people and the engine."""


@dataclass(frozen=True)
class StackFile:
    """The config of one stack, such as `Pulumi.dev.yaml`, as it was read."""

    path: Path
    environment: DeploymentEnvironment
    config: Mapping[str, Any]
    """Values by key, with the project before each key; an object that is written as JSON text is an object here."""
    broken: BreakGlass | None = None
    """The glass that the next change breaks; None: it leaves the file's."""

    @classmethod
    def read(cls, checkout: Path, environment: DeploymentEnvironment) -> "StackFile":
        """Reads an environment's file; a file that is missing has no values.

        Raises:
            StacksError: the file is not valid YAML.
        """
        path = checkout / f"Pulumi.{environment.stack}.yaml"
        return cls(path, environment, _values(_load(path)))

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return self.path.name

    @property
    def model_version(self) -> str:
        """The stable model version; empty when nothing is to be deployed."""
        return str(self.config.get(MODEL_VERSION) or "")

    @property
    def platform(self) -> str:
        """The platform of the endpoint: `local`, `docker` or `kubernetes`."""
        return str(self.config.get(PLATFORM, "local"))

    @property
    def in_cluster(self) -> bool:
        """Whether the endpoint runs in a Kubernetes cluster."""
        return self.platform == "kubernetes"

    def deployment(self) -> DeploymentConfig:
        """The deployment of the model version: address, size, scaling, monitoring, gates and service.

        Raises:
            ConfigError: the value does not fit.
        """
        return parse_deployment_config(self.config.get(DEPLOYMENT), f"{self.name}: {DEPLOYMENT}")

    def rollout(self) -> RolloutConfig:
        """The rollout: strategy, slots, candidate and weight.

        Raises:
            ConfigError: the value does not fit.
        """
        where = f"{self.name}: {ROLLOUT}"
        return parse_rollout_config(self.config.get(ROLLOUT), where, self.model_version, self.platform)

    def break_glass(self) -> BreakGlass | None:
        """Why the stack serves, or tries, a version that lacks what the environment requires; None: it does not.

        Raises:
            ConfigError: the value does not fit.
        """
        return self.broken or parse_break_glass(self.config.get(BREAK_GLASS), self.name)

    def with_break_glass(self, broken: BreakGlass) -> "StackFile":
        """The file, whose next change breaks the glass for a version."""
        return replace(self, broken=broken)

    def cloud(self) -> CloudConfig:
        """The account's side of the deployment.

        Raises:
            ConfigError: the value is missing or does not fit.
        """
        return parse_object(self.config.get(CLOUD), CLOUD, CloudConfig, self.name)

    def kubernetes(self) -> KubernetesConfig:
        """The cluster's side of the deployment.

        Raises:
            ConfigError: the value is missing or does not fit.
        """
        return parse_object(self.config.get(KUBERNETES), KUBERNETES, KubernetesConfig, self.name)

    @contextmanager
    def changed(
        self, model_id: str, deployment: DeploymentConfig, rollout: RolloutConfig | None = None
    ) -> Iterator["StackFile"]:
        """Writes model version, deployment and rollout for the block; puts the former values back when the block fails.

        Keys that the block adds, such as the stack's `encryptionsalt`, stay.

        Args:
            model_id: the stable model version.
            deployment: how it is deployed.
            rollout: the rollout; the file's own when not given.

        Raises:
            StackBusy: the values have changed since the file was read.
        """
        after = self._with(model_id, deployment, rollout)
        _write(self, after)
        try:
            yield after
        except BaseException:
            _write(after, self)
            raise

    def written(self, model_id: str, deployment: DeploymentConfig, rollout: RolloutConfig | None = None) -> "StackFile":
        """Writes model version, deployment and rollout; arguments and errors as for `changed`.

        Returns:
            The file as it is now. Its text is untouched when it had these values before.
        """
        after = self._with(model_id, deployment, rollout)
        _write(self, after)
        return after

    def _with(self, model_id: str, deployment: DeploymentConfig, rollout: RolloutConfig | None) -> "StackFile":
        values = {**self.config, MODEL_VERSION: model_id, DEPLOYMENT: deployment.to_dict()}
        if rollout is not None and (rollout != RolloutConfig() or ROLLOUT in self.config):
            values[ROLLOUT] = rollout.to_dict()
        # A glass is broken for one version until its end, and mended when that one is neither served nor tried.
        glass, tried = self.break_glass(), (values.get(ROLLOUT) or {}).get("candidate")
        values.pop(BREAK_GLASS, None)
        if glass is not None and glass.model_id in (model_id, tried) and not glass.ended:
            values[BREAK_GLASS] = glass.to_dict()
        return replace(self, config=MappingProxyType(values), broken=None)


def _write(before: StackFile, after: StackFile) -> None:
    """Replaces the keys of a deploy, unless the file has them already; the rest of the text stays."""
    document = _load(before.path)
    found = _values(document)
    if any(found.get(key) != before.config.get(key) for key in _OWN_KEYS):
        raise StackBusy(f"{before.name} was changed by somebody else meanwhile; look at it, then try again")
    if all(found.get(key) == after.config.get(key) for key in _OWN_KEYS):
        return
    config = document.setdefault("config", CommentedMap())
    for key in _OWN_KEYS:
        if key not in after.config:
            config.pop(key, None)
        elif found.get(key) != after.config[key]:
            config[key] = after.config[key]
    buffer = io.StringIO()
    _yaml().dump(document, buffer)
    staging = before.path.with_name(f".{before.name}.new")
    staging.write_text(buffer.getvalue(), encoding="utf-8")
    staging.replace(before.path)


def _values(document: CommentedMap) -> Mapping[str, Any]:
    return MappingProxyType({key: _parse_object(value) for key, value in (document.get("config") or {}).items()})


def _parse_object(value: Any) -> Any:
    """An object that `pulumi config set` wrote as JSON text is an object, as it is to the program."""
    if not isinstance(value, str) or not value.startswith("{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


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
        raise StacksError(f"{path}: not valid YAML ({describe_yaml_error(error)})") from None
    return document if isinstance(document, CommentedMap) else CommentedMap()
