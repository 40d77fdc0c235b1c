"""KubernetesServing: the endpoint as a workload in a cluster, with its scaling, probes, network rules and IAM role."""

import json
import math
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.namespace_rules import allow_deployers, deny_all_traffic, limit_pods
from components.pod_rights import pod_policy, pod_trust_policy
from components.pod_rules import egress_to, ingress_from
from components.serving_pod import PORT, pod_template, port_name
from components.serving_workload import KubernetesServingArgs, Slot
from conventions import variables

_SURGE = "25%"
"""Pods more than wanted during a rollout: with one at a time, many replicas would take longer than a rollout may."""


class KubernetesServing(pulumi.ComponentResource):
    """Serves one model version behind a Service, or two versions, each with its own Service and workload.

    Guarantees: a rollout never removes a pod before another is ready; pods run as an unprivileged user, read-only,
    without rights in the cluster, and reach only DNS, HTTPS and the destinations of the service's config; their IAM
    role reads one artifact and decrypts with one key; only the autoscaler sets the number of replicas.
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
        self._own = Slot(name, args, "blue", args.version)
        namespace = self._namespace()
        self.namespace = namespace.metadata.name
        self._model_key = self._secret("model-key", {"model.key": args.model_key})
        self._api_keys = self._secret("api-keys", {"api_keys.json": args.api_keys})
        deny_all_traffic(name, {**self._metadata(), "name": f"{args.deployment_name}-deny"}, self._child())
        if args.quota:
            pods = _most_pods(args.max_replicas) * (2 if args.other else 1) + args.other_pods
            limit_pods(name, self._metadata(), pods, self._child())
        if args.deployers_group:
            allow_deployers(name, self._metadata(), args.deployers_group, self._child())
        stable = Slot(name, args, args.slot, args.version)
        self.service, self.role_arn, self.deployment = self._workload(stable)
        self.other_service = None
        if args.other is not None:
            other = Slot(name, args, "green" if args.slot == "blue" else "blue", args.other)
            self.other_service = self._workload(other)[0]
        self.register_outputs({"namespace": self.namespace, "service": self.service, "role_arn": self.role_arn})

    def _workload(self, slot: Slot) -> tuple[pulumi.Output[str], pulumi.Output[str], kubernetes.apps.v1.Deployment]:
        """Declares the resources of one version; returns its Service's name, its role and its Deployment."""
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
                "ports": [_service_port(self._args)],
                **_families(self._args),
            },
            opts=self._child(),
        )
        deployment = self._deployment(slot, account, role.arn)
        self._autoscaler(slot, deployment)
        # The Service's name resolves once the pods are ready, so the route moves only after that.
        name = pulumi.Output.all(service.metadata.name, deployment.id).apply(lambda known: str(known[0]))
        return name, role.arn, deployment

    def _child(self, **options: Any) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, **options)

    def _metadata(
        self, slot: Slot | None = None, annotations: dict[str, pulumi.Input[str]] | None = None
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

    def _role(self, slot: Slot) -> aws.iam.Role:
        args = self._args
        subject = f"system:serviceaccount:{args.namespace}:{slot.object}"
        role = aws.iam.Role(
            f"{slot.resource}-role",
            name=args.rules.named(f"{slot.object}-serving"),
            description=f"pods of {slot.object}",
            assume_role_policy=json.dumps(pod_trust_policy(args.oidc_provider_arn, subject)),
            max_session_duration=3600,
            **args.rules.arguments(),
            opts=self._child(),
        )
        policy = pulumi.Output.all(
            model_uri=slot.version.uri, bucket_arn=args.bucket_arn, key_arn=args.key_arn, partition=args.partition
        ).apply(
            lambda known: json.dumps(
                pod_policy(
                    **known,
                    region=args.region,
                    metrics_namespace=args.metrics_namespace,
                    deployment_name=args.deployment_name,
                    decision_log=args.service_variables.get(variables.DECISION_LOG, ""),
                    decision_log_kms_key=args.service_variables.get(variables.DECISION_LOG_KMS_KEY, ""),
                )
            )
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
        self, slot: Slot, account: kubernetes.core.v1.ServiceAccount, role_arn: pulumi.Output[str]
    ) -> kubernetes.apps.v1.Deployment:
        args = self._args
        secrets = (self._model_key, self._api_keys)
        seconds = f"{args.rollout_seconds}s"
        return kubernetes.apps.v1.Deployment(
            f"{slot.resource}-deployment",
            # An update overwrites fields that were changed by hand.
            metadata=self._metadata(slot, {"pulumi.com/patchForce": "true"}),
            spec={
                # Only the autoscaler sets `replicas`.
                "selector": {"match_labels": slot.selector},
                "strategy": {"type": "RollingUpdate", "rolling_update": {"max_surge": _SURGE, "max_unavailable": 0}},
                "progress_deadline_seconds": args.rollout_seconds,
                "revision_history_limit": 10,
                "template": pod_template(args, slot, account.metadata.name, role_arn, secrets),
            },
            opts=self._child(
                ignore_changes=["spec.replicas"],
                custom_timeouts=pulumi.CustomTimeouts(create=seconds, update=seconds),
            ),
        )

    def _autoscaler(self, slot: Slot, deployment: kubernetes.apps.v1.Deployment) -> None:
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
                "min_replicas": slot.min_replicas,
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

    def _budget(self, slot: Slot) -> None:
        kubernetes.policy.v1.PodDisruptionBudget(
            f"{slot.resource}-budget",
            metadata=self._metadata(slot),
            spec={"max_unavailable": 1, "selector": {"match_labels": slot.selector}},
            opts=self._child(),
        )

    def _allow_policy(self, slot: Slot) -> None:
        """Allows traffic from the gateway, and to DNS, HTTPS and the destinations of the service's config."""
        args = self._args
        namespaces = (args.route_namespace, *args.gateway_pod_namespaces, *args.monitoring_namespaces)
        kubernetes.networking.v1.NetworkPolicy(
            f"{slot.resource}-allow",
            metadata=self._metadata(slot),
            spec={
                "pod_selector": {"match_labels": slot.selector},
                "policy_types": ["Ingress", "Egress"],
                "ingress": ingress_from(namespaces, args.gateway_addresses, PORT),
                "egress": egress_to(args.destinations, args.dns_addresses),
            },
            opts=self._child(),
        )


def _most_pods(replicas: int) -> int:
    """Pods of a slot during a rollout: the old ones, of which each may still end, the new ones, and the surge."""
    return 2 * replicas + math.ceil(replicas * int(_SURGE.removesuffix("%")) / 100)


def _service_port(args: KubernetesServingArgs) -> dict[str, Any]:
    name = port_name(args)
    found: dict[str, Any] = {"name": name, "port": 80, "target_port": name, "protocol": "TCP"}
    return {**found, "port": 443, "app_protocol": "https"} if args.tls_secret else found


def _families(args: KubernetesServingArgs) -> dict[str, Any]:
    if not args.ip_families:
        return {}
    policy = "RequireDualStack" if len(args.ip_families) > 1 else "SingleStack"
    return {"ip_families": list(args.ip_families), "ip_family_policy": policy}
