"""Looks at the containers of a stack on platform docker, and removes what a killed run left of them."""

import json
from pathlib import Path
from typing import Any

from components import container_supervision, process_supervision
from components.container_arguments import container_run_name
from components.container_supervision import endpoint_problem, serving_container, state_problem
from components.docker_engine import DockerFailed, docker, image_id, info, inspect, labelled
from components.process_supervision import ServingFailed
from conventions.config_keys import IMAGE
from infra.docker_preflight import missing_image
from stacks.checks.health import Check
from stacks.engine.docker_findings import build_command
from stacks.engine.stack_file import StackFile
from stacks.errors import DeploymentFailed

_LIBRARIES = (
    "import importlib.metadata as m, json; "
    "print(json.dumps({d.name.lower().removesuffix('-cpu'): d.version for d in m.distributions()}))"
)


def on_docker(file: StackFile) -> bool:
    """Whether the endpoint runs in containers of this machine."""
    return file.platform == "docker"


def runs_in_containers(file: StackFile) -> bool:
    """Whether what a stack has deployed runs in containers of this machine, whatever its config asks for by now."""
    return bool(file.image) and not file.in_cluster if file.deployed else on_docker(file)


def container_checks(file: StackFile, checkout: Path) -> tuple[Check, ...]:
    """Returns the check of each container: its state, restarts, exit code, memory; empty on other platforms."""
    if not runs_in_containers(file):
        return ()
    rollout, name = file.rollout(), file.endpoint_name
    found: list[Check] = []
    for slot in (rollout.slot, *([rollout.other_slot] if rollout.other else [])):
        try:
            found.append(_container_check(checkout, container_run_name(name, slot)))
        except DockerFailed as error:
            # A daemon that hangs is asked once.
            return (*found, Check("container", healthy=False, detail=f"{name}: {error}"))
    return tuple(found)


def require_docker(file: StackFile) -> None:
    """Raises unless Docker answers, on platform docker: half of a deployment taken down would serve nobody.

    Raises:
        DeploymentFailed: it does not answer.
    """
    if not runs_in_containers(file):
        return
    try:
        info()
    except DockerFailed as error:
        raise DeploymentFailed(f"{error}; nothing was changed") from None


def remove_containers(file: StackFile, checkout: Path) -> int:
    """Removes what a stack's state does not hold: containers and a traffic splitter that a killed run started.

    Returns:
        How many containers there were.

    Raises:
        DeploymentFailed: Docker does not answer, or a process does not stop.
    """
    removed = 0
    # The config may name it otherwise by now.
    for name in dict.fromkeys((file.endpoint_name, file.deployment().deployment_name)):
        try:
            removed += container_supervision.remove_deployment(str(checkout), name)
            process_supervision.stop({"checkout": checkout, "deployment_name": name})
        except ServingFailed as error:
            raise DeploymentFailed(str(error)) from None
    return removed


def image_library_versions(file: StackFile) -> dict[str, str]:
    """Returns the versions of the libraries in the stack's image, by name.

    Raises:
        DeploymentFailed: the image is not on this machine, or its Python does not start.
    """
    reference = str((file.config.get(IMAGE) or {}).get("reference", ""))
    command = ("run", "--rm", "--pull", "never", "--network", "none", "--entrypoint", "python3", reference)
    try:
        if not image_id(reference):
            raise DeploymentFailed(missing_image(reference, file.name))
        found: dict[str, str] = json.loads(docker(*command, "-c", _LIBRARIES))
    except DockerFailed as error:
        raise DeploymentFailed(
            f"{file.name}: the libraries of {reference!r} cannot be read: {error}; nothing was changed"
        ) from None
    except ValueError:
        raise DeploymentFailed(
            f"{file.name}: {IMAGE}.reference: {reference!r} does not tell its libraries, so it is not an image of the "
            f"service: {build_command(reference)}; nothing was changed"
        ) from None
    return found


def _container_check(checkout: Path, name: str) -> Check:
    found, further = _labelled(checkout, name)
    if found is None:
        return Check("container", healthy=False, detail=f"there is no container {name}")
    state: dict[str, Any] = found["State"]
    health = (state.get("Health") or {}).get("Status", "none")
    problem = state_problem(found) or ("Docker's health check fails" if health == "unhealthy" else "")
    problem = problem or endpoint_problem({"checkout": checkout, "run_name": name})
    name = str(found["Name"]).removeprefix("/")
    told = f"{name} {state['Status']}, health {health}, restarts {found['RestartCount']}, exit code {state['ExitCode']}"
    memory = ", killed for memory" if state.get("OOMKilled") else ""
    left = f", {further} more left over, which the next update removes" if further else ""
    return Check("container", not problem, f"{problem + ': ' if problem else ''}{told}{memory}{left}")


def _labelled(checkout: Path, run_name: str) -> tuple[dict[str, Any] | None, int]:
    """The container of this checkout's slot, and how many more there are.

    Another checkout's may have the name, a killed run's may lack it.
    """
    serving = serving_container({"checkout": checkout, "run_name": run_name})
    there = [each for each in map(inspect, labelled(checkout=str(checkout), run=run_name)) if each is not None]
    there.sort(key=lambda each: (each["Id"] != serving, not each["State"]["Running"]))
    return (there[0], len(there) - 1) if there else (None, 0)
