"""Values of the committed stack files that stand for a user's own, and that no real account may be given."""

import re
from collections.abc import Iterator

from conventions import config_keys
from infra.errors import ConfigError
from infra.settings import StackSettings

_RESERVED = re.compile(r"(^|[@./])example\.(com|net|org)\b|\.(example|invalid|test)\b")
"""Names that belong to nobody (RFC 2606)."""


def require_own_values(settings: StackSettings) -> None:
    """Raises ConfigError where the config of a cloud stack has a placeholder.

    Raises:
        ConfigError: names every such key and its value.
    """
    problems = [
        f"Pulumi.{settings.stack}.yaml: {key}: {value!r} is a placeholder; set your own; nothing was changed"
        for key, value in _placeholders(settings)
    ]
    if problems:
        raise ConfigError("\n".join(problems))


def _placeholders(settings: StackSettings) -> Iterator[tuple[str, str]]:
    cloud, cluster = settings.cloud, settings.kubernetes
    if cloud is None or cluster is None:
        return
    if "/id/EXAMPLE" in cluster.oidc_provider_arn:
        yield f"{config_keys.KUBERNETES}.oidc_provider_arn", cluster.oidc_provider_arn
    for each in cloud.alarm_subscribers:
        if _RESERVED.search(each.address):
            yield f"{config_keys.CLOUD}.alarm_subscribers", each.address
    if _RESERVED.search(settings.deployment.host):
        yield f"{config_keys.DEPLOYMENT}.api_endpoint", settings.deployment.api_endpoint
