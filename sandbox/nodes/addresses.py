"""Addresses and names of the cluster, all inside namespaces of its own."""

CONTROL = "10.90.0.1"
"""The control plane, the image registry, and the router between the nodes."""
CLOUD = "10.90.0.2"
"""Where `*.amazonaws.com` leads pods to."""
API_PORT = 6443
REGISTRY_PORT = 5000
SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
PODS = "10.91.0.0/16"
HTTPS_NODE_PORT = 30443
HTTP_NODE_PORT = 30080
GATEWAY_PODS = "projectcontour"
"""Namespace of the pods that carry the gateway's traffic."""
NODES = (1, 2, 3)
ACCOUNT = "123456789012"
ISSUER = "https://oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B716D3041E"
"""Who signs the tokens of pods: the identity provider that the committed stack files name."""


def node_name(number: int) -> str:
    """Name of a node."""
    return f"node-{number}"


def node_address(number: int) -> str:
    """Address of a node."""
    return f"10.90.0.{10 + number}"


def pods_of(number: int) -> str:
    """Addresses of a node's pods."""
    return f"10.91.{number}.0/24"


def registry_name(region: str) -> str:
    """The name that the image registry has in references to images, as on AWS."""
    return f"{ACCOUNT}.dkr.ecr.{region}.amazonaws.com"
