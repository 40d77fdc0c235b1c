"""Staging and production: registry bucket, roles, artifact, image, workload, route and alarms, in this order."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.kubernetes_serving import ClusterVersion, KubernetesServing, KubernetesServingArgs
from components.model_artifact import ArtifactBucket, ModelArtifact, ModelArtifactArgs
from components.registry_backup import BackupBucket, RegistryBackup, RegistryBackupArgs
from components.registry_bucket import RegistryBucket, RegistryBucketArgs
from components.registry_roles import RegistryRoles, RegistryRolesArgs
from components.serving_alarms import ServingAlarms, ServingAlarmsArgs
from components.serving_image import ServingImage, ServingImageArgs
from components.serving_route import ServingRoute, ServingRouteArgs
from conventions import metric_names, variables
from infra.alarms import alarm_specs
from infra.artifact import Versions
from infra.errors import ConfigError
from infra.preflight import Account
from infra.rollout_config import rollout_outputs, slot_name
from infra.settings import CHECKOUT, StackSettings


def declare_cloud(settings: StackSettings, account: Account, versions: Versions) -> dict[str, Any]:
    """Declares a stack on AWS and Kubernetes.

    Args:
        settings: of the stack; its platform is `kubernetes`.
        account: that everything is made in.
        versions: the model versions, verified.

    Returns:
        The stack's outputs.

    Raises:
        ConfigError: a key file is missing.
    """
    cloud, cluster, image = settings.cloud, settings.kubernetes, settings.image
    if cloud is None or cluster is None or image is None:
        raise ConfigError(f"Pulumi.{settings.stack}.yaml: the platform kubernetes needs cloud, kubernetes and image")
    name = settings.deployment.deployment_name
    # Read before anything is declared: what is missing changes nothing.
    model_key = _secret(settings.model_key_file, variables.MODEL_KEY_FILE, settings)
    api_keys = _secret(settings.api_keys_file, variables.API_KEYS_FILE, settings)
    account_provider, cluster_provider = _aws_provider(cloud.region), _cluster_provider(cluster.context)
    in_account = pulumi.ResourceOptions(providers=[account_provider])
    in_cluster = pulumi.ResourceOptions(providers=[cluster_provider])
    in_both = pulumi.ResourceOptions(providers=[account_provider, cluster_provider])
    shared: dict[str, Any] = {"account_id": account.account_id, "partition": account.partition}

    registry = RegistryBucket(
        f"{name}-registry",
        RegistryBucketArgs(
            bucket_name=cloud.registry_bucket,
            rollback_window_days=cloud.rollback_window_days,
            log_retention_days=cloud.log_retention_days,
            tags=(("Environment", settings.deployment.environment),),
            **shared,
        ),
        in_account,
    )
    roles = RegistryRoles(
        f"{name}-roles",
        RegistryRolesArgs(
            bucket_arn=registry.arn, key_arn=registry.key_arn, role_prefix=cloud.registry_bucket, **shared
        ),
        in_account,
    )
    rollout = settings.rollout
    backup_bucket = _backup_bucket(settings, shared, in_account)
    artifact = _artifact(slot_name(name, rollout.slot, "model"), versions.stable, registry, in_account)
    other = (
        _artifact(slot_name(name, rollout.other_slot, "model"), versions.other, registry, in_account)
        if versions.other
        else None
    )
    serving_image = ServingImage(
        f"{name}-image",
        ServingImageArgs(
            reference=image.reference,
            repository=image.repository,
            tag=os.environ.get("IMAGE_TAG", "latest"),
            context=str(CHECKOUT),
            **shared,
        ),
        in_account,
    )
    parts = _Parts(registry, artifact, other, serving_image.reference, model_key, api_keys)
    serving = KubernetesServing(name, _serving_args(settings, account, parts), in_both)
    if backup_bucket is not None:
        _backup(settings, parts, serving.namespace, backup_bucket, in_both)
    ServingRoute(
        f"{name}-route",
        ServingRouteArgs(
            deployment_name=name,
            namespace=serving.namespace,
            hostname=settings.deployment.host,
            gateway=cluster.gateway,
            gateway_namespace=cluster.gateway_namespace,
            stable_service=serving.service,
            candidate_service=serving.other_service if rollout.candidate else None,
            candidate_weight=rollout.weight,
            candidate_model_id=rollout.candidate,
        ),
        in_cluster,
    )
    alarms = ServingAlarms(
        f"{name}-alarms",
        ServingAlarmsArgs(
            deployment_name=name,
            environment=settings.deployment.environment,
            region=cloud.region,
            namespace=cloud.metrics_namespace,
            dimensions=metric_names.dimensions(settings.deployment.environment, name),
            alarms=alarm_specs(settings.deployment),
            subscribers=[(each.protocol, each.address) for each in cloud.alarm_subscribers],
            log_retention_days=cloud.log_retention_days,
            **shared,
        ),
        in_account,
    )
    return {
        "modelVersion": artifact.model_id,
        "modelDigest": artifact.digest,
        "modelPath": artifact.uri,
        "deploymentName": name,
        "servingId": pulumi.Output.concat(serving.namespace, "/", serving.deployment.metadata.name),
        "url": settings.deployment.api_endpoint,
        "image": serving_image.reference,
        "registryBucket": registry.bucket,
        "registryRoles": roles.arns,
        "servingRole": serving.role_arn,
        "alarmTopic": alarms.topic_arn,
        "dashboard": alarms.dashboard,
        **rollout_outputs(rollout),
    }


def _backup_bucket(
    settings: StackSettings, shared: dict[str, Any], opts: pulumi.ResourceOptions
) -> RegistryBucket | None:
    """The second bucket, as well kept as the first; None where nothing is backed up."""
    cloud = settings.cloud
    if cloud is None or not cloud.backup_schedule:
        return None
    return RegistryBucket(
        f"{settings.deployment.deployment_name}-backup",
        RegistryBucketArgs(
            bucket_name=f"{cloud.registry_bucket}-backup",
            rollback_window_days=cloud.rollback_window_days,
            log_retention_days=cloud.log_retention_days,
            tags=(("Environment", settings.deployment.environment),),
            **shared,
        ),
        opts,
    )


def _backup(
    settings: StackSettings,
    parts: "_Parts",
    namespace: pulumi.Output[str],
    bucket: RegistryBucket,
    opts: pulumi.ResourceOptions,
) -> None:
    cloud, cluster = settings.cloud, settings.kubernetes
    assert cloud is not None and cluster is not None  # noqa: S101, PT018 - the caller has looked
    registry = parts.registry
    RegistryBackup(
        f"{settings.deployment.deployment_name}-backup-job",
        RegistryBackupArgs(
            deployment_name=settings.deployment.deployment_name,
            namespace=namespace,
            namespace_name=cluster.namespace,
            image=parts.image,
            schedule=cloud.backup_schedule,
            registry=BackupBucket(registry.bucket, registry.arn, registry.key_arn),
            backup=BackupBucket(bucket.bucket, bucket.arn, bucket.key_arn),
            region=cloud.region,
            oidc_provider_arn=cluster.oidc_provider_arn,
        ),
        opts,
    )


def _artifact(
    name: str, model: ModelArtifactArgs, registry: RegistryBucket, opts: pulumi.ResourceOptions
) -> ModelArtifact:
    target = ArtifactBucket(registry.bucket, registry.key_arn, tuple(registry.ready)) if model.files else None
    return ModelArtifact(name, model, target, opts)


@dataclass(frozen=True)
class _Parts:
    """What the workload is put together from."""

    registry: RegistryBucket
    artifact: ModelArtifact
    other: ModelArtifact | None
    image: pulumi.Output[str]
    model_key: pulumi.Output[str]
    api_keys: pulumi.Output[str]


def _serving_args(settings: StackSettings, account: Account, parts: _Parts) -> KubernetesServingArgs:
    deployment, cloud, cluster = settings.deployment, settings.cloud, settings.kubernetes
    assert cloud is not None and cluster is not None  # noqa: S101, PT018 - the caller has looked
    return KubernetesServingArgs(
        deployment_name=deployment.deployment_name,
        namespace=cluster.namespace,
        environment=deployment.environment,
        image=parts.image,
        version=_version(parts.artifact),
        slot=settings.rollout.slot,
        other=_version(parts.other) if parts.other else None,
        bucket_arn=parts.registry.arn,
        key_arn=parts.registry.key_arn,
        region=cloud.region,
        partition=account.partition,
        oidc_provider_arn=cluster.oidc_provider_arn,
        model_key=parts.model_key,
        api_keys=parts.api_keys,
        cpu=deployment.resource_limits.cpu,
        memory=deployment.resource_limits.memory,
        gpu=deployment.resource_limits.gpu,
        min_replicas=deployment.scaling_config.min_replicas,
        max_replicas=deployment.scaling_config.max_replicas,
        target_cpu_utilization=deployment.scaling_config.target_cpu_utilization,
        probe_interval_seconds=deployment.monitoring_config.health_check_interval,
        route_namespace=cluster.gateway_namespace,
        deployers_group=cluster.deployers_group,
        metrics_namespace=cloud.metrics_namespace if deployment.monitoring_config.metrics_collection else "",
        quota=cluster.quota,
        other_pods=1 if cloud.backup_schedule else 0,
        rollout_seconds=cluster.rollout_seconds,
        trusted_types=settings.trusted_types,
    )


def _version(artifact: ModelArtifact) -> ClusterVersion:
    return ClusterVersion(artifact.model_id, artifact.uri, artifact.digest, artifact.runtime_digest)


def _secret(path: Path, variable: str, settings: StackSettings) -> pulumi.Output[str]:
    try:
        return pulumi.Output.secret(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"Pulumi.{settings.stack}.yaml: the key file {path} cannot be read ({error.strerror}); name another one in "
            f"{variable}; nothing was changed"
        ) from None


def _aws_provider(region: str) -> aws.Provider:
    """The account's provider; AWS_ENDPOINT_URL points it, and everything else, at another cloud such as the sandbox."""
    elsewhere = bool(os.environ.get("AWS_ENDPOINT_URL"))
    return aws.Provider(
        "aws",
        region=region,
        s3_use_path_style=elsewhere,
        skip_credentials_validation=elsewhere,
        skip_metadata_api_check=elsewhere,
        # Without an account's number the tags of buckets are asked for by S3's own name, not by the account's.
        skip_requesting_account_id=elsewhere,
    )


def _cluster_provider(context: str) -> kubernetes.Provider:
    return kubernetes.Provider("cluster", context=context or None)
