"""Security contexts and egress of every pod: no root, no capabilities, a read-only root, only DNS and HTTPS."""

import ipaddress
import re
from collections.abc import Sequence
from typing import Any

import pulumi

from components.pod_rights import TOKEN_AUDIENCE

_USER = 10_001
_TOKEN_SECONDS = 3600
_NAMESPACE_LABEL = "kubernetes.io/metadata.name"
_SERVICE = re.compile(r"[a-z0-9-]+\.([a-z0-9-]+)\.svc(\.[a-z0-9.-]+)?")


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


def aws_variables(region: str, role_arn: pulumi.Input[str], token_directory: str) -> dict[str, pulumi.Input[str]]:
    """The environment variables that a pod takes its IAM role with, in the region's own endpoints.

    Args:
        region: such as `eu-central-1`.
        role_arn: the role's.
        token_directory: where the volume of `aws_token` is mounted.
    """
    return {
        "AWS_REGION": region,
        # boto3 reads this name alone, and calls the global STS and S3 without it.
        "AWS_DEFAULT_REGION": region,
        "AWS_ROLE_ARN": role_arn,
        "AWS_WEB_IDENTITY_TOKEN_FILE": f"{token_directory}/token",
        "AWS_STS_REGIONAL_ENDPOINTS": "regional",
    }


def ingress_from(namespaces: Sequence[str], addresses: Sequence[str], port: int) -> list[dict[str, Any]]:
    """The ingress rule of a network policy for those who carry a Gateway's traffic.

    Args:
        namespaces: whose pods may connect.
        addresses: blocks in CIDR notation that may connect, such as the subnets of a load balancer.
        port: TCP port of the pods.
    """
    pods = [{"namespace_selector": {"match_labels": {_NAMESPACE_LABEL: name}}} for name in dict.fromkeys(namespaces)]
    return [{"from_": [*pods, *_blocks(addresses)], "ports": [{"protocol": "TCP", "port": port}]}]


def dns_and_https_egress(dns_addresses: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Egress rules of a network policy: the cluster's DNS, and HTTPS to every address except the metadata service.

    Args:
        dns_addresses: blocks in CIDR notation that answer DNS beside the cluster's pods, such as a cache on each node.
    """
    cluster_dns = {
        "namespace_selector": {"match_labels": {_NAMESPACE_LABEL: "kube-system"}},
        "pod_selector": {"match_labels": {"k8s-app": "kube-dns"}},
    }
    return [
        {
            "to": [cluster_dns, *_blocks(dns_addresses)],
            "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")],
        },
        {"to": _anywhere(), "ports": [{"protocol": "TCP", "port": 443}]},
    ]


def egress_to(destinations: Sequence[tuple[str, int]], dns_addresses: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Egress rules for DNS, HTTPS and further destinations.

    A network policy knows addresses, not names. So a Service's name (`redis.cache.svc`) allows its namespace, an IP
    address allows itself, and any other name allows all addresses except the metadata service's.

    Args:
        destinations: host and TCP port of each.
        dns_addresses: as for `dns_and_https_egress`.
    """
    further = [
        {"to": _peers(host), "ports": [{"protocol": "TCP", "port": port}]}
        for host, port in destinations
        if port != 443 or _SERVICE.fullmatch(host)
    ]
    return [*dns_and_https_egress(dns_addresses), *further]


def _peers(host: str) -> list[dict[str, Any]]:
    if found := _SERVICE.fullmatch(host):
        return [{"namespace_selector": {"match_labels": {_NAMESPACE_LABEL: found[1]}}}]
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return _anywhere()
    return _blocks([f"{address}/{address.max_prefixlen}"])


def _blocks(addresses: Sequence[str]) -> list[dict[str, Any]]:
    return [{"ip_block": {"cidr": block}} for block in dict.fromkeys(addresses)]


def _anywhere() -> list[dict[str, Any]]:
    """Every address of both families except those of the metadata service."""
    return [
        {"ip_block": {"cidr": "0.0.0.0/0", "except_": ["169.254.0.0/16"]}},
        {"ip_block": {"cidr": "::/0", "except_": ["fe80::/10", "fd00:ec2::/32"]}},
    ]
