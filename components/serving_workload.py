"""Arguments of KubernetesServing, and the resource names of its two slots."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi

from components.iam_roles import RoleRules
from components.pod_placement import PodPlacement


@dataclass(frozen=True)
class ClusterVersion:
    """A model version that pods serve."""

    model_id: pulumi.Input[str]
    uri: pulumi.Input[str]
    """`s3://bucket/models/<name>/<model id>`."""
    digest: pulumi.Input[str]
    runtime_digest: pulumi.Input[str] = ""
    """Digest of the model's optimized form; empty: the service uses the model's own library."""


@dataclass(frozen=True)
class KubernetesServingArgs:
    """Arguments of KubernetesServing: model versions, size, scaling and access."""

    deployment_name: str
    """Prefix of every object's name."""
    namespace: str
    """The endpoint's own namespace; the component creates it."""
    environment: str
    image: pulumi.Input[str]
    """The service's image by digest, `repository@sha256:…`."""
    version: ClusterVersion
    """The stable version."""
    bucket_arn: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    """The key that the registry's bucket is encrypted with."""
    region: str
    partition: pulumi.Input[str]
    oidc_provider_arn: str
    """The cluster's identity provider in IAM: `arn:aws:iam::<account>:oidc-provider/<issuer>`."""
    model_key: pulumi.Input[str]
    """The key that decrypts the artifact; a secret."""
    api_keys: pulumi.Input[str]
    """The file of API keys' hashes; a secret."""
    cpu: str
    memory: str
    gpu: int
    min_replicas: int
    max_replicas: int
    target_cpu_utilization: int
    probe_interval_seconds: int
    route_namespace: str
    """Namespace of the Gateway: its pods may connect."""
    deployers_group: str
    """Group of the cluster's users who may look after this deployment; empty for none."""
    slot: str = "blue"
    """The slot of the stable version: `blue` or `green`."""
    other: ClusterVersion | None = None
    """The version in the other slot, at full size; None when the slot is empty."""
    other_min_replicas: int = 0
    """The least number of replicas of the other slot, where that is more than `min_replicas`."""
    metrics_namespace: str = ""
    """CloudWatch namespace that the service publishes to; empty for none."""
    quota: bool = False
    """Whether the namespace is limited to what the deployment may grow to."""
    other_pods: int = 0
    """Number of pods that the quota leaves for jobs."""
    rollout_seconds: int = 600
    """Seconds that a rollout may take before it counts as failed."""
    service_variables: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables of the service: limits, rates, threshold, traces."""
    rules: RoleRules = field(default_factory=RoleRules)
    """Of the pods' roles."""
    gateway_pod_namespaces: tuple[str, ...] = ()
    """Further namespaces whose pods may connect: those of the pods that carry the Gateway's traffic."""
    monitoring_namespaces: tuple[str, ...] = ()
    """Namespaces whose pods may connect to read the metrics."""
    dns_addresses: tuple[str, ...] = ()
    """Blocks in CIDR notation that answer DNS beside the cluster's pods."""
    gateway_addresses: tuple[str, ...] = ()
    """Blocks in CIDR notation that may connect: of a load balancer outside the cluster."""
    ip_families: tuple[str, ...] = ()
    """Of the Services, `IPv4` and `IPv6`, the first one primary; empty: the cluster's default."""
    placement: PodPlacement = field(default_factory=PodPlacement)
    """The nodes that the pods may be on."""
    destinations: tuple[tuple[str, int], ...] = ()
    """Host and TCP port of further destinations of the pods, such as a Redis."""
    tls_secret: str = ""
    """Secret of the namespace with `tls.crt` and `tls.key`: pods serve HTTPS; empty: HTTP behind the gateway."""
    tls_client_ca_secret: str = ""
    """Secret with `ca.crt`, authorities of client certificates; empty: no certificate is asked for."""


class Slot:
    """One of the two slots for a version, and the names of its resources. Blue's names are the deployment's own."""

    def __init__(self, name: str, args: KubernetesServingArgs, slot: str, version: ClusterVersion) -> None:
        wanted = max(args.min_replicas, 0 if slot == args.slot else args.other_min_replicas)
        self.min_replicas = min(wanted, args.max_replicas)
        suffix = "" if slot == "blue" else f"-{slot}"
        self.resource, self.object = f"{name}{suffix}", f"{args.deployment_name}{suffix}"
        self.version, self.slot = version, slot
        self.selector = {"app.kubernetes.io/name": self.object}
        self.labels = {
            **self.selector,
            "app.kubernetes.io/part-of": "fraud-detection",
            "app.kubernetes.io/managed-by": "pulumi",
        }
