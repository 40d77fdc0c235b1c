"""Deploys, rollouts, kills and interruptions on platform docker under load: no request fails, the way goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.checkout import Checkout, Deployed, after, take_interrupts, wait_until
from tests.docker.conftest import RUN, changed, containers, runs
from tests.docker.steps import health, load, up


def test_no_request_fails_in_a_deploy_and_a_rollback(docker_deployed: Deployed) -> None:
    checkout = docker_deployed.checkout
    with load(docker_deployed, "deploy and rollback") as answers:
        started = time.monotonic()
        checkout.deploy(docker_deployed.second)
        print(f"deploy: {time.monotonic() - started:.1f} s")
        checkout.rollback()
    assert answers.models == [docker_deployed.first, docker_deployed.second]
    assert checkout.served_model() == docker_deployed.first
    assert len(containers(checkout)) == 1


def test_blue_green_in_containers_fails_no_request(docker_deployed: Deployed) -> None:
    checkout = docker_deployed.checkout
    with load(docker_deployed, "blue-green and back") as answers:
        checkout.deploy_model("deploy", docker_deployed.second, "development", "--strategy", "blue_green")
        assert checkout.served_model() == docker_deployed.second
        assert runs(checkout) == {RUN, RUN.replace("blue", "green")}
        checkout.rollback()
        assert checkout.served_model() == docker_deployed.first
    assert answers.models == [docker_deployed.first, docker_deployed.second]


def test_a_canary_in_containers_is_interrupted_resumed_measured_and_promoted(docker_deployed: Deployed) -> None:
    checkout = docker_deployed.checkout
    steps = ("--strategy", "canary", "--steps", "50,100", "--interval", "3s")
    command = [sys.executable, "scripts/deploy_model.py", "deploy", docker_deployed.second, "development", *steps]
    with load(docker_deployed, "canary", per_second=200) as answers:
        ended, told = _interrupt(checkout, command, 1, lambda running: _wait_for_weight(checkout, 50, running))
        assert ended == 130
        assert "Traceback" not in told
        (line,) = [line for line in told.splitlines() if line.startswith("error:")]
        assert "python scripts/deploy_model.py resume development" in line
        checkout.deploy_model("resume", "development")
        assert checkout.served_model() == docker_deployed.second
        checkout.rollback()
    assert answers.models == [docker_deployed.first, docker_deployed.second]


def _wait_for_weight(checkout: Checkout, weight: int, running: "subprocess.Popen[Any]") -> None:
    """Waits until the traffic splitter divides the requests so."""
    file = checkout.root / ".run" / "fraud-detection-dev" / "front.json"
    deadline = time.monotonic() + 120
    while running.poll() is None and time.monotonic() < deadline:
        with suppress(OSError, ValueError):
            if json.loads(file.read_text())["weight"] == weight:
                return
        time.sleep(0.1)


def test_a_killed_deploy_is_finished_by_the_same_command_and_down_leaves_nothing(docker_deployed: Deployed) -> None:
    checkout, second = docker_deployed.checkout, docker_deployed.second
    command = [sys.executable, "scripts/deploy_model.py", "deploy", second, "development"]
    with load(docker_deployed, "a killed deploy, and the same again"):
        checkout.kill(command, lambda running: _wait_for_container(checkout, 2, running))
        checkout.run(*command)
    assert checkout.served_model() == second
    checkout.kill([*command[:3], docker_deployed.third, "development"], after(3))
    for signals in (1, 2):
        ended, told = _interrupt(checkout, [*command[:2], "down", "development"], signals, after(2))
        assert ended in (0, 130), told
        assert "Traceback" not in told
    checkout.deploy_model("down", "development")
    assert containers(checkout) == []
    wait_for_end = time.monotonic() + 10
    while checkout.processes() and time.monotonic() < wait_for_end:
        time.sleep(0.1)
    assert checkout.processes() == []
    assert "already" not in up(checkout)


def _wait_for_container(checkout: Checkout, count: int, running: "subprocess.Popen[Any]") -> None:
    """Waits until so many containers are there: the new one beside the old one."""
    deadline = time.monotonic() + 60
    while len(containers(checkout)) < count and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.parametrize("signals", [1, 2], ids=["once", "twice"])
def test_an_interrupted_deploy_is_one_line_and_finished_by_the_same_command(
    docker_deployed: Deployed, signals: int
) -> None:
    checkout = docker_deployed.checkout
    other = docker_deployed.third if checkout.served_model() != docker_deployed.third else docker_deployed.second
    command = [sys.executable, "scripts/deploy_model.py", "deploy", other, "development"]
    ended, told = _interrupt(checkout, command, signals, lambda running: _wait_for_container(checkout, 2, running))
    assert ended == 130
    assert "Traceback" not in told
    assert [line for line in told.splitlines() if line.startswith("error:")] == [
        "error: interrupted; run the same command again to go on"
    ]
    checkout.run(*command)
    assert checkout.served_model() == other
    assert len(containers(checkout)) == 1


def _interrupt(
    checkout: Checkout, command: list[str], signals: int, wait: Callable[["subprocess.Popen[str]"], object]
) -> tuple[int, str]:
    """Sends Ctrl-C, as a terminal does, to a command and all that it has started; returns how it ended."""
    with subprocess.Popen(
        command,
        cwd=checkout.root,
        env=checkout.environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=take_interrupts,
    ) as running:
        wait(running)
        for _ in range(signals):
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGINT)
            time.sleep(0.3)
        told, _ = running.communicate(timeout=90)
    return running.returncode, told


def test_a_change_of_platform_fails_no_request_and_leaves_nothing(docker_deployed: Deployed) -> None:
    checkout = docker_deployed.checkout
    with load(docker_deployed, "docker to local and back"):
        with changed(checkout, lambda config: config.update({"fraud-detection:platform": "local"})):
            assert "container" in _healthy(checkout)
            checkout.pulumi("up", "--stack", "dev", "--yes", "--skip-preview")
            assert containers(checkout) == []
        # The config says docker again: what runs is a process still.
        assert "container" not in _healthy(checkout)
        checkout.pulumi("up", "--stack", "dev", "--yes", "--skip-preview")
    assert containers(checkout)
    wait_until(lambda: len(checkout.processes()) == 2)  # the traffic splitter and its supervisor
    checkout.pulumi("preview", "--stack", "dev", "--expect-no-changes")


def _healthy(checkout: Checkout) -> set[str]:
    """The checks of a deployment that is healthy."""
    report = json.loads(checkout.run(*health(checkout)).stdout)
    assert report["healthy"], report
    return {each["name"] for each in report["checks"]}
