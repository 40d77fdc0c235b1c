"""Staging and production: registry bucket, roles, artifact, image, workload, route and alarms, in this order."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.iam_roles import RoleRules
from components.kubernetes_serving import KubernetesServing
from components.model_artifact import ArtifactBucket, ModelArtifact, ModelArtifactArgs
from components.pod_placement import PodPlacement
from components.registry_backup import BackupBucket, RegistryBackup, RegistryBackupArgs, backup_role_name
from components.registry_bucket import RegistryBucket, RegistryBucketArgs
from components.registry_roles import RegistryRoles, RegistryRolesArgs
from components.serving_alarms import ServingAlarms, ServingAlarmsArgs
from components.serving_image import ServingImage, ServingImageArgs
from components.serving_route import ServingRoute, ServingRouteArgs
from components.serving_workload import ClusterVersion, KubernetesServingArgs
from conventions import metric_names, variables
from conventions.regular_files import read_text
from infra.absent_keys import absent_key
from infra.alarms import alarm_specs
from infra.artifact import Versions
from infra.cloud_config import CloudConfig, ImageConfig, KubernetesConfig, require_account_names
from infra.errors import ConfigError
from infra.image_sources import source_tag
from infra.pipelines import declare_pipeline_roles
from infra.preflight import Account
from infra.rollout_config import rollout_outputs, slot_name
from infra.settings import CHECKOUT, StackSettings


def declare_cloud(settings: StackSettings, account: Account, versions: Versions) -> dict[str, Any]:
    """Declares a stack on AWS and Kubernetes.

    Args:
        settings: the stack's settings; the platform is `kubernetes`.
        account: the AWS account of all resources.
        versions: the model versions, verified.

    Returns:
        The stack's outputs.

    Raises:
        ConfigError: a key file is missing.
    """
    stack = _CloudStack.of(settings, account)
    name, rollout = stack.name, settings.rollout
    registry = stack.registry_bucket(f"{name}-registry", stack.cloud.registry_bucket)
    roles = stack.registry_roles(registry)
    pipelines = declare_pipeline_roles(settings, account, registry, stack.role_rules, stack.in_account)
    backup_bucket = stack.backup_bucket()
    artifact = stack.artifact(slot_name(name, rollout.slot, "model"), versions.stable, registry)
    other = (
        stack.artifact(slot_name(name, rollout.other_slot, "model"), versions.other, registry)
        if versions.other
        else None
    )
    image = stack.serving_image()
    serving = stack.serving(registry, image.reference, _version(artifact), _version(other) if other else None)
    alarms = stack.alarms()
    if backup_bucket is not None:
        stack.backup_job(registry, backup_bucket, image.reference, serving.namespace, alarms)
    stack.route(serving)
    return {
        "modelVersion": artifact.model_id,
        "modelDigest": artifact.digest,
        "modelPath": artifact.uri,
        "deploymentName": name,
        "servingId": pulumi.Output.concat(serving.namespace, "/", serving.deployment.metadata.name),
        "url": settings.deployment.api_endpoint,
        "image": image.reference,
        "registryBucket": registry.bucket,
        "registryRoles": roles.arns,
        **({"pipelineRoles": pipelines.arns} if pipelines else {}),
        "servingRole": serving.role_arn,
        "alarmTopic": alarms.topic_arn,
        "dashboard": alarms.dashboard,
        **rollout_outputs(rollout),
    }


@dataclass(frozen=True)
class _CloudStack:
    """The settings of one stack on AWS and Kubernetes; each method declares one component."""

    settings: StackSettings
    cloud: CloudConfig
    cluster: KubernetesConfig
    image: ImageConfig
    account: Account
    model_key: pulumi.Output[str]
    api_keys: pulumi.Output[str]
    in_account: pulumi.ResourceOptions
    in_cluster: pulumi.ResourceOptions
    in_both: pulumi.ResourceOptions

    @classmethod
    def of(cls, settings: StackSettings, account: Account) -> "_CloudStack":
        """Reads the key files, and declares the providers only when nothing is missing."""
        cloud, cluster, image = settings.cloud, settings.kubernetes, settings.image
        if cloud is None or cluster is None or image is None:
            raise ConfigError(
                f"Pulumi.{settings.stack}.yaml: the platform kubernetes needs cloud, kubernetes and image"
            )
        require_account_names(cloud, settings.deployment.deployment_name, f"Pulumi.{settings.stack}.yaml")
        model_key = _secret(settings.model_key_file, variables.MODEL_KEY_FILE, settings)
        api_keys = _secret(settings.api_keys_file, variables.API_KEYS_FILE, settings)
        aws_provider, cluster_provider = _aws_provider(cloud), _cluster_provider(cluster.context)
        return cls(
            settings,
            cloud,
            cluster,
            image,
            account,
            model_key,
            api_keys,
            in_account=pulumi.ResourceOptions(providers=[aws_provider]),
            in_cluster=pulumi.ResourceOptions(providers=[cluster_provider]),
            in_both=pulumi.ResourceOptions(providers=[aws_provider, cluster_provider]),
        )

    @property
    def name(self) -> str:
        """The deployment's name; prefix of all component names."""
        return self.settings.deployment.deployment_name

    @property
    def role_rules(self) -> RoleRules:
        """How the account wants its roles."""
        return RoleRules(self.cloud.role_path, self.cloud.permissions_boundary, self.cloud.name_suffix)

    @property
    def placement(self) -> PodPlacement:
        """The nodes that pods may be on."""
        cluster = self.cluster
        return PodPlacement(
            architecture=cluster.architecture,
            node_selector=cluster.node_selector,
            tolerations=tuple(each.to_dict() for each in cluster.tolerations),
            pull_secrets=cluster.image_pull_secrets,
            priority_class=cluster.priority_class,
        )

    @property
    def _in_partition(self) -> dict[str, Any]:
        return {"account_id": self.account.account_id, "partition": self.account.partition}

    def registry_bucket(self, name: str, bucket_name: str) -> RegistryBucket:
        """The registry's bucket; nobody can remove an object of it within the rollback window."""
        return RegistryBucket(name, self._bucket_arguments(bucket_name), self.in_account)

    def _bucket_arguments(self, bucket_name: str) -> RegistryBucketArgs:
        return RegistryBucketArgs(
            bucket_name=bucket_name,
            rollback_window_days=self.cloud.rollback_window_days,
            log_retention_days=self.cloud.log_retention_days,
            tags=(("Environment", self.settings.deployment.environment),),
            **self._in_partition,
        )

    def registry_roles(self, registry: RegistryBucket) -> RegistryRoles:
        """The IAM roles of people and pipelines that use the registry."""
        arguments = RegistryRolesArgs(
            bucket_arn=registry.arn,
            key_arn=registry.key_arn,
            role_prefix=self.cloud.registry_bucket,
            rules=self.role_rules,
            **self._in_partition,
        )
        return RegistryRoles(f"{self.name}-roles", arguments, self.in_account)

    def backup_bucket(self) -> RegistryBucket | None:
        """The backup bucket, with the same protection, in the region and account of the backup; None without one."""
        cloud = self.cloud
        if not cloud.backup_schedule:
            return None
        arguments, options = self._bucket_arguments(f"{cloud.registry_bucket}-backup"), self.in_account
        if cloud.backup_role:
            account, role = self.account, self.role_rules.named(backup_role_name(self.name))
            copier = f"arn:{account.partition}:iam::{account.account_id}:role{cloud.role_path}{role}"
            arguments = replace(arguments, account_id=cloud.backup_role.split(":")[4], copier=copier)
        if cloud.backup_role or cloud.backup_region:
            options = pulumi.ResourceOptions(providers=[_backup_provider(cloud)])
        return RegistryBucket(f"{self.name}-backup", arguments, options)

    def artifact(self, name: str, model: ModelArtifactArgs, registry: RegistryBucket) -> ModelArtifact:
        """A model version in the bucket's registry, promoted into it where it comes from another one."""
        ready = tuple(registry.ready)
        target = ArtifactBucket(registry.bucket, self.cloud.region, ready) if model.files else None
        return ModelArtifact(name, model, target, self.in_account)

    def serving_image(self) -> ServingImage:
        """The image that pods run."""
        arguments = ServingImageArgs(
            reference=self.image.reference,
            repository=self.image.repository,
            tag=os.environ.get("IMAGE_TAG") or source_tag(CHECKOUT, self.cluster.architecture),
            context=str(CHECKOUT),
            architecture=self.cluster.architecture,
            **self._in_partition,
        )
        return ServingImage(f"{self.name}-image", arguments, self.in_account)

    def serving(
        self, registry: RegistryBucket, image: pulumi.Output[str], stable: ClusterVersion, other: ClusterVersion | None
    ) -> KubernetesServing:
        """The workload: the stable version, and the version in the other slot."""
        deployment, cloud, cluster = self.settings.deployment, self.cloud, self.cluster
        arguments = KubernetesServingArgs(
            deployment_name=self.name,
            namespace=cluster.namespace,
            environment=deployment.environment,
            image=image,
            version=stable,
            slot=self.settings.rollout.slot,
            other=other,
            bucket_arn=registry.arn,
            key_arn=registry.key_arn,
            region=cloud.region,
            partition=self.account.partition,
            oidc_provider_arn=cluster.oidc_provider_arn,
            model_key=self.model_key,
            api_keys=self.api_keys,
            cpu=deployment.resource_limits.cpu,
            memory=deployment.resource_limits.memory,
            gpu=deployment.resource_limits.gpu,
            min_replicas=deployment.scaling_config.min_replicas,
            max_replicas=deployment.scaling_config.max_replicas,
            other_min_replicas=self.settings.rollout.capacity,
            target_cpu_utilization=deployment.scaling_config.target_cpu_utilization,
            probe_interval_seconds=deployment.monitoring_config.health_check_interval,
            route_namespace=cluster.gateway_namespace,
            gateway_pod_namespaces=cluster.all_gateway_pod_namespaces,
            gateway_addresses=cluster.gateway_addresses,
            monitoring_namespaces=cluster.monitoring_namespaces,
            dns_addresses=cluster.dns_addresses,
            placement=self.placement,
            ip_families=cluster.ip_families,
            deployers_group=cluster.deployers_group,
            metrics_namespace=cloud.metrics_namespace if deployment.monitoring_config.metrics_collection else "",
            quota=cluster.quota,
            other_pods=1 if cloud.backup_schedule else 0,
            rollout_seconds=cluster.rollout_seconds,
            service_variables=self.settings.service_variables,
            rules=self.role_rules,
            destinations=deployment.service.destinations(),
            tls_secret=deployment.service.tls_secret or "",
            tls_client_ca_secret=deployment.service.tls_client_ca_secret or "",
        )
        return KubernetesServing(self.name, arguments, self.in_both)

    def backup_job(
        self,
        registry: RegistryBucket,
        backup: RegistryBucket,
        image: pulumi.Output[str],
        namespace: pulumi.Output[str],
        alarms: ServingAlarms,
    ) -> RegistryBackup:
        """The CronJob that copies the registry to the backup bucket."""
        arguments = RegistryBackupArgs(
            deployment_name=self.name,
            namespace=namespace,
            namespace_name=self.cluster.namespace,
            image=image,
            schedule=self.cloud.backup_schedule,
            registry=BackupBucket(registry.bucket, registry.arn, registry.key_arn),
            backup=BackupBucket(backup.bucket, backup.arn, backup.key_arn),
            region=self.cloud.region,
            oidc_provider_arn=self.cluster.oidc_provider_arn,
            environment=self.settings.deployment.environment,
            alarm_topic=alarms.topic_arn,
            alarm_hours=self.cloud.backup_alarm_hours,
            metrics_namespace=self.cloud.metrics_namespace,
            dns_addresses=self.cluster.dns_addresses,
            placement=self.placement,
            rules=self.role_rules,
        )
        return RegistryBackup(f"{self.name}-backup-job", arguments, self.in_both)

    def route(self, serving: KubernetesServing) -> ServingRoute:
        """The route from the Gateway to the pods, with the weights of the slots."""
        rollout, service = self.settings.rollout, self.settings.deployment.service
        arguments = ServingRouteArgs(
            deployment_name=self.name,
            namespace=serving.namespace,
            hostname=self.settings.deployment.host,
            gateway=self.cluster.gateway,
            gateway_namespace=self.cluster.gateway_namespace,
            stable_service=serving.service,
            other_service=serving.other_service,
            other_weight=rollout.weight if rollout.candidate else 0,
            candidate_model_id=rollout.candidate,
            pods_serve_https=service.tls_secret is not None,
            authority=service.tls_authority or "",
        )
        return ServingRoute(f"{self.name}-route", arguments, self.in_cluster)

    def alarms(self) -> ServingAlarms:
        """Alarms, their topic and the dashboard."""
        environment = self.settings.deployment.environment
        arguments = ServingAlarmsArgs(
            deployment_name=self.name,
            environment=environment,
            region=self.cloud.region,
            namespace=self.cloud.metrics_namespace,
            dimensions=metric_names.dimensions(environment, self.name),
            alarms=alarm_specs(self.settings.deployment, self.settings.rollout.slot),
            subscribers=[(each.protocol, each.address) for each in self.cloud.alarm_subscribers],
            queues_to_open=[each.address for each in self.cloud.alarm_subscribers if each.replace_queue_policy],
            log_retention_days=self.cloud.log_retention_days,
            dashboard_name=f"{self.name}{self.cloud.name_suffix}",
            **self._in_partition,
        )
        return ServingAlarms(f"{self.name}-alarms", arguments, self.in_account)


def _version(artifact: ModelArtifact) -> ClusterVersion:
    return ClusterVersion(artifact.model_id, artifact.uri, artifact.digest, artifact.runtime_digest)


def _secret(path: Path, variable: str, settings: StackSettings) -> pulumi.Output[str]:
    try:
        text = read_text(path)
        if not text.strip():
            raise ConfigError(
                f"Pulumi.{settings.stack}.yaml: the key file {path} is empty; name another one in {variable} (a secret "
                "that is not defined arrives empty); nothing was changed"
            )
        return pulumi.Output.secret(text)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and (absent := absent_key(path, variable)) is not None:
            return absent
        raise ConfigError(
            f"Pulumi.{settings.stack}.yaml: the key file {path} cannot be read ({error.strerror}); name another one in "
            f"{variable}; nothing was changed"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(
            f"Pulumi.{settings.stack}.yaml: the key file {path} is not text; name another one in {variable}; "
            "nothing was changed"
        ) from None


def _aws_provider(cloud: CloudConfig) -> aws.Provider:
    """The account's provider; AWS_ENDPOINT_URL points it, and everything else, at another cloud such as the sandbox."""
    return aws.Provider("aws", region=cloud.region, **_provider_settings(cloud))


def _backup_provider(cloud: CloudConfig) -> aws.Provider:
    """The provider of the backup's region and account."""
    role: dict[str, Any] = {"assume_roles": [{"role_arn": cloud.backup_role}]} if cloud.backup_role else {}
    return aws.Provider("aws-backup", region=cloud.backup_region or cloud.region, **role, **_provider_settings(cloud))


def _provider_settings(cloud: CloudConfig) -> dict[str, Any]:
    elsewhere = bool(os.environ.get("AWS_ENDPOINT_URL"))
    return {
        "default_tags": {"tags": cloud.tags} if cloud.tags else None,
        "s3_use_path_style": elsewhere,
        "skip_credentials_validation": elsewhere,
        "skip_metadata_api_check": elsewhere,
        # Without the account number the provider reads bucket tags through S3, not through S3 Control.
        "skip_requesting_account_id": elsewhere,
    }


def _cluster_provider(context: str) -> kubernetes.Provider:
    return kubernetes.Provider("cluster", context=context or None)
