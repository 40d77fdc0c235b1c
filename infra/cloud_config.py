"""The config objects that only a cloud or a cluster needs: `cloud`, `kubernetes` and `image`."""

import re
from dataclasses import field
from typing import Annotated, Any, Literal, Self, TypeVar

import pulumi
from pydantic import (
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass

from conventions import config_keys, metric_names
from infra.errors import ConfigError, show_value

_STRICT = ConfigDict(extra="forbid")
_LONGEST_WITH_BACKUP = 51
"""A bucket's name has at most 63 letters, and the longest made from it ends with `-backup-logs`."""
_LONGEST_ROLE = 64
"""Letters of a role's name that IAM allows."""
_LONGEST_ROLE_OF_BUCKET = "-publisher"
_LONGEST_CRON_JOB = 52
"""Letters of a CronJob's name that Kubernetes allows."""
_MOST_TAGS = 40
_REGION = r"[a-z]{2,5}(-[a-z]+)+-\d{1,2}"
_RESERVED = (("xn--", "sthree-", "amzn-s3-demo-"), ("-s3alias", "--ol-s3", "--x-s3", "--table-s3"))
"""How the name of a bucket may not begin and end (Amazon S3 user guide, bucket naming rules)."""
_BUCKET = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
_KEY = r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[\w-]+$"
_BOUNDARY = r"^(|arn:aws[a-z-]*:iam::(\d{12}|aws):policy/[\w+=,.@/-]+)$"
_LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_TAG, _TAG_VALUE = re.compile(r"[\w .:/=+@-]{1,128}"), re.compile(r"[\w .:/=+@-]{0,256}")
_LABEL_KEY = r"^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?$"
_LABEL_VALUE = r"^([A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?)?$"
_BLOCK = r"^(\d{1,3}(\.\d{1,3}){3}/\d{1,2}|[0-9a-f:]+/\d{1,3})$"
_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")

_GATEWAY_PODS = {"contour": ("projectcontour",), "envoy-gateway": ("envoy-gateway-system",)}
"""Namespaces of the pods that carry a Gateway's traffic, by its controller; Istio's are in the Gateway's own."""
_ADDRESSES = {
    "email": (r"[^@\s]+@[^@\s]+", "an address with @"),
    "https": (r"https://\S+", "an https:// address"),
    "sqs": (r"arn:aws[a-z-]*:sqs:[a-z0-9-]+:\d{12}:[\w.-]+", "the ARN of a queue, arn:aws:sqs:…"),
    "lambda": (r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:\S+", "the ARN of a function, arn:aws:lambda:…"),
}

Label = Annotated[str, Field(pattern=_LABEL)]


@dataclass(frozen=True, config=_STRICT)
class Subscriber:
    """A receiver of the message that an alarm begins or ends."""

    protocol: Literal["email", "https", "sqs", "lambda"]
    address: Annotated[str, Field(min_length=3)]
    replace_queue_policy: StrictBool = False
    """For a queue: whether the stack writes its policy, in place of the one it has, so that the topic may send."""

    @model_validator(mode="after")
    def _require_address(self) -> Self:
        pattern, allowed = _ADDRESSES[self.protocol]
        if not re.fullmatch(pattern, self.address):
            raise ValueError(f"the address {self.address} is not of {self.protocol}; allowed: {allowed}")
        return self


@dataclass(frozen=True, config=_STRICT)
class PipelinesConfig:
    """`pipelines` of `fraud-detection:cloud`: who takes the roles of CI, and what they reach."""

    oidc_provider_arn: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:oidc-provider/[A-Za-z0-9./_-]+$")]
    """The hosting site's identity provider in IAM."""
    repository: Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)+$")]
    """`OWNER/NAME`; on GitLab the project's path."""
    state_bucket: Annotated[str, Field(pattern=_BUCKET)]
    """Bucket of PULUMI_BACKEND_URL."""
    state_key_arn: Annotated[str, Field(pattern=_KEY)]
    """KMS key of PULUMI_SECRETS_PROVIDER."""
    branch: Annotated[str, Field(pattern=r"^[\w./-]+$")] = "main"
    """The default branch; GitLab's tokens name it."""
    inbox_bucket: Annotated[str, Field(pattern=rf"^$|{_BUCKET}")] = ""
    """Bucket of MODEL_INBOX; empty: no role reads one."""
    registry_bucket: Annotated[str, Field(pattern=rf"^$|{_BUCKET}")] = ""
    """Bucket of MODEL_REGISTRY_URL; empty: the stack's own. The stack that owns it makes the roles of a release."""
    registry_key_arn: Annotated[str, Field(pattern=rf"^$|{_KEY}")] = ""
    """KMS key of that bucket."""

    @model_validator(mode="after")
    def _require_both(self) -> Self:
        if bool(self.registry_bucket) != bool(self.registry_key_arn):
            raise ValueError("registry_bucket with registry_key_arn, or neither")
        return self


@dataclass(frozen=True, config=_STRICT)
class CloudConfig:
    """`fraud-detection:cloud`: settings of the AWS account."""

    region: Annotated[str, Field(pattern=rf"^{_REGION}$")]
    registry_bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{1,54}[a-z0-9]$")]
    """Name of the registry's bucket; globally unique."""
    alarm_subscribers: tuple[Subscriber, ...] = ()
    metrics_namespace: Annotated[str, Field(pattern=r"^[A-Za-z0-9_./#-]{1,255}$")] = metric_names.NAMESPACE
    rollback_window_days: Annotated[StrictInt, Field(ge=1, le=3650)] = 90
    """Days within which nobody can remove an object of the registry."""
    backup_schedule: Annotated[str, Field(pattern=r"^(|[0-9*/,-]+( [0-9A-Z*/,-]+){4})$")] = ""
    """Cron schedule (UTC) of the copy to the bucket `<registry_bucket>-backup`; empty: no backup."""
    backup_region: Annotated[str, Field(pattern=rf"^(|{_REGION})$")] = ""
    """Region of the backup's bucket; empty: the stack's own."""
    backup_role: Annotated[str, Field(pattern=r"^(|arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+)$")] = ""
    """ARN of the role that the stack takes to make the backup's bucket in the role's account; empty: none."""
    backup_alarm_hours: Annotated[StrictInt, Field(ge=1, le=168)] = 26
    """Hours without a whole copy that begin the alarm; more than lie between two copies."""
    log_retention_days: Literal[
        30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653
    ] = 365
    permissions_boundary: Annotated[
        str, Field(pattern=r"^(|arn:aws[a-z-]*:iam::(\d{12}|aws):policy/[\w+=,.@/-]+)$")
    ] = ""
    """ARN of the policy that limits every role of the stack; empty: none."""
    role_path: Annotated[str, Field(pattern=r"^/([\w+=,.@-]+/)*$", max_length=512)] = "/"
    """IAM path of every role of the stack."""
    pipelines: PipelinesConfig | None = None
    """Roles of CI that the stack makes; none: the account's admins make them."""
    regional_names: StrictBool = False
    """Whether names that an account has once (roles, dashboard) end with the region, so that it can serve in two."""
    tags: dict[str, str] = field(default_factory=dict)
    """Tags of every AWS resource of the stack."""

    @property
    def name_suffix(self) -> str:
        """What names that an account has once end with."""
        return f"-{self.region}" if self.regional_names else ""

    @field_validator("registry_bucket")
    @classmethod
    def _require_role_names(cls, name: str) -> str:
        begins, ends = _RESERVED
        if name.startswith(begins) or name.endswith(ends):
            raise ValueError(
                f"S3 keeps names that begin with {', '.join(begins)} or end with {', '.join(ends)} for itself"
            )
        longest = _LONGEST_ROLE - len(_LONGEST_ROLE_OF_BUCKET)
        if len(name) > longest:
            raise ValueError(
                f"it has {len(name)} letters, and at most {longest} are allowed: the role "
                f"{name}{_LONGEST_ROLE_OF_BUCKET} would have more than the {_LONGEST_ROLE} that IAM allows"
            )
        return name

    @field_validator("tags")
    @classmethod
    def _require_tags(cls, tags: dict[str, str]) -> dict[str, str]:
        if len(tags) > _MOST_TAGS:
            raise ValueError(f"at most {_MOST_TAGS} tags are allowed")
        for name, value in tags.items():
            if not _TAG.fullmatch(name) or not _TAG_VALUE.fullmatch(value) or name.lower().startswith("aws:"):
                raise ValueError(
                    f"the tag {name}={value} is not allowed; allowed: letters, digits, spaces and _.:/=+-@, at most "
                    "128 in a name and 256 in a value, and no name that begins with aws:"
                )
        return tags

    @model_validator(mode="after")
    def _require_short_names(self) -> Self:
        if self.backup_schedule and len(self.registry_bucket) > _LONGEST_WITH_BACKUP:
            raise ValueError(f"registry_bucket may have {_LONGEST_WITH_BACKUP} letters where there is a backup")
        return self

    @model_validator(mode="after")
    def _require_limits(self) -> Self:
        if not self.backup_schedule and (self.backup_region or self.backup_role):
            raise ValueError("backup_region and backup_role where there is a backup_schedule")
        if self.pipelines and not self.permissions_boundary:
            raise ValueError(
                "pipelines with a permissions_boundary: CI changes the roles of the pods, and the boundary limits what "
                "it can give them"
            )
        return self


@dataclass(frozen=True, config=_STRICT)
class Toleration:
    """A taint of nodes that the pods tolerate."""

    key: Annotated[str, Field(pattern=_LABEL_KEY)]
    operator: Literal["Equal", "Exists"] = "Equal"
    value: Annotated[str, Field(pattern=_LABEL_VALUE)] = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """Empty: every effect."""

    @model_validator(mode="after")
    def _require_value(self) -> Self:
        if self.operator == "Exists" and self.value:
            raise ValueError("operator Exists without a value")
        return self

    def to_dict(self) -> dict[str, str]:
        """As in a pod's spec."""
        found = {"key": self.key, "operator": self.operator, "value": self.value, "effect": self.effect}
        return {name: value for name, value in found.items() if value}


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
    gateway_controller: Literal["", "contour", "envoy-gateway", "istio", "aws-load-balancer"] = ""
    """Whose Gateway it is: the namespaces of its pods may connect; empty: only what the next keys name."""
    gateway_pod_namespaces: tuple[Label, ...] = ()
    """Namespaces of the pods that carry the Gateway's traffic, where they are not in the Gateway's own."""
    monitoring_namespaces: tuple[Label, ...] = ()
    """Namespaces of the pods that read the metrics of the service's pods, such as Prometheus."""
    dns_addresses: tuple[Annotated[str, Field(pattern=_BLOCK)], ...] = ()
    """Blocks in CIDR notation that answer DNS beside the cluster's pods, such as a cache on each node."""
    gateway_addresses: tuple[Annotated[str, Field(pattern=_BLOCK)], ...] = ()
    """Blocks in CIDR notation that carry the Gateway's traffic: the subnets of a load balancer outside the cluster."""
    architecture: Literal["amd64", "arm64"] = "amd64"
    """Of the nodes and of the image."""
    node_selector: dict[Annotated[str, Field(pattern=_LABEL_KEY)], Annotated[str, Field(pattern=_LABEL_VALUE)]] = field(
        default_factory=dict
    )
    """Further labels that the pods' nodes have."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that the pods tolerate."""
    image_pull_secrets: tuple[Label, ...] = ()
    """Secrets of the namespace with the credentials of the image's registry, where the nodes have none."""
    priority_class: Annotated[str, Field(pattern=rf"^$|{_LABEL}")] = ""
    """PriorityClass of the pods; empty: the cluster's default."""
    ip_families: tuple[Literal["IPv4", "IPv6"], ...] = ()
    """Of the Service, the first one primary; empty: the cluster's default."""
    context: str = ""
    """Context of the kubeconfig; its only one when empty."""
    deployers_group: str = ""
    """Group of the cluster's users who may look after the deployment."""
    quota: StrictBool = False
    """Whether the namespace is limited to what the autoscaler may ask for."""
    rollout_seconds: Annotated[StrictInt, Field(ge=10, le=3600)] = 600
    """Seconds that a rollout may take before it counts as failed."""

    @property
    def all_gateway_pod_namespaces(self) -> tuple[str, ...]:
        """The namespaces of the pods that carry the Gateway's traffic: those of its controller, and the named ones."""
        return (*_GATEWAY_PODS.get(self.gateway_controller, ()), *self.gateway_pod_namespaces)

    @field_validator("ip_families")
    @classmethod
    def _require_different(cls, families: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(families)) != len(families):
            raise ValueError("each family once")
        return families

    @model_validator(mode="after")
    def _require_addresses(self) -> Self:
        if self.gateway_controller == "aws-load-balancer" and not self.gateway_addresses:
            raise ValueError(
                "gateway_addresses with gateway_controller aws-load-balancer: the blocks of the load balancer's "
                "subnets, since it connects from outside the cluster"
            )
        return self


@dataclass(frozen=True, config=_STRICT)
class ImageConfig:
    """`fraud-detection:image`: the service's image."""

    reference: str = ""
    """A ready image, `repository@sha256:…`; empty to build one."""
    repository: Annotated[str, Field(pattern=r"^([a-z0-9]+([._/-][a-z0-9]+)*)?$")] = ""
    """Name of an image repository to make; needed to build."""

    promoted_from: Annotated[str, Field(pattern=rf"^$|{_LABEL}")] = ""
    """A stack whose deployed image is taken over by digest; empty: none."""
    gpu: StrictBool = False
    """Whether the image has libraries that use a GPU; the one that is built here has none."""

    @model_validator(mode="after")
    def _require_one_source(self) -> Self:
        if self.promoted_from and (self.reference or self.repository):
            raise ValueError("promoted_from without a reference and without a repository: nothing is built")
        return self

    @property
    def by_digest(self) -> bool:
        """Whether the reference names one image forever, by its digest."""
        return bool(_DIGEST.fullmatch(self.reference))


_PARTS: dict[str, type[Any]] = {
    "alarm_subscribers": Subscriber,
    "pipelines": PipelinesConfig,
    "tolerations": Toleration,
}
"""Objects within an object."""
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
        known = _PARTS.get(str(problem["loc"][0]), kind) if len(problem["loc"]) > 1 else kind
        return f"{where}: unknown key; allowed: {', '.join(known.__dataclass_fields__)}"
    if problem["type"] == "missing":
        return f"{where}: this key is required"
    return (
        f"{where}: {show_value(problem.get('input'))} is not allowed; {problem['msg'][0].lower()}{problem['msg'][1:]}"
    )


def require_account_names(cloud: CloudConfig, deployment_name: str, where: str) -> None:
    """Raises ConfigError unless IAM and Kubernetes allow the names that begin with the deployment's.

    Args:
        cloud: of the stack.
        deployment_name: which the names begin with.
        where: the stack's file.

    Raises:
        ConfigError: a name is too long; names it, and what is allowed.
    """
    names = [("role", f"{deployment_name}-green-serving{cloud.name_suffix}", "IAM", _LONGEST_ROLE)]
    if cloud.backup_schedule:
        names.append(("CronJob", f"{deployment_name}-backup", "Kubernetes", _LONGEST_CRON_JOB))
    for kind, longest, who, most in names:
        if len(longest) > most:
            allowed = len(deployment_name) - (len(longest) - most)
            raise ConfigError(
                f"{where}: {config_keys.DEPLOYMENT}.deployment_name: {deployment_name!r} is not allowed: the {kind} "
                f"{longest} has {len(longest)} letters, and {who} allows {most}; allowed: at most {allowed} letters"
            )
