"""The dynamic resource behind ModelArtifact in a bucket: a version that is promoted into the bucket's registry.

The provider's class is recorded by name and captures nothing; what it needs it imports inside its methods, so that the
stack's state does not change with this code.
"""

from typing import Any

import pulumi
from pulumi.dynamic import ConfigureRequest, CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

_IDENTITY = ("model_id", "target")


class PromotedVersionProvider(ResourceProvider):
    """Promotes a version into a registry; a version that was promoted stays there."""

    serialize_as_secret_always = False

    def configure(self, _request: ConfigureRequest) -> None:
        """Called once in the provider's own process: its errors are for people, who need no call stack."""
        import sys

        sys.tracebacklimit = 0

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """An update is due when artifact or keys have changed; the version may come from another checkout."""
        changed = [key for key in ("model_id", "target", "revision") if _olds.get(key) != _news.get(key)]
        return DiffResult(changes=bool(changed), replaces=[key for key in _IDENTITY if key in changed])

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Promotes the version, or finishes what was begun."""
        from components.version_promotion import promote

        return CreateResult(f"{props['target']}/{props['model_id']}", promote(props))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Brings the artifact again whose keys were rotated."""
        from components.version_promotion import promote

        return UpdateResult(promote(_news))


class PromotedVersion(Resource, module="fraud-detection", name="PromotedVersion"):
    """One model version in the registry of a bucket.

    Args:
        name: of the resource.
        props: `model_id`, `source` and `target` (registry locations), `region` of the bucket, `revision` (digest and
            key ids), `checkout` and `reason`.
        opts: of the resource.
    """

    target: pulumi.Output[str]
    model_id: pulumi.Output[str]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(PromotedVersionProvider(), name, props, opts)
