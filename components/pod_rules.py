"""What every pod of this project keeps to: nobody's rights, a read-only root, names and HTTPS and nothing else."""

from typing import Any

from components.pod_rights import TOKEN_AUDIENCE

_USER = 10_001
_TOKEN_SECONDS = 3600


def nobody() -> dict[str, Any]:
    """A pod's security context: no root, the kernel's calls filtered."""
    return {
        "run_as_non_root": True,
        "run_as_user": _USER,
        "run_as_group": _USER,
        "fs_group": _USER,
        "seccomp_profile": {"type": "RuntimeDefault"},
    }


def nothing_more() -> dict[str, Any]:
    """A container's security context: no capabilities and no way to more, a root that is only read."""
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


def names_and_https() -> list[dict[str, Any]]:
    """A network policy's way out: the cluster's names, and HTTPS to anywhere but a machine's own credentials."""
    cluster_dns = {
        "namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": "kube-system"}},
        "pod_selector": {"match_labels": {"k8s-app": "kube-dns"}},
    }
    anywhere = {"ip_block": {"cidr": "0.0.0.0/0", "except_": ["169.254.0.0/16"]}}
    return [
        {"to": [cluster_dns], "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]},
        {"to": [anywhere], "ports": [{"protocol": "TCP", "port": 443}]},
    ]
