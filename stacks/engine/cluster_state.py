"""Compares what a stack's config asks for with the live objects in its cluster."""

import time
from typing import Any

from infra.deployment_config import DeploymentConfig
from infra.errors import ConfigError
from stacks.checks.health import Check
from stacks.engine.cluster import Cluster
from stacks.engine.route_state import require_routes_accepted
from stacks.engine.stack_file import StackFile
from stacks.errors import DeploymentFailed
from stacks.history import Deployment


def require_live_objects_match(file: StackFile, config: DeploymentConfig, outputs: dict[str, Any]) -> None:
    """Raises unless the live objects match the update and the Gateway takes the routes.

    A stack without a cluster always passes.

    Args:
        file: the stack's config.
        config: what was deployed.
        outputs: the update's outputs.

    Raises:
        DeploymentFailed: a live object differs from the update, since another program has changed it; or the Gateway
            refuses a route.
    """
    if not file.in_cluster:
        return
    asked = {
        "model_id": outputs["modelVersion"],
        "model_digest": outputs["modelDigest"],
        "image": outputs["image"],
        "min_replicas": config.scaling_config.min_replicas,
        "max_replicas": config.scaling_config.max_replicas,
    }
    if found := _cluster(file, slot_object(file, config.deployment_name)).differences(asked):
        raise DeploymentFailed(f"the update succeeded, but the live objects differ: {'; '.join(found)}")
    require_routes_accepted(file, config)


def slot_object(file: StackFile, deployment_name: str, *, other: bool = False) -> str:
    """Returns the name of the stable slot's objects, or of the other slot's."""
    rollout = file.rollout()
    slot = rollout.other_slot if other else rollout.slot
    return deployment_name if slot == "blue" else f"{deployment_name}-{slot}"


def wait_for_capacity(file: StackFile, config: DeploymentConfig) -> None:
    """Waits until the other slot's version has as many ready pods as it has to have; at once without a cluster.

    Raises:
        DeploymentFailed: it has not within the time that a rollout may take.
    """
    if not file.in_cluster:
        return
    cluster = _cluster(file, slot_object(file, config.deployment_name, other=True))
    scaling = config.scaling_config
    wanted = min(max(scaling.min_replicas, file.rollout().capacity), scaling.max_replicas)
    deadline = time.monotonic() + file.kubernetes().rollout_seconds
    while True:
        live = cluster.live()
        if live is not None and live.rolled_out and live.ready >= wanted:
            return
        if time.monotonic() > deadline:
            ready = live.ready if live else 0
            raise DeploymentFailed(
                f"only {ready} of {wanted} pods are ready{f' ({detail})' if (detail := cluster.trouble()) else ''}"
            )
        time.sleep(1)


def stable_capacity(file: StackFile) -> int:
    """Returns the number of the stable version's ready pods, where that is more than the stack's least; 0 otherwise."""
    if not file.in_cluster:
        return 0
    config = file.deployment()
    live = _cluster(file, slot_object(file, config.deployment_name)).live()
    return live.ready if live is not None and live.ready > config.scaling_config.min_replicas else 0


def pod_problems(file: StackFile, config: DeploymentConfig) -> str:
    """Returns the pods' problem in parentheses, to append to the engine's message; empty when there is none."""
    if not file.in_cluster:
        return ""
    try:
        names = [config.deployment_name, f"{config.deployment_name}-green"]
        detail = next(filter(None, (_cluster(file, name).trouble() for name in names)), "")
    except ConfigError:
        return ""
    return f" ({detail})" if detail else ""


def pod_checks(file: StackFile, deployment: Deployment) -> tuple[Check, ...]:
    """Returns the checks of the pods and the rollout; empty for a stack without a cluster."""
    if not file.in_cluster:
        return ()
    name = slot_object(file, file.deployment().deployment_name)
    cluster = _cluster(file, name)
    live = cluster.live()
    if live is None:
        return (Check("pods", healthy=False, detail=f"the cluster has no deployment {name}"),)
    rollout = f"{live.updated} of {live.wanted} replicas updated, {live.ready} ready"
    detail = cluster.trouble()
    return (
        Check("pods", healthy=live.ready >= live.min_replicas, detail=detail or f"{live.ready} ready"),
        Check("rollout", healthy=live.rolled_out, detail=rollout),
        Check(
            "model",
            healthy=live.model_id == deployment.model_id,
            detail=f"pods are of {live.model_id}",
        ),
    )


def _cluster(file: StackFile, deployment_name: str) -> Cluster:
    return Cluster(file.kubernetes(), deployment_name, file.name)
