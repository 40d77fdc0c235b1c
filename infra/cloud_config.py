"""The config objects that only a cloud or a cluster needs: `cloud`, `kubernetes` and `image`."""

import re
from typing import Annotated, Any, Literal, Self, TypeVar

import pulumi
from pydantic import ConfigDict, Field, StrictBool, StrictInt, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from conventions import config_keys, metric_names
from infra.errors import ConfigError, show_value

_STRICT = ConfigDict(extra="forbid")
_LONGEST_WITH_BACKUP = 51
"""A bucket's name has at most 63 letters, and the longest made from it ends with `-backup-logs`."""
_LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")

Label = Annotated[str, Field(pattern=_LABEL)]


@dataclass(frozen=True, config=_STRICT)
class Subscriber:
    """A receiver of the message that an alarm begins or ends."""

    protocol: Literal["email", "https", "sqs", "lambda"]
    address: Annotated[str, Field(min_length=3)]


@dataclass(frozen=True, config=_STRICT)
class CloudConfig:
    """`fraud-detection:cloud`: settings of the AWS account."""

    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    registry_bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{1,54}[a-z0-9]$")]
    """Name of the registry's bucket; globally unique."""
    alarm_subscribers: tuple[Subscriber, ...] = ()
    metrics_namespace: Annotated[str, Field(pattern=r"^[A-Za-z0-9_./#-]{1,255}$")] = metric_names.NAMESPACE
    rollback_window_days: Annotated[StrictInt, Field(ge=1, le=3650)] = 90
    """Days within which nobody can remove an object of the registry."""
    backup_schedule: Annotated[str, Field(pattern=r"^(|[0-9*/,-]+( [0-9A-Z*/,-]+){4})$")] = ""
    """Cron schedule (UTC) of the copy to the bucket `<registry_bucket>-backup`; empty: no backup."""
    log_retention_days: Literal[
        30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653
    ] = 365

    @model_validator(mode="after")
    def _require_short_names(self) -> Self:
        if self.backup_schedule and len(self.registry_bucket) > _LONGEST_WITH_BACKUP:
            raise ValueError(f"registry_bucket may have {_LONGEST_WITH_BACKUP} letters where there is a backup")
        return self


@dataclass(frozen=True, config=_STRICT)
class KubernetesConfig:
    """`fraud-detection:kubernetes`: settings of the cluster."""

    namespace: Label
    """Namespace of this endpoint alone; the stack creates and owns it."""
    oidc_provider_arn: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:oidc-provider/[A-Za-z0-9./_-]+$")]
    """The cluster's identity provider in IAM."""
    gateway: Label
    """Name of the Gateway in front of the endpoint."""
    gateway_namespace: Label
    context: str = ""
    """Context of the kubeconfig; its current one when empty."""
    deployers_group: str = ""
    """Group of the cluster's users who may look after the deployment."""
    quota: StrictBool = False
    """Whether the namespace is limited to what the autoscaler may ask for."""
    rollout_seconds: Annotated[StrictInt, Field(ge=10, le=3600)] = 600
    """Seconds that a rollout may take before it counts as failed."""


@dataclass(frozen=True, config=_STRICT)
class ImageConfig:
    """`fraud-detection:image`: the service's image."""

    reference: str = ""
    """A ready image, `repository@sha256:…`; empty to build one."""
    repository: Annotated[str, Field(pattern=r"^([a-z0-9]+([._/-][a-z0-9]+)*)?$")] = ""
    """Name of an image repository to make; needed to build."""

    @property
    def by_digest(self) -> bool:
        """Whether the reference names one image forever, by its digest."""
        return bool(_DIGEST.fullmatch(self.reference))


_Config = TypeVar("_Config", CloudConfig, KubernetesConfig, ImageConfig)


def read_object(config: pulumi.Config, key: str, kind: type[_Config], where: str) -> _Config:
    """Reads one object of the stack's config; `key` has the project before it.

    Raises:
        ConfigError: it is missing or does not fit; names the key, the value and what is allowed.
    """
    try:
        value = config.get_object(config_keys.short(key))
    except pulumi.ConfigTypeError:
        raise ConfigError(f"{where}: {key}: not an object") from None
    return parse_object(value, key, kind, where)


def parse_object(value: Any, key: str, kind: type[_Config], where: str) -> _Config:
    """Checks one object of a stack's config; `key` has the project before it.

    Raises:
        ConfigError: it is missing or does not fit; names the key, the value and what is allowed.
    """
    path = f"{where}: {key}"
    if value is None:
        raise ConfigError(f"{path}: this key is required on this platform; see docs/configuration.md")
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: {show_value(value)} is not allowed; allowed: an object")
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(path, problem, kind) for problem in error.errors())) from None


def _sentence(path: str, problem: Any, kind: type[Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    where = f"{path}.{key}" if key else path
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{where}: unknown key; allowed: {', '.join(kind.__dataclass_fields__)}"
    if problem["type"] == "missing":
        return f"{where}: this key is required"
    return (
        f"{where}: {show_value(problem.get('input'))} is not allowed; {problem['msg'][0].lower()}{problem['msg'][1:]}"
    )
