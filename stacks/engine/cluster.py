"""What a cluster says of a deployment: its pods, its rollout, and whether it is what was asked for."""

from dataclasses import dataclass
from typing import Any

from conventions import variables
from infra.cloud_config import KubernetesConfig
from infra.cluster_preflight import cluster_client

_TIMEOUT_SECONDS = 10
_WAITING_IS_FINE = ("ContainerCreating", "PodInitializing")


@dataclass(frozen=True)
class LiveDeployment:
    """A Deployment as the cluster has it."""

    model_id: str
    model_digest: str
    image: str
    wanted: int
    """Replicas that the autoscaler asks for."""
    updated: int
    ready: int
    min_replicas: int
    max_replicas: int

    @property
    def rolled_out(self) -> bool:
        """Whether every replica is of the newest revision and ready."""
        return self.updated == self.ready == self.wanted > 0


class Cluster:
    """Looks at one deployment in a cluster.

    Args:
        config: of the stack.
        deployment_name: the name of the Deployment and of all that belongs to it.
        where: what the config was read from, for errors.

    Raises:
        ConfigError: the kubeconfig names no such cluster.
    """

    def __init__(self, config: KubernetesConfig, deployment_name: str, where: str) -> None:
        from kubernetes import client

        api = cluster_client(config, where)
        self._core: Any = client.CoreV1Api(api)
        self._apps: Any = client.AppsV1Api(api)
        self._scaling: Any = client.AutoscalingV2Api(api)
        self._namespace = config.namespace
        self._name = deployment_name

    def live(self) -> LiveDeployment | None:
        """The deployment as it is; None when there is none."""
        from kubernetes.client.exceptions import ApiException

        try:
            found = self._apps.read_namespaced_deployment(
                self._name, self._namespace, _request_timeout=_TIMEOUT_SECONDS
            )
            scaler = self._scaling.read_namespaced_horizontal_pod_autoscaler(
                self._name, self._namespace, _request_timeout=_TIMEOUT_SECONDS
            )
        except ApiException:
            return None
        container = found.spec.template.spec.containers[0]
        told = {item.name: item.value for item in container.env or ()}
        settled = found.status.observed_generation == found.metadata.generation
        return LiveDeployment(
            model_id=told.get(variables.MODEL_ID, ""),
            model_digest=told.get(variables.MODEL_SHA256, ""),
            image=container.image,
            wanted=found.spec.replicas or 0,
            updated=(found.status.updated_replicas or 0) if settled else 0,
            ready=found.status.ready_replicas or 0,
            min_replicas=scaler.spec.min_replicas,
            max_replicas=scaler.spec.max_replicas,
        )

    def differences(self, asked: dict[str, Any]) -> list[str]:
        """Returns the differences between the live objects and the requested ones.

        Args:
            asked: fields of `LiveDeployment` with the values they should have.
        """
        live = self.live()
        if live is None:
            return [f"{self._namespace}/{self._name} is not there"]
        return [
            f"{name.replace('_', ' ')} is {getattr(live, name)}, asked for {value}"
            for name, value in asked.items()
            if getattr(live, name) != value
        ]

    def trouble(self) -> str:
        """Returns the reason why pods do not get ready, in one sentence; empty when none is known."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return self._pod_trouble() or self._replica_trouble()
        except (ApiException, HTTPError, OSError):
            return ""

    def _pod_trouble(self) -> str:
        selector = f"app.kubernetes.io/name={self._name}"
        pods = self._core.list_namespaced_pod(
            self._namespace, label_selector=selector, _request_timeout=_TIMEOUT_SECONDS
        ).items
        newest_first = sorted(pods, key=lambda pod: pod.metadata.creation_timestamp, reverse=True)
        for pod in newest_first:
            for status in pod.status.container_statuses or ():
                if detail := _container_trouble(status):
                    return f"pod {pod.metadata.name}: {detail}"
            for condition in pod.status.conditions or ():
                if condition.type == "PodScheduled" and condition.status == "False":
                    return f"pod {pod.metadata.name} cannot be placed: {condition.message}"
            if (pod.status.phase == "Running") and not _ready(pod):
                return f"pod {pod.metadata.name} runs, but its readiness probe does not pass"
        return ""

    def _replica_trouble(self) -> str:
        """A quota, or an admission rule, stops pods before there are any."""
        found = self._apps.list_namespaced_replica_set(
            self._namespace,
            label_selector=f"app.kubernetes.io/name={self._name}",
            _request_timeout=_TIMEOUT_SECONDS,
        ).items
        for replica_set in sorted(found, key=lambda item: item.metadata.creation_timestamp, reverse=True):
            for condition in replica_set.status.conditions or ():
                if condition.type == "ReplicaFailure" and condition.status == "True":
                    return f"no pod can be made: {condition.message}"
        return ""


def _container_trouble(status: Any) -> str:
    waiting, ended = status.state.waiting, status.state.terminated or status.last_state.terminated
    if waiting and waiting.reason not in _WAITING_IS_FINE:
        return f"{waiting.reason}: {waiting.message or status.image}"
    if ended and ended.exit_code:
        return f"the container ended with exit code {ended.exit_code} ({ended.reason})"
    return ""


def _ready(pod: Any) -> bool:
    return any(item.type == "Ready" and item.status == "True" for item in pod.status.conditions or ())
