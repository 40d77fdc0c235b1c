"""Whether the Gateway has taken the deployment's routes: a refused route gets no traffic."""

import time
from collections.abc import Iterator
from typing import Any

from infra.cloud_config import KubernetesConfig
from infra.cluster_preflight import cluster_client
from infra.deployment_config import DeploymentConfig
from stacks.engine.stack_file import StackFile
from stacks.errors import DeploymentFailed

_GROUP, _VERSION = "gateway.networking.k8s.io", "v1"
_WAIT_SECONDS = 60.0
_REFUSED = "NotAllowedByListeners"


def require_routes_accepted(file: StackFile, config: DeploymentConfig) -> None:
    """Waits until the Gateway has accepted both routes.

    Passes at once where no controller has programmed the Gateway, or its state may not be read.

    Args:
        file: the stack's config; without a cluster everything passes.
        config: what was deployed.

    Raises:
        DeploymentFailed: the Gateway refuses a route, or has not taken it in a minute; the message has its reason.
    """
    if not file.in_cluster:
        return
    kubernetes = file.kubernetes()
    api = _objects(kubernetes, file.name)
    gateway = _read(api, kubernetes.gateway_namespace, "gateways", kubernetes.gateway)
    if not any(_is(each, "Programmed", "True") for each in _conditions(gateway)):
        return
    deadline = time.monotonic() + _WAIT_SECONDS
    names = (config.deployment_name, f"{config.deployment_name}-redirect")
    while problems := [problem for name in names for problem in _problems(api, kubernetes, name)]:
        if time.monotonic() > deadline:
            raise DeploymentFailed(f"the update succeeded, but {'; '.join(problems)}")
        time.sleep(0.5)


def _objects(kubernetes: KubernetesConfig, where: str) -> Any:
    from kubernetes import client

    return client.CustomObjectsApi(cluster_client(kubernetes, where))


def _problems(api: Any, kubernetes: KubernetesConfig, name: str) -> Iterator[str]:
    gateway = f"the Gateway {kubernetes.gateway_namespace}/{kubernetes.gateway}"
    route = _read(api, kubernetes.namespace, "httproutes", name)
    if not route:
        return
    generation = route.get("metadata", {}).get("generation", 1)
    parents = route.get("status", {}).get("parents", [])
    conditions = [each for parent in parents for each in parent.get("conditions", [])]
    current = [each for each in conditions if each.get("observedGeneration", 0) >= generation]
    for kind in ("Accepted", "ResolvedRefs"):
        found = next((each for each in current if each["type"] == kind), None)
        if found is None:
            yield f"{gateway} has not answered for the route {name}"
            return
        if found["status"] != "True":
            advice = f"; set allowedRoutes of its listeners, or label {kubernetes.namespace} as they demand"
            detail = f"{found['reason']}: {found.get('message', '')}".strip(": ")
            yield f"{gateway} refuses the route {name} ({detail}){advice if found['reason'] == _REFUSED else ''}"


def _read(api: Any, namespace: str, plural: str, name: str) -> dict[str, Any]:
    """An object; empty where there is none, or it may not be read."""
    from kubernetes.client import ApiException

    try:
        found: dict[str, Any] = api.get_namespaced_custom_object(_GROUP, _VERSION, namespace, plural, name)
    except ApiException:
        return {}
    return found


def _conditions(found: dict[str, Any]) -> list[dict[str, Any]]:
    conditions: list[dict[str, Any]] = found.get("status", {}).get("conditions", [])
    return conditions


def _is(condition: dict[str, Any], kind: str, status: str) -> bool:
    return bool(condition["type"] == kind and condition["status"] == status)
