"""What a stack needs of Docker: the daemon, the image, the provider that builds one."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from components.docker_engine import DockerFailed, image_id, info
from conventions.config_keys import IMAGE
from infra.docker_preflight import unenforced_limits
from infra.docker_provider import docker_provider_version, find_docker_provider, install_command
from stacks.engine.stack_file import StackFile


def build_command(reference: str = "fraud-detection:latest") -> str:
    """The command that gives an image; one that is named by digest is pulled."""
    return f"docker pull {reference}" if "@" in reference else f"docker build -t {reference} ."


@dataclass(frozen=True)
class Finding:
    """One thing that a deploy needs."""

    name: str
    there: bool
    detail: str
    """What was found, in a sentence."""
    mend: str = ""
    """The command, or the edit, that gives it; empty when the check passes."""

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain JSON values."""
        return asdict(self)


def docker_findings(file: StackFile) -> Iterator[Finding]:
    """The daemon and the image of a stack on platform docker."""
    try:
        daemon = info()
    except DockerFailed as error:
        yield Finding("docker", there=False, detail=str(error), mend=error.mend)
        return
    yield Finding("docker", there=True, detail=f"engine {daemon.get('ServerVersion')} answers")
    if lacking := unenforced_limits(daemon):
        yield Finding(
            "docker limits", there=False, detail=lacking, mend="docker info shows: WARNING: No … limit support"
        )
    reference = str((file.config.get(IMAGE) or {}).get("reference", ""))
    if not reference:
        detail = f"{file.name}: {IMAGE}.reference is empty"
        yield Finding("image", there=False, detail=detail, mend=f"{build_command()}, its name into {file.name}")
    elif found := image_id(reference):
        yield Finding("image", there=True, detail=f"{reference} is {found[:19]}")
    else:
        yield Finding("image", there=False, detail=f"{reference} is not on this machine", mend=build_command(reference))


def docker_provider_finding() -> Finding:
    """The provider that builds an image for a cluster."""
    pinned = f"docker provider {docker_provider_version()}"
    if (found := find_docker_provider()) is not None:
        return Finding("docker provider", there=True, detail=str(found))
    return Finding("docker provider", there=False, detail=f"{pinned} is not installed", mend=install_command())
