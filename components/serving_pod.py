"""The pods of KubernetesServing: template, container, environment and volumes, as plain values."""

import hashlib
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.pod_placement import ephemeral_storage
from components.pod_rules import aws_token, aws_variables, container_security_context, pod_security_context
from components.serving_workload import KubernetesServingArgs, Slot
from conventions import variables
from conventions.artifact_files import override_key

PORT = 8000
"""The TCP port that a pod listens on."""
_DRAIN_SECONDS = 15
_PRE_STOP_SECONDS = 10
_SECRETS = "/var/run/secrets/fraud-detection"
_GPU = "nvidia.com/gpu"


def pod_template(
    args: KubernetesServingArgs,
    slot: Slot,
    account: pulumi.Input[str],
    role_arn: pulumi.Input[str],
    secrets: tuple[kubernetes.core.v1.Secret, kubernetes.core.v1.Secret],
) -> dict[str, Any]:
    """The template of a Deployment's pods.

    Args:
        args: the component's arguments.
        slot: the version that the pods serve, and its names.
        account: name of the pods' service account.
        role_arn: the IAM role that the account may take.
        secrets: the Secrets with the model's key and with the API keys.
    """
    # Pods read the model's key once, so another one restarts them; changed API keys they read again.
    fingerprint = pulumi.Output.from_input(args.model_key).apply(_fingerprint)
    annotations = {"fraud-detection/model-id": slot.version.model_id, "fraud-detection/secrets": fingerprint}
    return {
        "metadata": {"labels": slot.labels, "annotations": annotations},
        "spec": {
            "service_account_name": account,
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
            "affinity": {"pod_anti_affinity": _away_from_each_other(slot)},
            **args.placement.fields(),
            "containers": [_container(args, slot, role_arn)],
            "volumes": [*_volumes(*secrets, args.memory), *_tls_volumes(args)],
        },
    }


def _away_from_each_other(slot: Slot) -> dict[str, Any]:
    term = {"topology_key": "kubernetes.io/hostname", "label_selector": {"match_labels": slot.selector}}
    return {"preferred_during_scheduling_ignored_during_execution": [{"weight": 100, "pod_affinity_term": term}]}


def _container(args: KubernetesServingArgs, slot: Slot, role_arn: pulumi.Input[str]) -> dict[str, Any]:
    interval = args.probe_interval_seconds
    limits = {"cpu": args.cpu, "memory": args.memory, "ephemeral-storage": ephemeral_storage(args.memory)}
    devices = {_GPU: str(args.gpu)} if args.gpu else {}
    return {
        "name": "serving",
        "image": args.image,
        "image_pull_policy": "Always",
        "ports": [{"name": port_name(args), "container_port": PORT, "protocol": "TCP"}],
        "env": [{"name": name, "value": value} for name, value in _environment(args, slot, role_arn).items()],
        "resources": {"requests": {**limits, **devices}, "limits": {**limits, **devices}},
        "security_context": container_security_context(),
        # Startup: the model is loaded. Readiness: it may get traffic. Liveness: it still answers.
        "startup_probe": _probe(args, "/health/ready", period_seconds=5, timeout_seconds=3, failure_threshold=60),
        "readiness_probe": _probe(args, "/health/ready", period_seconds=min(interval, 10), timeout_seconds=3),
        "liveness_probe": _probe(args, "/health/live", period_seconds=interval, timeout_seconds=5),
        "lifecycle": {"pre_stop": {"sleep": {"seconds": _PRE_STOP_SECONDS}}},
        "volume_mounts": [
            {"name": "model-key", "mount_path": f"{_SECRETS}/model", "read_only": True},
            {"name": "api-keys", "mount_path": f"{_SECRETS}/api", "read_only": True},
            {"name": "aws-token", "mount_path": f"{_SECRETS}/aws", "read_only": True},
            {"name": "tmp", "mount_path": "/tmp"},  # noqa: S108 - a directory of the pod's own
            *(
                {"name": each["name"], "mount_path": f"{_SECRETS}/{each['name']}", "read_only": True}
                for each in _tls_volumes(args)
            ),
        ],
    }


def _environment(args: KubernetesServingArgs, slot: Slot, role_arn: pulumi.Input[str]) -> dict[str, pulumi.Input[str]]:
    version = slot.version
    return {
        variables.ENVIRONMENT: args.environment,
        variables.DEPLOYMENT_NAME: args.deployment_name,
        variables.MODEL_ID: version.model_id,
        variables.MODEL_URI: version.uri,
        variables.MODEL_SHA256: version.digest,
        variables.MODEL_RUNTIME_SHA256: version.runtime_digest,
        variables.MODEL_KEY_FILE: f"{_SECRETS}/model/model.key",
        variables.API_KEYS_FILE: f"{_SECRETS}/api/api_keys.json",
        variables.OVERRIDE_URI: pulumi.Output.from_input(args.bucket_arn).apply(
            lambda arn: f"s3://{arn.rpartition(':')[2]}/{override_key(args.deployment_name)}"
        ),
        # The pod's own network, of either family.
        variables.API_HOST: "::" if args.ip_families and args.ip_families != ("IPv4",) else "0.0.0.0",  # noqa: S104
        variables.API_PORT: str(PORT),
        variables.LOG_LEVEL: "INFO",
        variables.METRICS_NAMESPACE: args.metrics_namespace,
        # Rollouts compare the metrics of each version. Always on, so the first rollout does not restart stable's pods.
        variables.METRICS_BY_VERSION: "1",
        variables.METRICS_SLOT: slot.slot,
        **args.service_variables,
        **_tls_variables(args),
        variables.SHUTDOWN_DRAIN_SECONDS: str(_DRAIN_SECONDS),
        **aws_variables(args.region, role_arn, f"{_SECRETS}/aws"),
        "TMPDIR": "/tmp",  # noqa: S108 - a directory of the pod's own
    }


def port_name(args: KubernetesServingArgs) -> str:
    """Name of the pods' port: what they speak there."""
    return "https" if args.tls_secret else "http"


def _probe(args: KubernetesServingArgs, path: str, **settings: int) -> dict[str, Any]:
    # The cluster's probes take any certificate and show none; health needs none.
    scheme = {"scheme": "HTTPS"} if args.tls_secret else {}
    return {"http_get": {"path": path, "port": port_name(args), **scheme}, **settings}


def _tls_variables(args: KubernetesServingArgs) -> dict[str, str]:
    found = {}
    if args.tls_secret:
        found[variables.TLS_CERTIFICATE_FILE] = f"{_SECRETS}/tls/tls.crt"
        found[variables.TLS_KEY_FILE] = f"{_SECRETS}/tls/tls.key"
    if args.tls_client_ca_secret:
        found[variables.TLS_CLIENT_CA_FILE] = f"{_SECRETS}/client-ca/ca.crt"
    return found


def _tls_volumes(args: KubernetesServingArgs) -> list[dict[str, Any]]:
    """Whole directories: a file that is mounted alone stays the old one when the Secret changes."""
    named = (("tls", args.tls_secret, ("tls.crt", "tls.key")), ("client-ca", args.tls_client_ca_secret, ("ca.crt",)))
    return [
        {
            "name": name,
            "secret": {
                "secret_name": secret,
                "default_mode": 0o440,
                "items": [{"key": key, "path": key} for key in keys],
            },
        }
        for name, secret, keys in named
        if secret
    ]


def _volumes(
    model_key: kubernetes.core.v1.Secret, api_keys: kubernetes.core.v1.Secret, memory: str
) -> list[dict[str, Any]]:
    return [
        {"name": "model-key", "secret": {"secret_name": model_key.metadata.name, "default_mode": 0o440}},
        {"name": "api-keys", "secret": {"secret_name": api_keys.metadata.name, "default_mode": 0o440}},
        aws_token(),
        # The service downloads the model here, verifies and loads it; the limit is the memory limit.
        {"name": "tmp", "empty_dir": {"size_limit": memory}},
    ]


def _fingerprint(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()[:16]
