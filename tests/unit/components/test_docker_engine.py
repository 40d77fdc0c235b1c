"""Calls to a `docker` that hangs, has no daemon, or starts something that outlives it."""

import re
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components import container_supervision, docker_engine
from components.container_arguments import ARGUMENTS, container_arguments, container_run_name
from components.docker_engine import DockerFailed, DockerSilent, docker, info, inspect, labelled
from components.process_supervision import ServingFailed
from infra.docker_preflight import inspect_docker
from infra.errors import ConfigError
from stacks.engine.docker_findings import docker_findings
from stacks.engine.stack_file import StackFile
from stacks.environments import DeploymentEnvironment

Program = Callable[[str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a program named docker on PATH; questions last at most half a second."""
    monkeypatch.setattr(docker_engine, "_LOOK_SECONDS", 0.5)
    monkeypatch.setattr(docker_engine, "_TIMEOUT_SECONDS", 0.5)

    def write(script: str) -> None:
        file = tmp_path / "docker"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return write


@pytest.mark.parametrize("script", ["sleep 30", "sleep 30 & wait"], ids=["hangs", "starts what holds its pipes"])
def test_a_daemon_that_hangs_is_told_within_the_time(program: Program, script: str) -> None:
    program(script)
    started = time.monotonic()
    with pytest.raises(DockerSilent, match=r"does not answer within 0\.5 s \(docker container\): its daemon hangs"):
        inspect("any")
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(("given", "seconds"), [("0.2", 0.2), ("0", 0.5), ("-1", 0.5), ("inf", 0.5), ("", 0.5)])
def test_the_time_is_dockers_own_variable(
    program: Program, monkeypatch: pytest.MonkeyPatch, given: str, seconds: float
) -> None:
    program("sleep 30")
    monkeypatch.setenv("DOCKER_CLIENT_TIMEOUT", given)
    with pytest.raises(DockerSilent, match=f"within {seconds:g} s"):
        inspect("any")


@pytest.mark.parametrize(
    "told",
    [
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        "failed to connect to the docker API at unix:///s; check if the path is correct and if the daemon is running",
    ],
)
def test_a_daemon_that_does_not_run_is_one_sentence(program: Program, told: str) -> None:
    program(f"echo '{told}' >&2; exit 1")
    with pytest.raises(DockerSilent, match=r"^Docker does not answer: start its daemon, or point DOCKER_HOST at it$"):
        labelled(checkout="any")


def _mend_of_doctor() -> str:
    """What `doctor` advises for the Docker on PATH."""
    file = StackFile(Path("Pulumi.dev.yaml"), DeploymentEnvironment.DEVELOPMENT, {})
    return next(iter(docker_findings(file))).mend


def test_a_user_who_may_not_call_docker_is_told_in_one_sentence_what_to_do(program: Program) -> None:
    told = (
        "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get "
        '"http://%2Fvar%2Frun%2Fdocker.sock/v1.50/info": dial unix /var/run/docker.sock: connect: permission denied'
    )
    program(f"echo '{told}' >&2; exit 1")
    with pytest.raises(DockerFailed) as raised:
        info()
    assert str(raised.value) == (
        "this user may not call Docker: permission denied at unix:///var/run/docker.sock; join the group docker, or "
        "use a rootless Docker"
    )
    assert _mend_of_doctor() == 'sudo usermod --append --groups docker "$USER", sign in again, then: docker info'


def test_doctor_advises_what_brings_docker_back(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    program("sleep 30")
    assert _mend_of_doctor() == "restart Docker, then: docker info"
    program("echo 'Cannot connect to the Docker daemon at unix:///s. Is the docker daemon running?' >&2; exit 1")
    assert _mend_of_doctor() == "start Docker, then: docker info"
    program("echo '{}'")
    assert _mend_of_doctor() == "install Docker, then: docker info"
    monkeypatch.setenv("PATH", "/nowhere")
    assert _mend_of_doctor() == "install Docker, then: docker info"


def test_a_refusal_is_no_silence(program: Program) -> None:
    program("echo 'Error response from daemon: no space left on device' >&2; exit 1")
    with pytest.raises(DockerFailed, match=r"^no space left on device$") as raised:
        docker("create", "any")
    assert not isinstance(raised.value, DockerSilent)


def test_a_daemon_that_hangs_while_it_removes_is_asked_once(program: Program) -> None:
    program('case "$1" in ps) echo one;; *) echo "$1" >> "$0.calls"; sleep 30;; esac')
    started = time.monotonic()
    with pytest.raises(ServingFailed, match="its daemon hangs"):
        container_supervision.remove_deployment("/checkout", "any")
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("answer", ["host: podman", '{"host": {"arch": "amd64"}}', "[]"])
def test_a_program_that_only_bears_the_name_is_told(program: Program, answer: str) -> None:
    program(f"echo '{answer}'")
    with pytest.raises(DockerFailed, match="does not answer as Docker does"):
        info()


def test_another_machines_docker_is_told_whatever_names_it(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    program('test "$1" = context && echo ssh://somewhere')
    with pytest.raises(ConfigError, match=r"Docker is at ssh://somewhere"):
        inspect_docker("any", tmp_path / "model.key", tmp_path / "api_keys.json", "Pulumi.dev.yaml")


@pytest.mark.parametrize("length", [1, 35, 36, 50])
def test_a_host_name_is_as_long_as_the_system_takes(length: int, tmp_path: Path) -> None:
    name = f"{container_run_name('d' * length, 'green')}-{'0' * 8}"
    given = dict.fromkeys(ARGUMENTS, "") | {
        "deployment_name": "d" * length,
        "checkout": str(tmp_path),
        "memory_mib": 512,
        "cpus": 1,
        "health_check_interval": 30,
        "variables": {},
        "model_directory": "/m",
    }
    rendered = container_arguments(given, name, 20_000)
    host = rendered[rendered.index("--hostname") + 1]
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", host)
    assert rendered[rendered.index("--name") + 1] == name
