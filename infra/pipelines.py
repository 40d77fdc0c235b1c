"""What the roles of CI may reach, from the stack's settings."""

import pulumi

from components.iam_roles import RoleRules
from components.pipeline_rights import PipelineScope
from components.pipeline_roles import PipelineRoles, PipelineRolesArgs
from components.registry_bucket import RegistryBucket
from conventions import config_keys
from infra.preflight import Account
from infra.settings import StackSettings


def declare_pipeline_roles(
    settings: StackSettings,
    account: Account,
    registry: RegistryBucket,
    rules: RoleRules,
    opts: pulumi.ResourceOptions,
) -> PipelineRoles | None:
    """The roles of CI; None where the stack's config has no `pipelines`.

    Args:
        settings: the stack's settings, on a cloud.
        account: of the roles.
        registry: the stack's own bucket.
        rules: how the account wants its roles.
        opts: names the account's provider.
    """
    cloud = settings.cloud
    if cloud is None or cloud.pipelines is None:
        return None
    config, name = cloud.pipelines, settings.deployment.deployment_name
    scope = PipelineScope(
        project=config_keys.PROJECT,
        stack=settings.stack,
        deployment_name=name,
        region=cloud.region,
        account_id=account.account_id,
        partition=account.partition,
        registry_arn=f"arn:{account.partition}:s3:::{config.registry_bucket}" if config.registry_bucket else "",
        registry_key_arn=config.registry_key_arn,
        bucket_arn="",
        bucket_key_arn="",
        inbox_bucket=config.inbox_bucket,
        state_bucket=config.state_bucket,
        state_key_arn=config.state_key_arn,
        permissions_boundary=cloud.permissions_boundary,
        image_repository=settings.image.repository if settings.image else "",
        backup_role=cloud.backup_role,
        role_path=cloud.role_path,
        name_suffix=cloud.name_suffix,
    )
    arguments = PipelineRolesArgs(
        scope=scope,
        environment=settings.deployment.environment,
        oidc_provider_arn=config.oidc_provider_arn,
        repository=config.repository,
        branch=config.branch,
        bucket_arn=registry.arn,
        bucket_key_arn=registry.key_arn,
        owns_registry=not config.registry_bucket,
        rules=rules,
    )
    return PipelineRoles(f"{name}-pipelines", arguments, opts)
