"""Killing `up` at any moment leaves a state from which `up` recovers."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.checkout import Checkout, after

_FULL_RUN_SECONDS = 9.0
_MOMENTS = 5


@pytest.mark.timeout(400)
def test_up_recovers_from_being_killed_at_any_moment(fresh_checkout: Checkout) -> None:
    seed = 20260101
    moments = random.Random(seed)
    command = [sys.executable, "scripts/deploy_model.py", "up", "development"]
    for number in range(_MOMENTS):
        # One moment from each fifth of the run, so that every phase is hit: keys, registration, engine, process.
        moment = (number + moments.random()) * _FULL_RUN_SECONDS / _MOMENTS
        fresh_checkout.kill(command, after(moment))
        print(f"killed after {moment:.1f} s")
    fresh_checkout.deploy_model("up", "development")
    assert fresh_checkout.predict().status_code == 200
    fresh_checkout.pulumi("preview", "--stack", "dev", "--expect-no-changes")
    assert len(fresh_checkout.processes()) == 2, "one supervisor and one serving process"


def test_the_engine_killed_alone_leaves_a_lock_that_up_removes(fresh_checkout: Checkout) -> None:
    fresh_checkout.deploy_model("up", "development")
    fresh_checkout.deploy_model("down", "development")
    command = [sys.executable, "scripts/deploy_model.py", "up", "development"]
    locks = fresh_checkout.root / ".state" / ".pulumi" / "locks"
    records = fresh_checkout.root / "registry" / "audit"
    before = set(records.rglob("*.json"))
    with subprocess.Popen(
        command,
        cwd=fresh_checkout.root,
        env=fresh_checkout.environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        deadline = time.monotonic() + 30
        # The record comes before the update; a command that only looks at the stack takes the lock for a moment, too.
        while not (set(records.rglob("*.json")) - before and list(locks.rglob("*.json"))):
            assert time.monotonic() < deadline, "no record and no lock"
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGKILL)
    assert list(locks.rglob("*.json")), "the run was killed while it held the lock"
    fresh_checkout.deploy_model("deploy", fresh_checkout.register("xgboost_model.joblib"), "development", code=11)
    fresh_checkout.deploy_model("up", "development")
    assert fresh_checkout.predict().status_code == 200
    (counts,) = json.loads(fresh_checkout.deploy_model("stats", "--json").stdout)
    told = {name: counts[name] for name in ("started", "succeeded", "interrupted", "failed")}
    assert told == {"started": 3, "succeeded": 2, "interrupted": 1, "failed": 0}
