"""The dynamic resources behind DockerServing: a container that serves, and what a deployment has in Docker.

The state records the providers' classes by name. Their methods import what they need, so the recorded classes capture
nothing and the state does not change with this code.
"""

from typing import Any

import pulumi
from pulumi.dynamic import (
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

_IDENTITY = ("deployment_name", "checkout", "run_name")


class ServingContainerProvider(ResourceProvider):
    """Creates, replaces, finds and stops the container of one slot."""

    serialize_as_secret_always = False

    def configure(self, _request: ConfigureRequest) -> None:
        """Turns off call stacks in this provider's process: people read its errors."""
        import sys

        sys.tracebacklimit = 0

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Reports a change when an argument differs, or when the container does not serve, whatever the state says."""
        from components import container_supervision as supervision
        from components.container_arguments import ARGUMENTS

        changed = [key for key in ARGUMENTS if _olds.get(key) != _news.get(key)]
        replaces = [key for key in _IDENTITY if key in changed]
        return DiffResult(
            changes=bool(changed) or bool(supervision.find_problem(_olds)) or supervision.is_left_over(_olds),
            replaces=replaces,
            delete_before_replace=True,
        )

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Starts the container and waits until it is ready."""
        from components import container_supervision as supervision

        return CreateResult(str(props["run_name"]), supervision.serve(props))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Replaces the container once the new one is ready; on failure the old one keeps serving."""
        from components import container_supervision as supervision

        return UpdateResult(supervision.serve(_news))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Returns the state of the container to the engine; one that does not serve counts as deleted."""
        from components import container_supervision as supervision

        if supervision.find_problem(props):
            return ReadResult("", {})
        return ReadResult(id_, {**props, **supervision.outputs(props)})

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Stops and removes the container."""
        from components import container_supervision as supervision

        supervision.stop(_props)


class ServingContainer(Resource, module="fraud-detection", name="ServingContainer"):
    """One container that serves one model version on the loopback."""

    container: pulumi.Output[str]
    """Docker's id of the container."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(ServingContainerProvider(), name, {**props, "container": None}, opts)


class DeploymentContainersProvider(ResourceProvider):
    """Removes all of a deployment's containers when the stack is destroyed."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Records the deployment; there is nothing to make."""
        return CreateResult(str(props["deployment_name"]), props)

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Reports a change of the deployment's name or of the checkout."""
        replaces = [key for key in ("deployment_name", "checkout") if _olds.get(key) != _news.get(key)]
        return DiffResult(changes=bool(replaces), replaces=replaces)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Stops and removes every container of the deployment, also one that a killed run left."""
        from components import container_supervision as supervision

        supervision.remove_deployment(str(_props["checkout"]), str(_props["deployment_name"]))


class DeploymentContainers(Resource, module="fraud-detection", name="DeploymentContainers"):
    """The containers of a deployment: in the state before the first one starts, deleted after the last one."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(DeploymentContainersProvider(), name, props, opts)
