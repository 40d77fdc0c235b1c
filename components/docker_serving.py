"""DockerServing: the endpoint as containers of this machine's Docker behind a traffic splitter."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi

from components.container_arguments import container_run_name
from components.local_process import LocalProcess
from components.local_serving import (
    DOCKER_TYPE,
    LOCAL_TYPE,
    LocalSlots,
    LocalVersion,
    behind_splitter,
    directory_of,
    secured_arguments,
    splitter_variables,
)
from components.serving_container import DeploymentContainers, ServingContainer


@dataclass(frozen=True)
class DockerServingArgs:
    """Arguments of DockerServing: the model version, the image and the endpoint's address."""

    deployment_name: str
    """Name of the containers, the run directory and the log; a checkout runs one endpoint of each name."""
    environment: str
    image: str
    """Id of the image's content, `sha256:<hex>`: an image that is built again is another one."""
    version: LocalVersion
    """The stable version."""
    slots: LocalSlots
    """The slot of the stable version, and what the other slot holds."""
    host: str
    """Address of this machine where the traffic splitter listens; the containers are on the loopback."""
    port: int
    """TCP port, 1 to 65535."""
    model_key_file: str
    """File with the key that decrypts the artifact; mounted, never copied."""
    api_keys_file: str
    """File with the hashes of the API keys; its directory is mounted, so a replaced file is seen."""
    keys_digest: str
    """Digest of both files' content: other keys are another container."""
    user: str
    """`uid:gid` that the service runs as: the owner of the keys and of the registry."""
    checkout: str
    """Directory of the traffic splitter's process; holds `.run/` and `logs/`."""
    memory_mib: int
    """Limit of each container; nothing is swapped."""
    cpus: float
    """Limit of each container, in cores."""
    gpus: int = 0
    """Whole devices."""
    user_namespace: str = ""
    """`host` where the daemon maps the users of containers to others; empty elsewhere."""
    health_check_interval: int = 30
    """Seconds."""
    ready_timeout_seconds: float = 120.0
    """Seconds that a container may take to load its model; then the update fails, and the old one keeps serving."""
    service_variables: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables of the service: limits, rates, threshold, traces."""
    tls_variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that name the endpoint's certificate, for the traffic splitter in front of containers."""
    development_host: str = ""
    """Host for which a certificate of development is made; empty for none."""


class DockerServing(pulumi.ComponentResource):
    """Serves one model version in a container, or two versions in two, behind a traffic splitter.

    Guarantees: a container runs as the owner of the keys, with a read-only root and no capabilities; model and keys are
    mounted read-only; it listens on the loopback. A new container is ready before the old one stops; one that does not
    become ready fails the update, and the old one keeps serving. The update is done once the endpoint answers with the
    expected model id. The next preview or update finds a container that is gone, ended, paused or silent, and a deleted
    stack leaves no container.
    """

    id_: pulumi.Output[str]
    """The deployment name."""
    url: pulumi.Output[str]
    model_id: pulumi.Output[str]

    def __init__(self, name: str, args: DockerServingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(DOCKER_TYPE, name, {}, opts)
        self._name, self._args = name, args
        slots = args.slots
        stable_slot, other_slot = ("blue", "green") if slots.stable == "blue" else ("green", "blue")
        self._deployment = DeploymentContainers(
            f"{name}-containers",
            {"deployment_name": args.deployment_name, "checkout": args.checkout},
            pulumi.ResourceOptions(parent=self),
        )
        behind = [self._container(stable_slot, args.version)]
        if slots.other is not None:
            behind.append(self._container(other_slot, slots.other))
        process = self._traffic_splitter(stable_slot, other_slot, behind)
        self.id_ = process.id
        self.url = process.url
        self.model_id = process.model_id
        self.register_outputs({"id": self.id_, "url": self.url, "model_id": self.model_id})

    def _container(self, slot: str, version: LocalVersion) -> ServingContainer:
        args = self._args
        arguments: dict[str, Any] = {
            "deployment_name": args.deployment_name,
            "run_name": container_run_name(args.deployment_name, slot),
            "checkout": args.checkout,
            "environment": args.environment,
            "image": args.image,
            "user": args.user,
            "user_namespace": args.user_namespace,
            "model_id": version.model_id,
            "model_directory": pulumi.Output.from_input(version.uri).apply(directory_of),
            "model_digest": version.digest,
            "model_runtime_digest": version.runtime_digest,
            "model_key_file": args.model_key_file,
            "api_keys_file": args.api_keys_file,
            "keys_digest": args.keys_digest,
            "memory_mib": args.memory_mib,
            "cpus": args.cpus,
            "gpus": args.gpus,
            "health_check_interval": args.health_check_interval,
            "ready_timeout_seconds": args.ready_timeout_seconds,
            "variables": behind_splitter(args.service_variables),
        }
        opts = pulumi.ResourceOptions(parent=self, depends_on=[self._deployment])
        return ServingContainer(f"{self._name}-{slot}-container", arguments, opts)

    def _traffic_splitter(self, stable: str, other: str, behind: list[ServingContainer]) -> LocalProcess:
        args = self._args
        directories = [f".run/{container_run_name(args.deployment_name, slot)}" for slot in (stable, other)]
        told = splitter_variables(f".run/{args.deployment_name}", directories, args.slots, args.service_variables)
        arguments = {
            "deployment_name": args.deployment_name,
            "environment": args.environment,
            "model_id": args.version.model_id,
            "model_uri": args.version.uri,
            "model_digest": args.version.digest,
            "model_runtime_digest": args.version.runtime_digest,
            "host": args.host,
            "port": args.port,
            "model_key_file": args.model_key_file,
            "api_keys_file": args.api_keys_file,
            "checkout": args.checkout,
            "log_level": "INFO",
            "ready_timeout_seconds": args.ready_timeout_seconds,
            "module": "serving.traffic_splitter",
            **secured_arguments(told, args.tls_variables, args.development_host),
        }
        # On platform local the same process has another parent: a change of platform moves it, and it goes on.
        before = pulumi.Alias(parent=pulumi.create_urn(self._name, LOCAL_TYPE))
        opts = pulumi.ResourceOptions(parent=self, depends_on=behind, aliases=[before])
        return LocalProcess(f"{self._name}-process", arguments, opts)
