"""KubernetesServing: the endpoint as a workload in a cluster, with its scaling, probes, network rules and IAM role."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.pod_rights import pod_policy, pod_trust_policy
from components.pod_rules import aws_token, container_security_context, dns_and_https_egress, pod_security_context
from components.trusted_types import trusted_variables
from conventions import variables

_DRAIN_SECONDS = 15
_PRE_STOP_SECONDS = 10
_SECRETS = "/var/run/secrets/fraud-detection"
_GPU = "nvidia.com/gpu"
PORT = 8000


@dataclass(frozen=True)
class ClusterVersion:
    """A model version that pods serve."""

    model_id: pulumi.Input[str]
    uri: pulumi.Input[str]
    """`s3://bucket/models/<name>/<model id>`."""
    digest: pulumi.Input[str]
    runtime_digest: pulumi.Input[str] = ""
    """The digest of the model's optimized form, which is served where it is given."""


@dataclass(frozen=True)
class KubernetesServingArgs:
    """What to serve, how large, and for whom."""

    deployment_name: str
    """Names every object."""
    namespace: str
    """The namespace of this endpoint alone; made here."""
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
    """Namespace of the gateway: its pods may connect."""
    deployers_group: str
    """Group of the cluster's users who may look after this deployment; empty for none."""
    slot: str = "blue"
    """The slot of the stable version: `blue` or `green`."""
    other: ClusterVersion | None = None
    """What is in the other slot, at full size."""
    metrics_by_version: bool = True
    """Whether metrics are published for each model version too, which a rollout is decided by. Always on, so that the
    first rollout leaves stable's pods as they are."""
    metrics_namespace: str = ""
    """CloudWatch namespace that the service publishes to; empty for none."""
    log_level: str = "INFO"
    quota: bool = False
    """Whether the namespace is limited to what the deployment may grow to."""
    other_pods: int = 0
    """How many pods the quota leaves for jobs."""
    rollout_seconds: int = 600
    """How long a rollout may take before it has failed."""
    trusted_types: tuple[str, ...] = ()
    """Full names that the service trusts beyond the allow-list, such as `numpy.mean`."""


class _Slot:
    """One of the two slots for a version, and the names of its resources. Blue's names are the deployment's own."""

    def __init__(self, name: str, args: KubernetesServingArgs, slot: str, version: ClusterVersion) -> None:
        suffix = "" if slot == "blue" else f"-{slot}"
        self.resource, self.object = f"{name}{suffix}", f"{args.deployment_name}{suffix}"
        self.version = version
        self.selector = {"app.kubernetes.io/name": self.object}
        self.labels = {
            **self.selector,
            "app.kubernetes.io/part-of": "fraud-detection",
            "app.kubernetes.io/managed-by": "pulumi",
        }


class KubernetesServing(pulumi.ComponentResource):
    """One model version behind a Service, or two, each with a Service and everything else of its own.

    Guarantees: a rollout never takes a pod away before another is ready; pods run as nobody, read-only, with no rights
    in the cluster, and reach nothing but DNS and HTTPS; their IAM role reads one artifact and decrypts with one key;
    the autoscaler alone sets the number of replicas.
    """

    namespace: pulumi.Output[str]
    service: pulumi.Output[str]
    """The Service of the stable version."""
    other_service: pulumi.Output[str] | None
    """The Service of the other slot's version; None when the slot is empty."""
    role_arn: pulumi.Output[str]
    deployment: kubernetes.apps.v1.Deployment
    """The Deployment of the stable version."""

    def __init__(self, name: str, args: KubernetesServingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("fraud-detection:kubernetes_serving:KubernetesServing", name, {}, opts)
        self._name, self._args = name, args
        self._own = _Slot(name, args, "blue", args.version)
        namespace = self._namespace()
        self.namespace = namespace.metadata.name
        self._model_key = self._secret("model-key", {"model.key": args.model_key})
        self._api_keys = self._secret("api-keys", {"api_keys.json": args.api_keys})
        self._deny_policy()
        if args.quota:
            self._quota()
        if args.deployers_group:
            self._deployers()
        stable = _Slot(name, args, args.slot, args.version)
        self.service, self.role_arn, self.deployment = self._workload(stable)
        self.other_service = None
        if args.other is not None:
            other = _Slot(name, args, "green" if args.slot == "blue" else "blue", args.other)
            self.other_service = self._workload(other)[0]
        self.register_outputs({"namespace": self.namespace, "service": self.service, "role_arn": self.role_arn})

    def _workload(self, slot: _Slot) -> tuple[pulumi.Output[str], pulumi.Output[str], kubernetes.apps.v1.Deployment]:
        """Everything of one version; returns its Service's name, its role and its Deployment."""
        role = self._role(slot)
        account = kubernetes.core.v1.ServiceAccount(
            f"{slot.resource}-account",
            metadata=self._metadata(slot, {"eks.amazonaws.com/role-arn": role.arn}),
            automount_service_account_token=False,
            opts=self._child(),
        )
        self._allow_policy(slot)
        self._budget(slot)
        service = kubernetes.core.v1.Service(
            f"{slot.resource}-service",
            metadata=self._metadata(slot),
            spec={
                "selector": slot.selector,
                "ports": [{"name": "http", "port": 80, "target_port": "http", "protocol": "TCP"}],
            },
            opts=self._child(),
        )
        deployment = self._deployment(slot, account, role.arn)
        self._autoscaler(slot, deployment)
        # The route asks for the Service by a name that is known once the pods are ready: they are before it moves.
        name = pulumi.Output.all(service.metadata.name, deployment.id).apply(lambda known: str(known[0]))
        return name, role.arn, deployment

    def _child(self, **options: Any) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, **options)

    def _metadata(
        self, slot: _Slot | None = None, annotations: dict[str, pulumi.Input[str]] | None = None
    ) -> dict[str, Any]:
        slot = slot or self._own
        found: dict[str, Any] = {"name": slot.object, "namespace": self.namespace, "labels": slot.labels}
        return {**found, "annotations": annotations} if annotations else found

    def _namespace(self) -> kubernetes.core.v1.Namespace:
        enforced = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
        return kubernetes.core.v1.Namespace(
            f"{self._name}-namespace",
            metadata={"name": self._args.namespace, "labels": {**self._own.labels, **enforced}},
            opts=self._child(),
        )

    def _role(self, slot: _Slot) -> aws.iam.Role:
        args = self._args
        subject = f"system:serviceaccount:{args.namespace}:{slot.object}"
        role = aws.iam.Role(
            f"{slot.resource}-role",
            name=f"{slot.object}-serving",
            description=f"pods of {slot.object}",
            assume_role_policy=json.dumps(pod_trust_policy(args.oidc_provider_arn, subject)),
            max_session_duration=3600,
            opts=self._child(),
        )
        policy = pulumi.Output.all(
            model_uri=slot.version.uri, bucket_arn=args.bucket_arn, key_arn=args.key_arn, partition=args.partition
        ).apply(
            lambda known: json.dumps(pod_policy(**known, region=args.region, metrics_namespace=args.metrics_namespace))
        )
        aws.iam.RolePolicy(
            f"{slot.resource}-role-policy", name="serving", role=role.name, policy=policy, opts=self._child()
        )
        return role

    def _secret(self, what: str, content: dict[str, pulumi.Input[str]]) -> kubernetes.core.v1.Secret:
        metadata = {**self._metadata(), "name": f"{self._args.deployment_name}-{what}"}
        return kubernetes.core.v1.Secret(
            f"{self._name}-{what}", metadata=metadata, string_data=content, type="Opaque", opts=self._child()
        )

    def _deployment(
        self, slot: _Slot, account: kubernetes.core.v1.ServiceAccount, role_arn: pulumi.Output[str]
    ) -> kubernetes.apps.v1.Deployment:
        args = self._args
        # A changed secret has to reach the pods: they read their files once.
        secrets = pulumi.Output.all(args.model_key, args.api_keys).apply(lambda both: _fingerprint(*both))
        return kubernetes.apps.v1.Deployment(
            f"{slot.resource}-deployment",
            # A field that was changed by hand is overwritten: the stack says what runs.
            metadata=self._metadata(slot, {"pulumi.com/patchForce": "true"}),
            spec={
                # `replicas` is the autoscaler's alone.
                "selector": {"match_labels": slot.selector},
                "strategy": {"type": "RollingUpdate", "rolling_update": {"max_surge": 1, "max_unavailable": 0}},
                "progress_deadline_seconds": args.rollout_seconds,
                "revision_history_limit": 10,
                "template": {
                    "metadata": {
                        "labels": slot.labels,
                        "annotations": {
                            "fraud-detection/model-id": slot.version.model_id,
                            "fraud-detection/secrets": secrets,
                        },
                    },
                    "spec": {
                        "service_account_name": account.metadata.name,
                        "automount_service_account_token": False,
                        "enable_service_links": False,
                        "termination_grace_period_seconds": _PRE_STOP_SECONDS + _DRAIN_SECONDS + 15,
                        "security_context": pod_security_context(),
                        "topology_spread_constraints": [
                            {
                                "max_skew": 1,
                                "topology_key": key,
                                "when_unsatisfiable": "ScheduleAnyway",
                                "label_selector": {"match_labels": slot.selector},
                            }
                            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
                        ],
                        "affinity": {
                            "pod_anti_affinity": {
                                "preferred_during_scheduling_ignored_during_execution": [
                                    {
                                        "weight": 100,
                                        "pod_affinity_term": {
                                            "topology_key": "kubernetes.io/hostname",
                                            "label_selector": {"match_labels": slot.selector},
                                        },
                                    }
                                ]
                            }
                        },
                        "containers": [self._container(slot, role_arn)],
                        "volumes": _volumes(self._model_key, self._api_keys, args.memory),
                    },
                },
            },
            opts=self._child(
                ignore_changes=["spec.replicas"],
                custom_timeouts=pulumi.CustomTimeouts(
                    create=f"{args.rollout_seconds}s", update=f"{args.rollout_seconds}s"
                ),
            ),
        )

    def _container(self, slot: _Slot, role_arn: pulumi.Output[str]) -> dict[str, Any]:
        args = self._args
        interval = args.probe_interval_seconds
        limits = {"cpu": args.cpu, "memory": args.memory, "ephemeral-storage": "2Gi"}
        devices = {_GPU: str(args.gpu)} if args.gpu else {}
        return {
            "name": "serving",
            "image": args.image,
            "image_pull_policy": "Always",
            "ports": [{"name": "http", "container_port": PORT, "protocol": "TCP"}],
            "env": [{"name": name, "value": value} for name, value in self._environment(slot, role_arn).items()],
            "resources": {"requests": {**limits, **devices}, "limits": {**limits, **devices}},
            "security_context": container_security_context(),
            # Three questions: has it loaded its model, may it have traffic, does it still answer at all.
            "startup_probe": _probe("/health/ready", period_seconds=5, timeout_seconds=3, failure_threshold=60),
            "readiness_probe": _probe("/health/ready", period_seconds=min(interval, 10), timeout_seconds=3),
            "liveness_probe": _probe("/health/live", period_seconds=interval, timeout_seconds=5),
            "lifecycle": {"pre_stop": {"sleep": {"seconds": _PRE_STOP_SECONDS}}},
            "volume_mounts": [
                {"name": "model-key", "mount_path": f"{_SECRETS}/model", "read_only": True},
                {"name": "api-keys", "mount_path": f"{_SECRETS}/api", "read_only": True},
                {"name": "aws-token", "mount_path": f"{_SECRETS}/aws", "read_only": True},
                {"name": "tmp", "mount_path": "/tmp"},  # noqa: S108 - a directory of the pod's own
            ],
        }

    def _environment(self, slot: _Slot, role_arn: pulumi.Output[str]) -> dict[str, pulumi.Input[str]]:
        args, version = self._args, slot.version
        by_version = {variables.METRICS_BY_VERSION: "1"} if args.metrics_by_version else {}
        return {
            variables.ENVIRONMENT: args.environment,
            variables.DEPLOYMENT_NAME: args.deployment_name,
            variables.MODEL_ID: version.model_id,
            variables.MODEL_URI: version.uri,
            variables.MODEL_SHA256: version.digest,
            variables.MODEL_RUNTIME_SHA256: version.runtime_digest,
            variables.MODEL_KEY_FILE: f"{_SECRETS}/model/model.key",
            variables.API_KEYS_FILE: f"{_SECRETS}/api/api_keys.json",
            variables.API_HOST: "0.0.0.0",  # noqa: S104 - the pod's own network
            variables.API_PORT: str(PORT),
            variables.LOG_LEVEL: args.log_level,
            variables.METRICS_NAMESPACE: args.metrics_namespace,
            **by_version,
            **trusted_variables(args.trusted_types),
            variables.SHUTDOWN_DRAIN_SECONDS: str(_DRAIN_SECONDS),
            "AWS_REGION": args.region,
            "AWS_ROLE_ARN": role_arn,
            "AWS_WEB_IDENTITY_TOKEN_FILE": f"{_SECRETS}/aws/token",
            "AWS_STS_REGIONAL_ENDPOINTS": "regional",
            "TMPDIR": "/tmp",  # noqa: S108 - a directory of the pod's own
        }

    def _autoscaler(self, slot: _Slot, deployment: kubernetes.apps.v1.Deployment) -> None:
        args = self._args
        kubernetes.autoscaling.v2.HorizontalPodAutoscaler(
            f"{slot.resource}-autoscaler",
            metadata=self._metadata(slot),
            spec={
                "scale_target_ref": {
                    "api_version": "apps/v1",
                    "kind": "Deployment",
                    "name": deployment.metadata.name,
                },
                "min_replicas": args.min_replicas,
                "max_replicas": args.max_replicas,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {
                            "name": "cpu",
                            "target": {"type": "Utilization", "average_utilization": args.target_cpu_utilization},
                        },
                    }
                ],
                "behavior": {
                    "scale_up": {
                        "stabilization_window_seconds": 0,
                        "policies": [{"type": "Percent", "value": 100, "period_seconds": 30}],
                    },
                    "scale_down": {
                        "stabilization_window_seconds": 300,
                        "policies": [{"type": "Percent", "value": 20, "period_seconds": 60}],
                    },
                },
            },
            opts=self._child(),
        )

    def _budget(self, slot: _Slot) -> None:
        kubernetes.policy.v1.PodDisruptionBudget(
            f"{slot.resource}-budget",
            metadata=self._metadata(slot),
            spec={"max_unavailable": 1, "selector": {"match_labels": slot.selector}},
            opts=self._child(),
        )

    def _deny_policy(self) -> None:
        """Denies all traffic of pods that no other policy selects."""
        kubernetes.networking.v1.NetworkPolicy(
            f"{self._name}-deny",
            metadata={**self._metadata(), "name": f"{self._args.deployment_name}-deny"},
            spec={"pod_selector": {}, "policy_types": ["Ingress", "Egress"]},
            opts=self._child(),
        )

    def _allow_policy(self, slot: _Slot) -> None:
        """Allows traffic in from the gateway, and out to DNS and HTTPS."""
        gateway = {"match_labels": {"kubernetes.io/metadata.name": self._args.route_namespace}}
        kubernetes.networking.v1.NetworkPolicy(
            f"{slot.resource}-allow",
            metadata=self._metadata(slot),
            spec={
                "pod_selector": {"match_labels": slot.selector},
                "policy_types": ["Ingress", "Egress"],
                "ingress": [
                    {
                        "from_": [{"namespace_selector": gateway}],
                        "ports": [{"protocol": "TCP", "port": PORT}],
                    }
                ],
                "egress": dns_and_https_egress(),
            },
            opts=self._child(),
        )

    def _quota(self) -> None:
        args = self._args
        kubernetes.core.v1.ResourceQuota(
            f"{self._name}-quota",
            metadata=self._metadata(),
            # One pod more than the autoscaler may ask for: a rollout's surge. As many again for the other slot.
            spec={"hard": {"pods": str((args.max_replicas + 1) * (2 if args.other else 1) + args.other_pods)}},
            opts=self._child(),
        )

    def _deployers(self) -> None:
        """People and CI who look after this deployment: they see everything but secrets, and restart nothing else."""
        look = ["get", "list", "watch"]
        role = kubernetes.rbac.v1.Role(
            f"{self._name}-deployers",
            metadata=self._metadata(),
            rules=[
                {"api_groups": ["apps"], "resources": ["deployments"], "verbs": [*look, "patch", "update"]},
                {"api_groups": ["apps"], "resources": ["replicasets"], "verbs": look},
                {"api_groups": [""], "resources": ["pods", "pods/log", "events", "services"], "verbs": look},
                {"api_groups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": look},
            ],
            opts=self._child(),
        )
        kubernetes.rbac.v1.RoleBinding(
            f"{self._name}-deployers-binding",
            metadata=self._metadata(),
            role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": role.metadata.name},
            subjects=[{"api_group": "rbac.authorization.k8s.io", "kind": "Group", "name": self._args.deployers_group}],
            opts=self._child(),
        )


def _probe(path: str, **settings: int) -> dict[str, Any]:
    return {"http_get": {"path": path, "port": "http"}, **settings}


def _volumes(
    model_key: kubernetes.core.v1.Secret, api_keys: kubernetes.core.v1.Secret, memory: str
) -> list[dict[str, Any]]:
    return [
        {"name": "model-key", "secret": {"secret_name": model_key.metadata.name, "default_mode": 0o440}},
        {"name": "api-keys", "secret": {"secret_name": api_keys.metadata.name, "default_mode": 0o440}},
        aws_token(),
        # A model is fetched here before it is verified and loaded: at most as large as the memory it goes into.
        {"name": "tmp", "empty_dir": {"size_limit": memory}},
    ]


def _fingerprint(*secrets: str) -> str:
    state = hashlib.sha256()
    for secret in secrets:
        state.update(len(secret).to_bytes(8, "big") + secret.encode())
    return state.hexdigest()[:16]
