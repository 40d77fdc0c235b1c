"""Reads and checks a stack's config before the program declares a resource."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import pulumi

from conventions import config_keys, variables
from conventions.environments import STACKS
from infra.break_glass import BreakGlass, parse_break_glass
from infra.cloud_config import CloudConfig, ImageConfig, KubernetesConfig, read_object
from infra.deployment_config import DeploymentConfig, parse_deployment_config
from infra.endpoint_tls import EndpointTls, endpoint_tls, require_address
from infra.errors import ConfigError, show_value
from infra.promoted_image import with_promoted_image
from infra.rollout_config import RolloutConfig, parse_rollout_config
from infra.stack_state import StackState, has_rollout_state
from model_store.errors import InvalidInput
from model_store.keys.defaults import key_file, registry_location
from model_store.registry.signing import SignaturePolicy, parse_public_key
from model_store.serialization.full_names import require_full_names

CHECKOUT = Path(__file__).resolve().parents[1]
"""The project's root; holds state, registry, keys and logs of the local platform."""

Platform = Literal["local", "docker", "kubernetes"]


@dataclass(frozen=True)
class SigningSettings:
    """The signatures that a model version needs before this stack serves it."""

    policy: SignaturePolicy
    """`require`, `warn` or `off`; `require` in staging and production, `off` in development, unless the config says."""
    public_keys: tuple[str, ...]
    """Trusted signers, as `manage_models.py keygen --signing` prints them."""


@dataclass(frozen=True)
class StackSettings:
    """Settings of one stack: model version, platform, deployment and access."""

    stack: str
    model_version: str
    """The model id to serve."""
    platform: Platform
    deployment: DeploymentConfig
    signing: SigningSettings
    registry: str
    """Registry location: a path or a URL."""
    model_key_file: Path
    api_keys_file: Path
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    break_glass: BreakGlass | None = None
    """The break-glass that waives requirements of the version; None without one."""
    cloud: CloudConfig | None = None
    """Set on the platform kubernetes only; so are the next two."""
    kubernetes: KubernetesConfig | None = None
    image: ImageConfig | None = None
    tls: EndpointTls = field(default_factory=EndpointTls)
    """How the endpoint is secured."""
    trusted_types: tuple[str, ...] = ()
    """Full names that the service trusts beside the rules when it loads this stack's models."""

    @property
    def service_variables(self) -> dict[str, str]:
        """Environment variables of the service, without defaults; the same on every platform."""
        trusted = {variables.MODEL_TRUSTED_TYPES: ",".join(self.trusted_types)} if self.trusted_types else {}
        # Processes would have to share the device's memory.
        alone = {variables.PROCESSES: "1"} if self.deployment.resource_limits.gpu else {}
        return {**alone, **self.deployment.service.variables(), **trusted}


def load_settings() -> StackSettings:
    """Reads the running stack's config.

    Raises:
        ConfigError: names the file, the key, the value and what is allowed.
    """
    stack = pulumi.get_stack()
    where = f"Pulumi.{stack}.yaml"
    config = pulumi.Config()
    platform = _platform(config, where)
    deployment = _deployment(config, where, stack)
    require_platform(deployment.environment, platform, where)
    require_address(deployment, platform, where)
    require_decision_log(deployment, platform, where)
    secrets = CHECKOUT / ".secrets" / ("" if deployment.environment == "development" else stack)
    in_cluster = platform == "kubernetes"
    before = _stack_state(config)
    model_version = _model_version(config, where, stack, before)
    return StackSettings(
        stack=stack,
        model_version=model_version,
        platform=platform,
        deployment=deployment,
        signing=_signing(config, where, deployment.environment),
        registry=registry_location(CHECKOUT),
        model_key_file=Path(os.environ.get(variables.MODEL_KEY_FILE) or key_file(CHECKOUT)),
        api_keys_file=Path(os.environ.get(variables.API_KEYS_FILE) or secrets / "api_keys.json"),
        rollout=_rollout(config, where, model_version, platform, before),
        break_glass=_break_glass(config, where, before),
        cloud=read_object(config, config_keys.CLOUD, CloudConfig, where) if in_cluster else None,
        kubernetes=read_object(config, config_keys.KUBERNETES, KubernetesConfig, where) if in_cluster else None,
        image=_image(config, where) if platform != "local" else None,
        tls=endpoint_tls(deployment, platform, CHECKOUT),
        trusted_types=_trusted_types(config, where),
    )


def _image(config: pulumi.Config, where: str) -> ImageConfig:
    return with_promoted_image(read_object(config, config_keys.IMAGE, ImageConfig, where), where)


def require_platform(environment: str, platform: str, where: str) -> None:
    """Raises ConfigError unless an environment may use a platform.

    Raises:
        ConfigError: production is on kubernetes only.
    """
    if environment == "production" and platform != "kubernetes":
        raise ConfigError(f"{where}: {config_keys.PLATFORM}: {platform!r} is not allowed; allowed: 'kubernetes'")


def require_decision_log(deployment: DeploymentConfig, platform: str, where: str) -> None:
    """Raises ConfigError unless the platform's processes can write the decision log.

    Raises:
        ConfigError: pods have no disk that stays, and the processes of this machine have no credentials of a cloud.
    """
    log = deployment.service.decision_log
    if log is not None and log.startswith("s3://") != (platform == "kubernetes"):
        allowed = "s3://bucket/prefix" if platform == "kubernetes" else "a directory, such as logs/decisions"
        raise ConfigError(
            f"{where}: {config_keys.DEPLOYMENT}.service.decision_log: {log!r} is not allowed; allowed on platform "
            f"{platform}: {allowed}"
        )


def _stack_state(config: pulumi.Config) -> StackState:
    """What the stack's last update left, where the config does not say how far the rollout has come."""
    if has_rollout_state(_object(config, config_keys.ROLLOUT)):
        return StackState()
    name = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    found = pulumi.runtime.invoke("pulumi:pulumi:readStackOutputs", {"name": name}).value
    outputs = found.get("outputs") if isinstance(found, dict) else None
    return StackState.of(outputs if isinstance(outputs, dict) else {})


def _object(config: pulumi.Config, key: str) -> object:
    try:
        return config.get_object(config_keys.short(key))
    except pulumi.ConfigTypeError:
        return None  # reading the key itself says what is wrong


def _model_version(config: pulumi.Config, where: str, stack: str, before: StackState) -> str:
    value = config.get(config_keys.short(config_keys.MODEL_VERSION)) or before.model_version
    if not value:
        environment = STACKS.get(stack, stack)
        raise ConfigError(
            f"{where}: {config_keys.MODEL_VERSION} is not set: no model version has been chosen for this stack yet. "
            f"Deploy one: python scripts/deploy_model.py deploy MODEL_ID {environment} "
            f"--config config/deployment_templates/{environment}.yaml (or: make up)"
        )
    return value


def _rollout(
    config: pulumi.Config, where: str, model_version: str, platform: Platform, before: StackState
) -> RolloutConfig:
    try:
        value = config.get_object(config_keys.short(config_keys.ROLLOUT))
    except pulumi.ConfigTypeError:
        raise ConfigError(f"{where}: {config_keys.ROLLOUT}: not an object") from None
    if before.model_version and (value is None or isinstance(value, dict)):
        value = {**before.rollout_under(model_version), **(value or {})} or None
    return parse_rollout_config(value, f"{where}: {config_keys.ROLLOUT}", model_version, platform)


def _break_glass(config: pulumi.Config, where: str, before: StackState) -> BreakGlass | None:
    try:
        value = config.get_object(config_keys.short(config_keys.BREAK_GLASS)) or dict(before.break_glass) or None
        return parse_break_glass(value, where)
    except pulumi.ConfigTypeError:
        raise ConfigError(f"{where}: {config_keys.BREAK_GLASS}: not an object") from None


def _platform(config: pulumi.Config, where: str) -> Platform:
    value = config.get(config_keys.short(config_keys.PLATFORM)) or "local"
    for platform in get_args(Platform):
        if value == platform:
            return platform  # type: ignore[no-any-return]
    allowed = ", ".join(get_args(Platform))
    raise ConfigError(f"{where}: {config_keys.PLATFORM}: {show_value(value)} is not allowed; allowed: {allowed}")


def _signing(config: pulumi.Config, where: str, environment: str) -> SigningSettings:
    key = f"{where}: {config_keys.SIGNING}"
    default = SignaturePolicy.OFF if environment == "development" else SignaturePolicy.REQUIRE
    value = config.get_object(config_keys.short(config_keys.SIGNING)) or {}
    if not isinstance(value, dict) or not set(value) <= {"policy", "public_keys"}:
        raise ConfigError(f"{key}: {show_value(value)} is not allowed; allowed: an object with policy and public_keys")
    keys = value.get("public_keys", [])
    if not isinstance(keys, list) or not all(isinstance(item, str) for item in keys):
        raise ConfigError(f"{key}.public_keys: {show_value(keys)} is not allowed; allowed: a list of public keys")
    try:
        policy = SignaturePolicy(value.get("policy", default))
        for text in keys:
            parse_public_key(text)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}; allowed policies: {', '.join(SignaturePolicy)}") from None
    if environment != "development" and policy is not SignaturePolicy.REQUIRE:
        raise ConfigError(f"{key}.policy: {str(policy)!r} is not allowed; allowed in {environment}: 'require'")
    return SigningSettings(policy, tuple(keys))


def _trusted_types(config: pulumi.Config, where: str) -> tuple[str, ...]:
    key = f"{where}: {config_keys.TRUSTED_TYPES}"
    try:
        value = config.get_object(config_keys.short(config_keys.TRUSTED_TYPES)) or []
    except pulumi.ConfigTypeError:
        value = config.get(config_keys.short(config_keys.TRUSTED_TYPES))
    if not isinstance(value, list):
        raise ConfigError(
            f"{key}: {show_value(value)} is not allowed; allowed: a list of full names such as numpy.mean"
        )
    try:
        return require_full_names(value)
    except InvalidInput as error:
        raise ConfigError(f"{key}: {error}") from None


def _deployment(config: pulumi.Config, where: str, stack: str) -> DeploymentConfig:
    try:
        value = config.get_object(config_keys.short(config_keys.DEPLOYMENT))
    except pulumi.ConfigTypeError:
        raise ConfigError(f"{where}: {config_keys.DEPLOYMENT}: not an object") from None
    deployment = parse_deployment_config(value, f"{where}: {config_keys.DEPLOYMENT}")
    expected = STACKS.get(stack, deployment.environment)
    if deployment.environment != expected:
        raise ConfigError(
            f"{where}: {config_keys.DEPLOYMENT}.environment: {deployment.environment!r} is not allowed; "
            f"allowed: {expected!r}, the environment of stack {stack}"
        )
    return deployment
