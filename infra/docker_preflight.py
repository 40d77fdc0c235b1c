"""Looks at this machine's Docker before a stack on it is declared: daemon, image, owner of the keys."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.docker_engine import DockerFailed, address, image_id, info
from conventions import config_keys, variables
from infra.errors import ConfigError

_REMOTE = ("tcp://", "ssh://", "http://", "https://")


@dataclass(frozen=True)
class DockerHost:
    """What a stack needs to know of Docker on this machine."""

    image: str
    """Id of the image's content."""
    user: str
    """`uid:gid` in the container that owns the keys."""
    user_namespace: str
    """`host` where the daemon maps users, else empty."""
    cpus: float
    """Cores that containers may use."""
    memory_mib: int
    """Memory that the machine has for containers."""
    unenforced: str
    """Which limits Docker takes and does not enforce, as a sentence; empty when it enforces them."""


def inspect_docker(reference: str, model_key_file: Path, api_keys_file: Path, where: str) -> DockerHost:
    """Returns what a stack needs to know of Docker.

    Args:
        reference: the image, by name or digest.
        model_key_file: the key of the registry's artifacts.
        api_keys_file: the hashes of the API keys.
        where: the stack's file, for errors.

    Raises:
        ConfigError: Docker does not answer or is another machine's, the image is not here, a key file is missing or
            has another owner; says what to do.
    """
    if (host := os.environ.get("DOCKER_HOST") or address()).startswith(_REMOTE):
        raise ConfigError(
            f"{where}: {config_keys.PLATFORM}: 'docker' mounts files of this machine, and Docker is at {host} "
            "(DOCKER_HOST, docker context); allowed: a socket of this machine, unix://…"
        )
    try:
        answer = info()
        image = image_id(reference)
    except DockerFailed as error:
        raise ConfigError(f"platform docker: {error}; nothing was changed") from None
    if not image:
        raise ConfigError(missing_image(reference, where))
    security = " ".join(answer.get("SecurityOptions") or ())
    owner = _owner(model_key_file, api_keys_file)
    # Root of a rootless Docker is the user who runs it.
    user = "0:0" if "name=rootless" in security else owner
    return DockerHost(
        image,
        user,
        "host" if "name=userns" in security else "",
        cpus=float(answer["NCPU"]),
        memory_mib=int(answer["MemTotal"]) >> 20,
        unenforced=unenforced_limits(answer),
    )


def unenforced_limits(answer: Mapping[str, Any]) -> str:
    """Which limits a daemon takes and does not enforce, by what it tells of itself; empty when it enforces them."""
    kinds = (("memory", "MemoryLimit"), ("cores", "CpuCfsQuota"), ("cores", "CPUCfsQuota"))
    lacking = [what for what, key in kinds if answer.get(key) is False]
    if not lacking:
        return ""
    return (
        f"this Docker does not enforce limits of {' and '.join(lacking)}: delegate these cgroup controllers to the "
        "user (a rootless Docker has none without systemd)"
    )


def missing_image(reference: str, where: str) -> str:
    """The error for an image that is not on this machine, with the command that gives it."""
    name = "NAME" if "@" in reference else reference
    return (
        f"{where}: {config_keys.IMAGE}.reference: {reference!r} is not on this machine: docker build -t {name} . "
        "(or: docker pull); nothing was changed"
    )


def keys_digest(model_key_file: Path, api_keys_file: Path) -> str:
    """Returns a digest of the content of both key files.

    Raises:
        ConfigError: one cannot be read.
    """
    digest = hashlib.sha256()
    for path in (model_key_file, api_keys_file):
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    return digest.hexdigest()


def require_readable(user: str, model_directory: Path, where: str) -> None:
    """Raises ConfigError unless the container's user can read a model version's files.

    Raises:
        ConfigError: they belong to somebody else who keeps them to himself.
    """
    user_id, group_id = (int(part) for part in user.split(":"))
    if user_id == 0 and os.geteuid() != 0:
        # A rootless Docker: root in the container is this user.
        user_id, group_id = os.geteuid(), os.getegid()
    for path in (model_directory, *sorted(model_directory.iterdir())):
        found = path.stat()
        shift = 6 if found.st_uid == user_id else 3 if found.st_gid == group_id else 0
        if not found.st_mode >> shift & 4:
            raise ConfigError(
                f"{where}: {path} belongs to user {found.st_uid} and the keys to user {user_id}, who may not read it; "
                "let one user own both; nothing was changed"
            )


def _owner(model_key_file: Path, api_keys_file: Path) -> str:
    owners = {}
    for path, mend in (
        (model_key_file, variables.MODEL_KEY_FILE),
        (api_keys_file, variables.API_KEYS_FILE),
    ):
        try:
            found = path.stat()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror}); {mend} names another file") from None
        owners[path] = (found.st_uid, found.st_gid)
    first, second = owners[model_key_file], owners[api_keys_file]
    if first[0] != second[0]:
        raise ConfigError(
            f"{model_key_file} belongs to user {first[0]} and {api_keys_file} to user {second[0]}; one container reads "
            "both: let one user own them; nothing was changed"
        )
    return f"{first[0]}:{first[1]}"
