"""Calls to a `docker` that hangs, has no daemon, or starts something that outlives it."""

import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components import container_supervision, docker_engine
from components.docker_engine import DockerFailed, DockerSilent, docker, inspect, labelled
from components.process_supervision import ServingFailed

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
