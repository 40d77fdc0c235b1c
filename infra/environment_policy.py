"""Rules of an environment that no config can lower: deployments that staging and production refuse."""

from collections.abc import Iterator

from conventions import config_keys
from infra.errors import ConfigError
from infra.requirements import missing_requirements
from infra.settings import StackSettings
from model_store.registry.reader import RegistryReader
from model_store.registry.serving import read_serving

_MIN_PRODUCTION_REPLICAS = 2


def require_environment_policy(settings: StackSettings) -> None:
    """Raises ConfigError unless the config meets the policy of its environment.

    Raises:
        ConfigError: names every key that does not meet it, the value, and what is allowed.
    """
    problems = list(_problems(settings))
    if problems:
        raise ConfigError("\n".join(f"Pulumi.{settings.stack}.yaml: {problem}" for problem in problems))


def require_fit(settings: StackSettings, registry: RegistryReader, model_id: str, *, serves_on: bool = False) -> None:
    """Raises ConfigError unless a model version has what the environment requires, or the glass is broken for it.

    Args:
        settings: the stack's settings.
        registry: holds the version.
        model_id: the version to serve.
        serves_on: whether the version serves in the environment already, and the update leaves it as it is. Where the
            registry says so too, a validation or approval that it lacks since refuses nothing.

    Raises:
        ConfigError: names each missing requirement, and the command that meets it.
    """
    deployment, glass = settings.deployment, settings.break_glass
    missing = missing_requirements(
        registry, model_id, deployment.environment, deployment.requires, settings.signing.public_keys
    )
    lacking = [each for each in missing if glass is None or not glass.passes(model_id, each.name)]
    if serves_on and deployment.environment in read_serving(registry.state(model_id)):
        lacking = [each for each in lacking if each.name == "signed"]
    if lacking:
        key = f"Pulumi.{settings.stack}.yaml: {config_keys.DEPLOYMENT}.gates.requires"
        raise ConfigError("\n".join(f"{key}: {each}" for each in lacking))


def _problems(settings: StackSettings) -> Iterator[str]:
    deployment = settings.deployment
    if settings.trusted_types and deployment.environment != "development":
        yield (
            f"{config_keys.TRUSTED_TYPES}: {', '.join(settings.trusted_types)} is not allowed; allowed in "
            f"{deployment.environment}: none, since only models whose structure the rules know are served there"
        )
    gpus = deployment.resource_limits.gpu
    if gpus and settings.image is not None and not settings.image.gpu:
        yield (
            f"{config_keys.DEPLOYMENT}.resource_limits.gpu: {gpus} is not allowed; allowed: 0, since the service's "
            f"image has no library that uses a GPU; for one of your own that has: {config_keys.IMAGE}.gpu: true"
        )
    if settings.cloud is None or settings.image is None:
        return
    if not deployment.api_endpoint.startswith("https://"):
        yield (
            f"{config_keys.DEPLOYMENT}.api_endpoint: {deployment.api_endpoint!r} is not allowed; "
            "allowed: an https:// address"
        )
    if settings.image.reference and not settings.image.by_digest:
        yield (
            f"{config_keys.IMAGE}.reference: {settings.image.reference!r} is not allowed; "
            "allowed: an image by digest, repository@sha256:…, because a tag can move to another image"
        )
    if not settings.image.reference and not settings.image.repository:
        yield f"{config_keys.IMAGE}: has no reference, no repository to build and no promoted_from; set one of them"
    if deployment.environment != "production":
        return
    if deployment.scaling_config.min_replicas < _MIN_PRODUCTION_REPLICAS:
        yield (
            f"{config_keys.DEPLOYMENT}.scaling_config.min_replicas: {deployment.scaling_config.min_replicas} "
            f"is not allowed; allowed in production: at least {_MIN_PRODUCTION_REPLICAS}"
        )
    if not settings.cloud.alarm_subscribers:
        yield f"{config_keys.CLOUD}.alarm_subscribers: is empty; production needs at least one receiver of alarms"
