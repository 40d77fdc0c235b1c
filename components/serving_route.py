"""ServingRoute: routes HTTPS requests to the endpoint, with weights for stable and candidate."""

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

_API = "gateway.networking.k8s.io/v1"


@dataclass(frozen=True)
class ServingRouteArgs:
    """Arguments of ServingRoute: the gateway, the host name and the services behind it."""

    deployment_name: str
    namespace: pulumi.Input[str]
    hostname: str
    gateway: str
    """Name of a Gateway with a listener for HTTPS and one for HTTP."""
    gateway_namespace: str
    stable_service: pulumi.Input[str]
    other_service: pulumi.Input[str] | None = None
    """The Service of the other slot: a candidate's, or that of a version that is kept for a rollback."""
    other_weight: int = 0
    """Percent of the requests, 0 to 100."""
    candidate_model_id: pulumi.Input[str] = ""
    """A request with this `X-Model-Id` goes to the candidate; empty where the other slot has none."""
    https_listener: str = "https"
    http_listener: str = "http"
    request_timeout: str = "30s"
    pods_serve_https: bool = False
    """Whether the gateway speaks TLS to the pods, and verifies their certificate by the endpoint's host name."""
    authority: str = ""
    """ConfigMap with `ca.crt` that the pods' certificate is verified by; empty: the authorities of the system."""


class ServingRoute(pulumi.ComponentResource):
    """Two HTTPRoutes of the Gateway API, and a BackendTLSPolicy where pods serve HTTPS.

    Guarantees: requests reach the endpoint over HTTPS only; a request over HTTP is redirected to HTTPS. Where pods
    serve HTTPS, the gateway verifies their certificate by the endpoint's host name.
    """

    hostname: str

    def __init__(self, name: str, args: ServingRouteArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("fraud-detection:serving_route:ServingRoute", name, {}, opts)
        self.hostname = args.hostname
        _route(f"{name}-https", args, args.deployment_name, args.https_listener, _rules(args), self)
        _route(f"{name}-redirect", args, f"{args.deployment_name}-redirect", args.http_listener, [_redirect()], self)
        if args.pods_serve_https:
            _verify_pods(f"{name}-pods", args, self)
        self.register_outputs({"hostname": args.hostname})


def _route(
    name: str,
    args: ServingRouteArgs,
    object_name: str,
    listener: str,
    rules: list[dict[str, Any]],
    parent: pulumi.Resource,
) -> None:
    kubernetes.apiextensions.CustomResource(
        name,
        api_version=_API,
        kind="HTTPRoute",
        metadata={
            "name": object_name,
            "namespace": args.namespace,
            "labels": {"app.kubernetes.io/name": args.deployment_name, "app.kubernetes.io/managed-by": "pulumi"},
        },
        spec={
            "parentRefs": [{"name": args.gateway, "namespace": args.gateway_namespace, "sectionName": listener}],
            "hostnames": [args.hostname],
            "rules": rules,
        },
        opts=pulumi.ResourceOptions(parent=parent),
    )


def _verify_pods(name: str, args: ServingRouteArgs, parent: pulumi.Resource) -> None:
    services = [args.stable_service, *([args.other_service] if args.other_service is not None else [])]
    authority: dict[str, Any] = (
        {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": args.authority}]}
        if args.authority
        else {"wellKnownCACertificates": "System"}
    )
    kubernetes.apiextensions.CustomResource(
        name,
        api_version=_API,
        kind="BackendTLSPolicy",
        metadata={
            "name": f"{args.deployment_name}-pods",
            "namespace": args.namespace,
            "labels": {"app.kubernetes.io/name": args.deployment_name, "app.kubernetes.io/managed-by": "pulumi"},
        },
        spec={
            "targetRefs": [{"group": "", "kind": "Service", "name": each} for each in services],
            "validation": {"hostname": args.hostname, **authority},
        },
        opts=pulumi.ResourceOptions(parent=parent),
    )


def _rules(args: ServingRouteArgs) -> list[dict[str, Any]]:
    """Divides requests by weight; one whose `X-Model-Id` names the candidate goes to it.

    Both slots stay in the route, one of them with weight 0: a gateway that hears of a service by the very update that
    sends it all requests may answer 503 until it has asked for the service's addresses.
    """
    port = 443 if args.pods_serve_https else 80
    stable: dict[str, Any] = {"name": args.stable_service, "port": port, "weight": 100 - args.other_weight}
    path = {"path": {"type": "PathPrefix", "value": "/"}}
    timeouts = {"request": args.request_timeout}
    if args.other_service is None:
        return [{"matches": [path], "backendRefs": [stable], "timeouts": timeouts}]
    other = {"name": args.other_service, "port": port, "weight": args.other_weight}
    divided = {"matches": [path], "backendRefs": [stable, other], "timeouts": timeouts}
    if not args.candidate_model_id:
        return [divided]
    named = {**path, "headers": [{"name": "X-Model-Id", "type": "Exact", "value": args.candidate_model_id}]}
    return [{"matches": [named], "backendRefs": [{**other, "weight": 1}], "timeouts": timeouts}, divided]


def _redirect() -> dict[str, Any]:
    redirect = {"scheme": "https", "statusCode": 301}
    return {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "filters": [{"type": "RequestRedirect", "requestRedirect": redirect}],
    }
