"""The deployment object: the same in a deployment template and in a stack's config, checked by one schema.

    config = read_template(Path("config/deployment_templates/development.yaml"))
    config.scaling_config.max_replicas

Unknown keys, wrong units and impossible pairs raise `ConfigError`, which names the file, the key, the value and what is
allowed.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from conventions.environments import Environment
from infra.addresses import split_address
from infra.errors import ConfigError, show_value
from infra.service_config import OBJECT_NAME, ServiceConfig
from infra.yaml_files import read_yaml_file

_STRICT = ConfigDict(extra="forbid")
Share = Annotated[StrictFloat, Field(gt=0, le=1)]
Number = StrictFloat | StrictInt
NotNegative = Annotated[Number, Field(ge=0)]

Requirement = Literal["validated", "approved", "signed"]
"""Requirements that an environment can have."""
_REQUIRED: dict[str, list[Requirement]] = {
    "development": [],
    "staging": ["signed"],
    "production": ["validated", "approved", "signed"],
}
"""Requirements of each environment when `gates.requires` is not set."""
_ALWAYS: dict[str, list[Requirement]] = {"production": ["validated"]}
"""Requirements that no config can remove; the signing policy of staging and production is another."""

_CPU = r"^([1-9][0-9]*m|[1-9][0-9]*(\.[0-9]+)?|0\.[0-9]+)$"
_MEMORY = r"^[1-9][0-9]*(Ki|Mi|Gi|Ti)$"
_NAME = r"^[a-z]([a-z0-9-]{0,48}[a-z0-9])?$"

_MEBIBYTES = {"Ki": 1 / 1024, "Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}
_ALLOWED = {
    _CPU: "cores, such as 2 or 0.5, or thousandths of a core, such as 500m",
    _MEMORY: "a whole number with Ki, Mi, Gi or Ti, such as 4Gi",
    OBJECT_NAME: "the name of an object in the cluster: lower-case letters, digits, hyphens and dots",
    _NAME: "at most 50 lower-case letters, digits and hyphens, beginning with a letter",
}


def _require_http_url(value: str) -> str:
    parts = split_address(value, "http", "https")
    if parts is None:
        raise ValueError("an http or https address with a host and a possible port, such as http://127.0.0.1:8000")
    if "@" in parts.netloc:
        raise ValueError("an address without a name or a password, such as http://127.0.0.1:8000")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("an address without path or query, such as http://127.0.0.1:8000")
    return value.rstrip("/")


@dataclass(frozen=True, config=_STRICT)
class ResourceLimits:
    """Limits of one replica."""

    cpu: Annotated[str, Field(pattern=_CPU)]
    """Cores (`2`) or thousandths of a core (`500m`)."""
    memory: Annotated[str, Field(pattern=_MEMORY)]
    """Bytes with a binary suffix (`4Gi`)."""
    gpu: Annotated[StrictInt, Field(ge=0, le=16)] = 0
    """Whole devices."""

    @property
    def cores(self) -> float:
        """The limit in cores."""
        return int(self.cpu[:-1]) / 1000 if self.cpu.endswith("m") else float(self.cpu)

    @property
    def memory_mebibytes(self) -> int:
        """The limit in MiB, at least 1."""
        return max(1, round(int(self.memory[:-2]) * _MEBIBYTES[self.memory[-2:]]))


@dataclass(frozen=True, config=_STRICT)
class ScalingConfig:
    """Numbers of replicas, and the load that changes them."""

    min_replicas: Annotated[StrictInt, Field(ge=1, le=1000)] = 1
    max_replicas: Annotated[StrictInt, Field(ge=1, le=1000)] = 1
    target_cpu_utilization: Annotated[StrictInt, Field(ge=1, le=100)] = 70
    """Percent of the CPU request at which replicas are added."""

    @model_validator(mode="after")
    def _require_order(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError("min_replicas at most as large as max_replicas")
        return self


@dataclass(frozen=True, config=_STRICT)
class AlertThresholds:
    """Thresholds of the alarms."""

    error_rate: Share = 0.05
    """Share of requests answered with a server error."""
    response_time_p95: Annotated[StrictInt, Field(ge=1, le=600_000)] = 1000
    """Milliseconds."""
    cpu_utilization: Share = 0.9
    """Share of the resource limit."""
    memory_utilization: Share = 0.9
    """Share of the resource limit."""
    drift: Annotated[StrictFloat, Field(gt=0, le=10)] = 0.25
    """Population stability index of the feature that moved most; from 0.25 on a shift is usually called large."""
    accuracy: Share = 0.9
    """Lowest share of correct decisions among those with feedback."""


@dataclass(frozen=True, config=_STRICT)
class MonitoringConfig:
    """Probes, metrics and alarms of the endpoint."""

    health_check_interval: Annotated[StrictInt, Field(ge=1, le=3600)] = 30
    """Seconds."""
    metrics_collection: StrictBool = True
    alert_thresholds: AlertThresholds = Field(default_factory=AlertThresholds)


@dataclass(frozen=True, config=_STRICT)
class GatesConfig:
    """Requirements on a model version before it replaces another one."""

    metric_floors: dict[str, Number] = Field(default_factory=dict)
    """Lowest allowed value, by metric of the manifest."""
    allowed_loss: dict[str, NotNegative] = Field(default_factory=dict)
    """Largest allowed loss against the deployed version, by metric of the manifest."""
    same_features: StrictBool = True
    """Whether the version must take exactly the features of the deployed version."""
    requires: list[Requirement] | None = None
    """Required of every version, also of the first one; the environment's own list when not set."""


@dataclass(frozen=True, config=_STRICT)
class DeploymentConfig:
    """One environment's deployment: the object of templates and of `fraud-detection:deployment`."""

    environment: Environment
    deployment_name: Annotated[str, Field(pattern=_NAME)]
    api_endpoint: Annotated[str, AfterValidator(_require_http_url)]
    """Where clients reach the endpoint; on the local platform, where it listens."""
    resource_limits: ResourceLimits
    scaling_config: ScalingConfig = Field(default_factory=ScalingConfig)
    monitoring_config: MonitoringConfig = Field(default_factory=MonitoringConfig)
    gates: GatesConfig = Field(default_factory=GatesConfig)
    service: ServiceConfig = Field(default_factory=ServiceConfig)

    @property
    def requires(self) -> list[Requirement]:
        """The requirements on a version: those of the gates, and those that no config can remove."""
        given = self.gates.requires
        asked = _REQUIRED[self.environment] if given is None else given
        wanted = {*asked, *_ALWAYS.get(self.environment, [])}
        return [each for each in get_args(Requirement) if each in wanted]

    @property
    def host(self) -> str:
        """The endpoint's host name or address."""
        return urlsplit(self.api_endpoint).hostname or ""

    @property
    def port(self) -> int:
        """The endpoint's port, 80 or 443 where the address names none."""
        parts = urlsplit(self.api_endpoint)
        return parts.port or (443 if parts.scheme == "https" else 80)

    def to_dict(self) -> dict[str, Any]:
        """The object for a stack's config: with all defaults, except those of the service."""
        found = {**asdict(self), "service": self.service.to_dict()}
        found["gates"]["requires"] = self.requires
        return {name: value for name, value in found.items() if name != "service" or value}


_ADAPTER = TypeAdapter(DeploymentConfig)


def parse_deployment_config(value: object, where: str) -> DeploymentConfig:
    """Checks an object and returns it typed.

    Args:
        value: what a template or a stack's config holds.
        where: the file, for messages.

    Raises:
        ConfigError: names the file, the key, the value and what is allowed.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{where}: a deployment is a mapping with keys such as `environment`, found {show_value(value)}"
        )
    try:
        return _ADAPTER.validate_python(dict(value))
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(where, problem) for problem in error.errors())) from None


def read_template(path: Path) -> DeploymentConfig:
    """Reads a deployment template.

    Raises:
        ConfigError: the file is missing, is not YAML, or does not fit the schema.
    """
    return parse_deployment_config(read_yaml_file(path, "the template"), str(path))


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the deployment object, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_ADAPTER.json_schema(),
        "title": "Deployment template",
    }


def _sentence(where: str, problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    path = f"{where}: {key}" if key else where
    kind, value, context = problem["type"], show_value(problem.get("input")), problem.get("ctx", {})
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{path}: unknown key; allowed: {', '.join(_known_keys(problem['loc'][:-1]))}"
    if kind == "missing":
        return f"{path}: this key is required"
    if kind == "value_error":
        return f"{path}: {value} is not allowed; allowed: {context['error']}"
    if kind == "dataclass_type":
        return f"{path}: {value} is not allowed; allowed: a mapping"
    allowed = _ALLOWED.get(context.get("pattern", ""), _lower_first(problem["msg"]))
    return f"{path}: {value} is not allowed; allowed: {allowed}"


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    fields: Any = DeploymentConfig
    for part in location:
        fields = fields.__dataclass_fields__[part].type
    return list(fields.__dataclass_fields__)


def _lower_first(message: str) -> str:
    return re.sub(r"^Input should be ", "", message)
