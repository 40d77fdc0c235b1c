"""Calls this machine's Docker by its command line, and turns its errors into one sentence.

Standard library only, without Pulumi.
"""

import contextlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
from typing import Any

_TIMEOUT_SECONDS = 60.0
_LOOK_SECONDS = 10.0
"""For a question that changes nothing: a daemon that hangs holds nobody for long."""
_LOOK_VARIABLE = "DOCKER_CLIENT_TIMEOUT"
"""Seconds in place of these, under the name that Docker's own tools have for it."""
_NOISE = re.compile(r"^(docker: |Error response from daemon: |Error: |failed to create task for container: )")
_REASON = "Error response from daemon: "
_NO_DAEMON = "Docker does not answer: start its daemon, or point DOCKER_HOST at it"
_FORBIDDEN = re.compile(r"permission denied .*? at (unix://[^\s:]+)")
_ADVICE = re.compile(r"^(See|Run) 'docker")


class DockerFailed(Exception):
    """Docker cannot be called, or refuses; the message says why.

    Args:
        message: a sentence.
        mend: what a person does, then asks `docker info`.
    """

    def __init__(self, message: str, mend: str = "start Docker") -> None:
        super().__init__(message)
        self.mend = f"{mend}, then: docker info"


class DockerSilent(DockerFailed):
    """The daemon does not answer: it does not run, or hangs."""


DockerFailed.__module__ = "builtins"
DockerSilent.__module__ = "builtins"


def docker(*arguments: str, timeout: float | None = None, with_errors: bool = False) -> str:
    """Runs `docker` with arguments and returns its standard output.

    Args:
        *arguments: of the command line.
        timeout: seconds; a minute when not given.
        with_errors: whether standard error is returned with it, in the order of the lines.

    Raises:
        DockerSilent: the daemon does not answer in time, or not at all.
        DockerFailed: there is no `docker` on PATH, or the daemon refuses.
    """
    program = shutil.which("docker")
    if program is None:
        raise DockerFailed("there is no `docker` on PATH; install Docker, or use platform local", "install Docker")
    seconds = _TIMEOUT_SECONDS if timeout is None else timeout
    with subprocess.Popen(
        [program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if with_errors else subprocess.PIPE,
        text=True,
        errors="replace",
        # A Ctrl-C is for the command that deploys: it does not cut a call to Docker in half.
        start_new_session=True,
    ) as called:
        try:
            output, problem = called.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            _end(called)
            raise DockerSilent(
                f"Docker does not answer within {seconds:g} s (docker {arguments[0]}): its daemon hangs; restart it",
                "restart Docker",
            ) from None
        except BaseException:
            _end(called)
            raise
    if called.returncode != 0:
        raise _failure(problem or output)
    return output.strip()


def _look_seconds() -> float:
    try:
        seconds = float(os.environ.get(_LOOK_VARIABLE, ""))
    except ValueError:
        return _LOOK_SECONDS
    return seconds if 0 < seconds < math.inf else _LOOK_SECONDS


def _end(called: "subprocess.Popen[str]") -> None:
    """Ends a call with every process that it has started, which may hold its pipes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(called.pid, signal.SIGKILL)


def info() -> dict[str, Any]:
    """Returns what the daemon tells of itself.

    Raises:
        DockerFailed: it does not answer, or not as Docker does.
    """
    try:
        answer = json.loads(docker("info", "--format", "{{json .}}", timeout=_look_seconds()))
    except ValueError:
        answer = None
    if isinstance(answer, dict) and (problems := answer.get("ServerErrors")):
        raise _failure(str(problems[0]))
    if not isinstance(answer, dict) or not {"NCPU", "MemTotal"} <= answer.keys():
        raise DockerFailed(
            "the `docker` on PATH does not answer as Docker does; another program may have its name", "install Docker"
        )
    return answer


def address() -> str:
    """Returns where the daemon is, such as `unix:///var/run/docker.sock`; empty where the program does not tell."""
    try:
        return docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}", timeout=_look_seconds())
    except DockerFailed:
        return ""


def inspect(name: str) -> dict[str, Any] | None:
    """Returns what Docker knows of a container; None when there is no such container.

    Raises:
        DockerFailed: Docker does not answer.
    """
    try:
        found: list[dict[str, Any]] = json.loads(docker("container", "inspect", name, timeout=_look_seconds()))
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
        return docker("image", "inspect", "--format", "{{.Id}}", reference, timeout=_look_seconds())
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
    return docker("ps", "--all", "--quiet", "--no-trunc", *filters, timeout=_look_seconds()).split()


def _failure(text: str) -> DockerFailed:
    sentence = _sentence(text)
    if socket := _FORBIDDEN.search(sentence):
        return DockerFailed(
            f"this user may not call Docker: permission denied at {socket[1]}; join the group docker, or use a "
            "rootless Docker",
            'sudo usermod --append --groups docker "$USER", sign in again',
        )
    return DockerSilent(sentence) if sentence == _NO_DAEMON else DockerFailed(sentence)


def _sentence(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip() and not _ADVICE.match(line)]
    # `docker start` tells the daemon's reason first, and last the container that did not start.
    reasons = [line for line in lines if line.startswith(_REASON)]
    sentence = next(iter([*reasons, *lines[-1:]]), "docker failed and said nothing")
    before = ""
    while before != sentence:
        before, sentence = sentence, _NOISE.sub("", sentence)
    sentence = re.sub(r"(: unknown)?\.?$", "", sentence)
    if re.search(r"cannot connect to the docker daemon|failed to connect to the docker api", sentence, re.IGNORECASE):
        return _NO_DAEMON
    return sentence
