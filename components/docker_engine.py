"""Calls this machine's Docker by its command line, and turns its errors into one sentence.

Standard library only, without Pulumi.
"""

import json
import re
import shutil
import subprocess
from typing import Any

_TIMEOUT_SECONDS = 60.0
_NOISE = re.compile(r"^(docker: |Error response from daemon: |Error: |failed to create task for container: )")
_REASON = "Error response from daemon: "
_ADVICE = re.compile(r"^(See|Run) 'docker")


class DockerFailed(Exception):
    """Docker cannot be called, or refuses; the message says why."""


DockerFailed.__module__ = "builtins"


def docker(*arguments: str, timeout: float = _TIMEOUT_SECONDS, with_errors: bool = False) -> str:
    """Runs `docker` with arguments and returns its standard output.

    Args:
        *arguments: of the command line.
        timeout: seconds.
        with_errors: whether standard error is returned with it, in the order of the lines.

    Raises:
        DockerFailed: there is no `docker` on PATH, the daemon does not answer, or it refuses.
    """
    program = shutil.which("docker")
    if program is None:
        raise DockerFailed("there is no `docker` on PATH; install Docker, or use platform local")
    try:
        done = subprocess.run(
            [program, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if with_errors else subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
            # A Ctrl-C is for the command that deploys: it does not cut a call to Docker in half.
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise DockerFailed(f"docker {arguments[0]} does not end within {timeout:g} s") from None
    if done.returncode != 0:
        raise DockerFailed(_sentence(done.stderr or done.stdout))
    return done.stdout.strip()


def info() -> dict[str, Any]:
    """Returns what the daemon tells of itself.

    Raises:
        DockerFailed: it does not answer.
    """
    answer: dict[str, Any] = json.loads(docker("info", "--format", "{{json .}}"))
    if problems := answer.get("ServerErrors"):
        raise DockerFailed(_sentence(str(problems[0])))
    return answer


def inspect(name: str) -> dict[str, Any] | None:
    """Returns what Docker knows of a container; None when there is no such container.

    Raises:
        DockerFailed: Docker does not answer.
    """
    try:
        found: list[dict[str, Any]] = json.loads(docker("container", "inspect", name))
    except DockerFailed as error:
        if "no such container" in str(error).lower():
            return None
        raise
    return found[0]


def image_id(reference: str) -> str:
    """Returns the id of an image's content, `sha256:<hex>`; empty when the image is not on this machine.

    Raises:
        DockerFailed: Docker does not answer.
    """
    try:
        return docker("image", "inspect", "--format", "{{.Id}}", reference)
    except DockerFailed as error:
        if "no such image" in str(error).lower():
            return ""
        raise


def labelled(**labels: str) -> list[str]:
    """Returns the ids of all containers with these labels, running or not.

    Raises:
        DockerFailed: Docker does not answer.
    """
    filters = [part for key, value in labels.items() for part in ("--filter", f"label=fraud-detection.{key}={value}")]
    return docker("ps", "--all", "--quiet", "--no-trunc", *filters).split()


def _sentence(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip() and not _ADVICE.match(line)]
    # `docker start` tells the daemon's reason first, and last the container that did not start.
    reasons = [line for line in lines if line.startswith(_REASON)]
    sentence = next(iter([*reasons, *lines[-1:]]), "docker failed and said nothing")
    before = ""
    while before != sentence:
        before, sentence = sentence, _NOISE.sub("", sentence)
    sentence = re.sub(r"(: unknown)?\.?$", "", sentence)
    if "permission denied" in sentence and "docker.sock" in sentence:
        return f"{sentence}; this user may not call Docker: join the group docker, or use a rootless Docker"
    if "Cannot connect to the Docker daemon" in sentence:
        return "Docker does not answer: start its daemon, or point DOCKER_HOST at it"
    return sentence
