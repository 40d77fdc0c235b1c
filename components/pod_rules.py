"""Security contexts and egress of every pod: no root, no capabilities, a read-only root, DNS and HTTPS alone."""

from typing import Any

from components.pod_rights import TOKEN_AUDIENCE

_USER = 10_001
_TOKEN_SECONDS = 3600


def pod_security_context() -> dict[str, Any]:
    """A pod's security context: not root, system calls filtered by the runtime's seccomp profile."""
    return {
        "run_as_non_root": True,
        "run_as_user": _USER,
        "run_as_group": _USER,
        "fs_group": _USER,
        "seccomp_profile": {"type": "RuntimeDefault"},
    }


def container_security_context() -> dict[str, Any]:
    """A container's security context: no capabilities, no privilege escalation, a read-only root."""
    return {
        "allow_privilege_escalation": False,
        "privileged": False,
        "read_only_root_filesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def aws_token() -> dict[str, Any]:
    """The volume with the token that a pod takes its IAM role with."""
    token = {
        "service_account_token": {"audience": TOKEN_AUDIENCE, "expiration_seconds": _TOKEN_SECONDS, "path": "token"}
    }
    return {"name": "aws-token", "projected": {"default_mode": 0o440, "sources": [token]}}


def dns_and_https_egress() -> list[dict[str, Any]]:
    """Egress rules of a network policy: the cluster's DNS, and HTTPS to anywhere but the metadata service."""
    cluster_dns = {
        "namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": "kube-system"}},
        "pod_selector": {"match_labels": {"k8s-app": "kube-dns"}},
    }
    anywhere = {"ip_block": {"cidr": "0.0.0.0/0", "except_": ["169.254.0.0/16"]}}
    return [
        {"to": [cluster_dns], "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]},
        {"to": [anywhere], "ports": [{"protocol": "TCP", "port": 443}]},
    ]
