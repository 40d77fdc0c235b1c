"""One stack's config: its file, which is configuration, and the state of the stack, which the backend has.

A command reads both once, changes them in one step, and puts the file back when the change fails.
"""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from conventions.config_keys import BREAK_GLASS, CLOUD, DEPLOYMENT, KUBERNETES, MODEL_VERSION, PLATFORM, ROLLOUT
from conventions.regular_files import read_text
from infra.break_glass import BreakGlass, parse_break_glass
from infra.cloud_config import CloudConfig, KubernetesConfig, parse_object
from infra.deployment_config import DeploymentConfig, parse_deployment_config
from infra.errors import ConfigError, describe_yaml_error, require_stack_config
from infra.rollout_config import RolloutConfig, parse_rollout_config
from infra.stack_state import StackState, rollout_settings
from stacks.engine.pending import STATE, PendingChange, pending_change, run_file
from stacks.engine.workspace import stack_outputs, stack_provider
from stacks.environments import DeploymentEnvironment
from stacks.errors import StackBusy

_OWN_KEYS = (MODEL_VERSION, DEPLOYMENT, ROLLOUT, BREAK_GLASS)
"""The keys that a deploy changes; all others belong to people and the engine."""


@dataclass(frozen=True)
class StackFile:
    """The config of one stack, such as `Pulumi.dev.yaml`, as it was read, with the stack's state in it."""

    path: Path
    environment: DeploymentEnvironment
    config: Mapping[str, Any]
    """Values by key, with the project before each key; an object that is written as JSON text is an object here. Model
    version, how far the rollout has come, and the break-glass are the state's, where something is deployed."""
    broken: BreakGlass | None = None
    """The glass that the next change breaks; None: it leaves the file's."""
    written_values: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """The values that the file itself has."""
    deployed: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """What of the state is in the config; empty when nothing is deployed."""
    endpoint: tuple[str, str] = field(default=("", ""), compare=False)
    """Name and address that the stack was deployed under; empty when nothing is deployed."""
    image: str = field(default="", compare=False)
    """The image that the stack was deployed with; empty for a process, and when nothing is deployed."""

    @classmethod
    def read(cls, checkout: Path, environment: DeploymentEnvironment, state: StackState | None = None) -> "StackFile":
        """Reads an environment's file and its stack's state; a file that is missing has no values.

        Args:
            checkout: the project's root.
            environment: whose stack it is.
            state: in place of the one that the backend has.

        Raises:
            ConfigError: the file is not valid YAML, or not a stack's config.
            StacksError: the state cannot be read.
        """
        path = checkout / f"Pulumi.{environment.stack}.yaml"
        values = _values(_load(path))
        state = StackState.of(stack_outputs(checkout, environment.stack)) if state is None else state
        config = state.over(values) if state.model_version else dict(values)
        deployed = {key: config[key] for key in STATE if key in config} if state.model_version else {}
        change = pending_change(checkout, environment.stack)
        if change is not None and change.began_with == {key: config[key] for key in STATE if key in config}:
            # A command of this checkout was killed; nobody has changed the stack since.
            config = {**{key: value for key, value in config.items() if key not in STATE}, **change.asked}
        return cls(
            path,
            environment,
            MappingProxyType(config),
            written_values=values,
            deployed=MappingProxyType(deployed),
            endpoint=(state.deployment_name, state.url),
            image=state.image,
        )

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

    @property
    def endpoint_name(self) -> str:
        """The name of the endpoint that runs; the config's own when nothing is deployed.

        Raises:
            ConfigError: the config's does not fit.
        """
        return self.endpoint[0] or self.deployment().deployment_name

    @property
    def endpoint_url(self) -> str:
        """The address of the endpoint that runs; the config's own when nothing is deployed.

        Raises:
            ConfigError: the config's does not fit.
        """
        return self.endpoint[1] or self.deployment().api_endpoint

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
        """Prepares a change for the block: the deployment in the stack's file, the rest for the engine alone.

        The file gets the deployment, and the model version where it names one. When the block fails, the former values
        are put back. Keys that the block adds stay. A block that is killed leaves `PendingChange`.

        Args:
            model_id: the stable model version.
            deployment: how it is deployed.
            rollout: the rollout; the stack's own when not given.

        Raises:
            StackBusy: the values, or the stack, have changed since the file was read.
        """
        after = self._with(model_id, deployment, rollout)
        now = StackFile.read(self.path.parent, self.environment)
        if now.deployed != self.deployed:
            raise StackBusy(f"{self.environment} was changed by somebody else meanwhile; look at it, then try again")
        shown = replace(after, config=MappingProxyType(_for_file(self, after)))
        before = replace(self, config=self.written_values)
        change = PendingChange(self.path.parent, self.environment.stack, _state_of(self), _state_of(after))
        _write(before, shown)
        change.write(_document(after))
        try:
            yield after
        except BaseException:
            _write(shown, before)
            change.remove()
            raise
        change.remove()

    @property
    def run_file(self) -> Path:
        """The config that the engine is given during a change: the file's, with the state in it."""
        return run_file(self.path.parent, self.environment.stack)

    def written(self, model_id: str, deployment: DeploymentConfig, rollout: RolloutConfig | None = None) -> "StackFile":
        """Writes model version, deployment and rollout; arguments and errors as for `changed`.

        Returns:
            The file as it is now. Its text is untouched when it had these values before.
        """
        after = self._with(model_id, deployment, rollout)
        _write(replace(self, config=self.written_values), after)
        return replace(after, written_values=after.config)

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


def _state_of(file: StackFile) -> dict[str, Any]:
    return {key: file.config[key] for key in STATE if key in file.config}


def _for_file(before: StackFile, after: StackFile) -> dict[str, Any]:
    """The values that the file gets: configuration, and the model version where somebody has written one there."""
    values = {**before.written_values, DEPLOYMENT: after.config[DEPLOYMENT]}
    values.pop(BREAK_GLASS, None)
    if values.get(MODEL_VERSION):
        values[MODEL_VERSION] = after.model_version
    if ROLLOUT in values:
        values[ROLLOUT] = rollout_settings(after.config.get(ROLLOUT))
    return values


def _document(file: StackFile) -> str:
    """The whole file as the engine is given it; it always tells how far the rollout has come."""
    document = _load(file.path)
    config = document.setdefault("config", CommentedMap())
    for key in _OWN_KEYS:
        config.pop(key, None)
    config.update({key: file.config[key] for key in _OWN_KEYS if key in file.config})
    config[ROLLOUT] = file.rollout().to_dict()
    provider = stack_provider(file.path.parent, file.environment.stack)
    document.update(provider.in_file if provider else {})
    return _text(document)


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
            _put(config, key, after.config[key])
    staging = before.path.with_name(f".{before.name}.new")
    staging.write_text(_text(document), encoding="utf-8")
    staging.replace(before.path)


def _put(within: CommentedMap, key: str, value: Any) -> None:
    """Sets a value; of an object only the keys that differ, so that comments between the others stay."""
    present = within.get(key)
    if not isinstance(present, CommentedMap) or not isinstance(value, Mapping):
        if present != value:
            within[key] = value
        return
    for name in [name for name in present if name not in value]:
        del present[name]
    for name, item in value.items():
        _put(present, name, item)


def _text(document: CommentedMap) -> str:
    buffer = io.StringIO()
    _yaml().dump(document, buffer)
    return buffer.getvalue()


def _values(document: CommentedMap) -> Mapping[str, Any]:
    return MappingProxyType({key: _parse_object(value) for key, value in (document.get("config") or {}).items()})


def _parse_object(value: Any) -> Any:
    """An object that `pulumi config set` wrote as JSON text is an object, as it is to the program."""
    if not isinstance(value, str) or not value.startswith("{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    return yaml


def _load(path: Path) -> CommentedMap:
    try:
        document = _yaml().load(read_text(path))
    except FileNotFoundError:
        return CommentedMap()
    except OSError as error:
        raise ConfigError(f"{path}: the stack's config cannot be read ({error.strerror})") from None
    except Exception as error:
        raise ConfigError(f"{path}: not valid YAML ({describe_yaml_error(error)})") from None
    found: CommentedMap = CommentedMap() if document is None else document
    require_stack_config(found, path)
    return found
