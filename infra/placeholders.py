"""Values of the committed stack files that stand for a user's own, and that no real account may be given."""

import re
from collections.abc import Iterator

from conventions import config_keys
from infra.cloud_config import CloudConfig, KubernetesConfig
from infra.deployment_config import DeploymentConfig
from infra.errors import ConfigError
from infra.settings import StackSettings

_RESERVED = re.compile(r"(^|[@./])example\.(com|net|org)\b|\.(example|invalid|test)\b")
"""Names that belong to nobody (RFC 2606)."""


def require_own_values(settings: StackSettings) -> None:
    """Raises ConfigError where the config of a cloud stack has a placeholder.

    Raises:
        ConfigError: names every such key and its value.
    """
    if settings.cloud is None or settings.kubernetes is None:
        return
    problems = [
        f"Pulumi.{settings.stack}.yaml: {key}: {value!r} is a placeholder; set your own; nothing was changed"
        for key, value in placeholders(settings.cloud, settings.kubernetes, settings.deployment)
    ]
    if problems:
        raise ConfigError("\n".join(problems))


def placeholders(
    cloud: CloudConfig, kubernetes: KubernetesConfig, deployment: DeploymentConfig
) -> Iterator[tuple[str, str]]:
    """The keys of a cloud stack's config that have a placeholder, each with its value."""
    if "/id/EXAMPLE" in kubernetes.oidc_provider_arn:
        yield f"{config_keys.KUBERNETES}.oidc_provider_arn", kubernetes.oidc_provider_arn
    for each in cloud.alarm_subscribers:
        if _RESERVED.search(each.address):
            yield f"{config_keys.CLOUD}.alarm_subscribers", each.address
    if _RESERVED.search(deployment.host):
        yield f"{config_keys.DEPLOYMENT}.api_endpoint", deployment.api_endpoint
