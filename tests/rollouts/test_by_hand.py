"""Switches, weights, promotion and withdrawal by hand, and commands that are killed: not one failed request."""

import os
import signal
import subprocess
import sys
import time

import pytest

from components.process_supervision import is_serving
from tests.checkout import Checkout, after, wait_until
from tests.rollouts.conftest import Traffic, deploy, load, process_of, status_of, told, traffic_splitter_of

pytestmark = pytest.mark.timeout(300)


def test_a_blue_green_switch_and_the_way_back_are_switches(
    endpoint: Checkout, candidates: dict[str, str], traffic: Traffic
) -> None:
    with load(endpoint, traffic) as answers:
        deploy(endpoint, candidates["equal"], "--strategy", "blue_green", "--keep-minutes", "30")
        wait_until(lambda: endpoint.served_model() == candidates["equal"])
        status = status_of(endpoint)
        assert status["rollout"]["kept"] == candidates["stable"]
        kept = process_of(endpoint, "blue")
        began = time.monotonic()
        back = endpoint.rollback()
        seconds = time.monotonic() - began
        assert endpoint.served_model() == candidates["stable"]
    told("blue-green and back", answers, seconds)
    assert answers.failed == 0, answers.statuses
    assert back["model_id"] == candidates["stable"]
    assert process_of(endpoint, "blue") == kept, "the version before went on in its process"
    # Nothing is kept for ever: resume drops what was kept long enough, and nothing before.
    assert "nothing to resume" in endpoint.deploy_model("resume", "development").stdout


def test_weights_promotion_and_abort_by_command(
    endpoint: Checkout, candidates: dict[str, str], traffic: Traffic
) -> None:
    """The weights are what was asked for, and every step is an update of the stack's config."""
    with load(endpoint, traffic) as answers:
        # Decides nothing by itself: a step lasts an hour.
        command = [sys.executable, "scripts/deploy_model.py", "deploy", candidates["equal"], "development"]
        command += ["--config", str(endpoint.template), "--strategy", "canary", "--steps", "30,100", "--interval", "1h"]
        killed = subprocess.Popen(
            command,
            cwd=endpoint.root,
            env=endpoint.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(lambda: traffic_splitter_of(endpoint).get("weight") == 30, 60)
        wait_until(lambda: not status_of(endpoint)["held_by"], 30)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
        # Requests that waited when the weight changed are not counted.
        wait_until(lambda: sum(answers.by_model.values()) >= 600, 30)
        answers.by_model.clear()
        wait_until(lambda: sum(answers.by_model.values()) >= 1200, 60)
        share = answers.by_model[candidates["equal"]] / sum(answers.by_model.values())
        status = status_of(endpoint)
        refused = deploy(endpoint, candidates["slow"], code=21).stderr
        endpoint.deploy_model("promote", "development")
        wait_until(lambda: endpoint.served_model() == candidates["equal"])
    print(f"asked for 30 %, answered {share:.2%}")
    assert abs(share - 0.30) <= 0.02
    assert (status["in_force"], status["rollout"]["weight"], status["interrupted"]) == (30, 30, "")
    assert status["numbers"]["candidate"]["requests"] > 0
    assert "promote|abort|resume" in refused
    assert answers.failed == 0, answers.statuses
    assert endpoint.deploy_model("abort", "development", code=21).stderr.count("no candidate") == 1


def test_killed_at_any_moment_status_tells_the_truth_and_resume_finishes(
    endpoint: Checkout, candidates: dict[str, str], traffic: Traffic
) -> None:
    with load(endpoint, traffic) as answers:
        for moment in (2.0, 4.5):
            command = [sys.executable, "scripts/deploy_model.py", "deploy", candidates["equal"], "development"]
            command += ["--config", str(endpoint.template), "--strategy", "canary", "--steps", "40,100"]
            command += ["--interval", "1s"]
            endpoint.kill(command, after(moment))
            status = status_of(endpoint)
            asked, in_force = status["rollout"].get("weight", 0), status["in_force"]
            # Either they are the same, or the status says that they are not.
            assert asked == (in_force or 0) or status["interrupted"], status
            if status["rollout"].get("candidate"):
                endpoint.deploy_model("abort", "development")
            else:
                endpoint.deploy_model("resume", "development")
            assert status_of(endpoint)["interrupted"] == ""
            green = {"checkout": endpoint.root, "run_name": "fraud-detection-dev-green"}
            assert not is_serving({**green, "model_id": candidates["equal"]}), "what was begun is not left behind"
            assert endpoint.served_model() == candidates["stable"]
        command = ("deploy", candidates["equal"], "development", "--config", str(endpoint.template))
        with subprocess.Popen(
            [sys.executable, "scripts/deploy_model.py", *command, "--strategy", "canary", "--steps", "40,100"],
            cwd=endpoint.root,
            env=endpoint.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as running:
            wait_until(lambda: traffic_splitter_of(endpoint).get("weight") == 40, 60)
            os.killpg(running.pid, signal.SIGKILL)
        endpoint.pulumi("config", "set", "--stack", "dev", "--path", "rollout.interval_seconds", "1")
        endpoint.deploy_model("resume", "development")
        assert endpoint.served_model() == candidates["equal"]
    told("killed and resumed", answers, 0.0)
    assert answers.failed == 0, answers.statuses


def test_impossible_rollout_commands_are_refused_before_any_change(
    endpoint: Checkout, candidates: dict[str, str]
) -> None:
    before = endpoint.stack_file.read_text()
    output = deploy(endpoint, candidates["equal"], "--strategy", "canary", "--steps", "50,20", code=9).stderr
    assert "steps that grow and end with 100" in output
    assert "Traceback" not in output
    output = deploy(endpoint, candidates["equal"], "--strategy", "rolling", "--shadow", code=9).stderr
    assert "--shadow" in output
    assert endpoint.stack_file.read_text() == before
