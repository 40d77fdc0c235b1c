"""Platform docker while Docker itself does not answer."""

import os
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.checkout import Checkout, Deployed
from tests.docker.conftest import RUN, containers, runs
from tests.docker.steps import health_command, load

_SECONDS = 60
"""Within which every command ends, however Docker is."""


@contextmanager
def _docker_at(checkout: Checkout, path: Path) -> Iterator[None]:
    before = dict(checkout.environment)
    checkout.environment.update(DOCKER_HOST=f"unix://{path}", DOCKER_CLIENT_TIMEOUT="2")
    try:
        yield
    finally:
        checkout.environment.clear()
        checkout.environment.update(before)


@pytest.mark.parametrize("hangs", [True, False], ids=["hangs", "is gone"])
def test_every_command_ends_when_the_daemon_does_not_answer(
    docker_deployed: Deployed, tmp_path: Path, hangs: bool
) -> None:
    checkout = docker_deployed.checkout
    health, before = health_command(checkout), checkout.served_model()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
        # A daemon that is stopped: the kernel takes the connection, and nobody answers.
        if hangs:
            deaf.bind(str(tmp_path / "docker.sock"))
            deaf.listen(128)
        with _docker_at(checkout, tmp_path / "docker.sock"):
            for command, code in (
                (("status", "development"), 0),
                (("list-deployments",), 0),
                (health, 13),
                (("up", "development"), 12),
                (("deploy", docker_deployed.second, "development"), 12),
                (("doctor", "development"), 27),
                (("down", "development"), 12),
            ):
                _ends(checkout, command, code)
    assert checkout.predict().json()["model_id"] == before
    checkout.pulumi("preview", "--stack", "dev", "--expect-no-changes")
    checkout.deploy_model("up", "development")


def _ends(checkout: Checkout, command: tuple[str, ...], code: int) -> None:
    started = time.monotonic()
    ended = checkout.deploy_model(*command, code=code)
    seconds = time.monotonic() - started
    print(f"{command[0]}: {seconds:.1f} s, exit code {code}: {ended.stderr.strip().splitlines()[-1:]}")
    assert seconds < _SECONDS
    told = ended.stdout + ended.stderr
    assert "Traceback" not in told
    if code:
        assert "Docker does not answer" in told
        errors = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
        assert len(errors) == (code == 12), ended.stderr


def test_a_daemon_that_falls_silent_as_the_new_container_takes_over_fails_no_deploy(
    docker_deployed: Deployed, tmp_path: Path
) -> None:
    checkout = docker_deployed.checkout
    other = docker_deployed.second if checkout.served_model() != docker_deployed.second else docker_deployed.first
    with load(docker_deployed, "Docker falls silent at the switch"), _silent_once_it_serves(checkout, other, tmp_path):
        checkout.deploy(other)
    assert checkout.served_model() == other
    assert checkout.list_deployments()[0]["model_id"] == other
    # The one before could not be removed: health tells it, the next update removes it.
    assert len(containers(checkout)) == 2
    assert "1 more left over" in checkout.deploy_model(*health_command(checkout)).stdout
    assert checkout.fails("pulumi", "preview", "--stack", "dev", "--expect-no-changes", "--non-interactive")
    checkout.deploy_model("up", "development")
    assert len(containers(checkout)) == 1
    assert runs(checkout) == {RUN}
    assert checkout.served_model() == other
    checkout.pulumi("preview", "--stack", "dev", "--expect-no-changes")


@contextmanager
def _silent_once_it_serves(checkout: Checkout, model_id: str, directory: Path) -> Iterator[None]:
    """A `docker` that hangs from the moment on in which the run names a container of that version."""
    status, real = checkout.root / ".run" / RUN / "status.json", shutil.which("docker")
    program = directory / "docker"
    program.write_text(f"#!/bin/sh\ngrep -q {model_id} '{status}' && exec sleep 600\nexec {real} \"$@\"\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    before = dict(checkout.environment)
    path = f"{directory}{os.pathsep}{checkout.environment['PATH']}"
    checkout.environment.update(PATH=path, DOCKER_CLIENT_TIMEOUT="2")
    try:
        yield
    finally:
        checkout.environment.clear()
        checkout.environment.update(before)
