"""Rules of an endpoint's namespace: a network policy that denies by default, a pod quota, and rights for deployers."""

from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes


def deny_all_traffic(name: str, metadata: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
    """Declares a network policy that denies all traffic of pods that no other policy selects.

    Args:
        name: prefix of the resource names.
        metadata: of the policy.
        opts: of the resource.
    """
    kubernetes.networking.v1.NetworkPolicy(
        f"{name}-deny",
        metadata=metadata,
        spec={"pod_selector": {}, "policy_types": ["Ingress", "Egress"]},
        opts=opts,
    )


def limit_pods(name: str, metadata: dict[str, Any], pods: int, opts: pulumi.ResourceOptions) -> None:
    """Limits the namespace to a number of pods; the other arguments are those of `deny_all_traffic`."""
    kubernetes.core.v1.ResourceQuota(f"{name}-quota", metadata=metadata, spec={"hard": {"pods": str(pods)}}, opts=opts)


def allow_deployers(name: str, metadata: dict[str, Any], group: str, opts: pulumi.ResourceOptions) -> None:
    """Lets people look after the deployment: they see everything except secrets, and evict single pods.

    The Deployment replaces an evicted pod, and the disruption budget keeps the others. They may change no Deployment:
    who writes a pod's template can mount the model key in it and use the pods' role.

    Args:
        name: prefix of the resource names.
        metadata: of role and binding.
        group: of the cluster's users.
        opts: of the resources.
    """
    look = ["get", "list", "watch"]
    role = kubernetes.rbac.v1.Role(
        f"{name}-deployers",
        metadata=metadata,
        rules=[
            {"api_groups": ["apps"], "resources": ["deployments"], "verbs": look},
            {"api_groups": ["apps"], "resources": ["replicasets"], "verbs": look},
            {"api_groups": [""], "resources": ["pods", "pods/log", "events", "services"], "verbs": look},
            {"api_groups": [""], "resources": ["pods/eviction"], "verbs": ["create"]},
            {"api_groups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": look},
        ],
        opts=opts,
    )
    kubernetes.rbac.v1.RoleBinding(
        f"{name}-deployers-binding",
        metadata=metadata,
        role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": role.metadata.name},
        subjects=[{"api_group": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
        opts=opts,
    )
