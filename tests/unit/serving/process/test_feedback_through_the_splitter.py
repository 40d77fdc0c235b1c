"""Feedback through the traffic splitter counts for the version that decided, whatever the weight."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx

from conventions.run_files import STATUS_FILE
from infra.rollout_config import RolloutConfig
from stacks.rollout.metrics import TrafficSplitterMetrics
from tests.checkout import SOURCE, free_port
from tests.service import GOOD, Setting, listening, started
from tests.unit.serving.http.test_receipts import other_version

_ROWS = 40


def _run_directory(root: Path, name: str, url: str = "") -> Path:
    """A run directory, as the supervisor of a service at this address has it."""
    directory = root / ".run" / name
    directory.mkdir(parents=True)
    if url:
        status = {"serving": {"port": int(url.rpartition(":")[2])}}
        (directory / STATUS_FILE).write_text(json.dumps(status))
    return directory


def _wait_for_counts(directory: Path, candidate: int) -> None:
    import time

    deadline = time.monotonic() + 10
    while True:
        file = directory / "front.json"
        if file.exists() and json.loads(file.read_text())["sides"]["candidate"]["requests"] == candidate:
            return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_feedback_counts_for_the_version_that_decided_whatever_the_weight(setting: Setting, tmp_path: Path) -> None:
    candidate = other_version(setting)
    key = tmp_path / "key"
    key.write_text(setting.api_key)
    with (
        listening() as one,
        listening() as other,
        started(setting, one) as stable,
        started(setting, other, MODEL_ID=candidate) as tried,
    ):
        front = _run_directory(tmp_path, "test")
        slots = [
            _run_directory(tmp_path, f"test-{slot}", each.url) for slot, each in (("blue", stable), ("green", tried))
        ]
        port = free_port()
        environment = {
            "PATH": os.environ["PATH"],
            "MODEL_ID": setting.model_id,
            "CANDIDATE_MODEL_ID": candidate,
            "FRONT_DIRECTORY": str(front),
            "FRONT_STABLE": str(slots[0]),
            "FRONT_CANDIDATE": str(slots[1]),
            "FRONT_WEIGHT": "25",
            "API_HOST": "127.0.0.1",
            "API_PORT": str(port),
        }
        ready, write = os.pipe()
        command = [sys.executable, "-m", "serving.traffic_splitter", "--ready-fd", str(write)]
        with subprocess.Popen(command, cwd=SOURCE, env=environment, pass_fds=(write,)) as splitter:
            os.close(write)
            with os.fdopen(ready) as pipe:
                assert json.loads(pipe.readline())["status"] == "ready"
            try:
                headers = {"X-API-Key": setting.api_key}
                url = f"http://127.0.0.1:{port}"
                with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
                    answers = [client.post("/predict", json={"transaction": GOOD}).json() for _ in range(_ROWS)]
                    assert Counter(each["model_id"] for each in answers) == {setting.model_id: 30, candidate: 10}
                    for each in answers:
                        # The candidate was always wrong, the stable version always right.
                        decision = each["predictions"][0]
                        was_fraud = decision["is_fraud"] != (each["model_id"] == candidate)
                        item = {"receipt": decision["receipt"], "was_fraud": was_fraud}
                        assert client.post("/feedback", json={"items": [item]}).json()["taken"] == 1
                _wait_for_counts(front, 10)
                rollout = RolloutConfig(strategy="canary", slot="blue", candidate=candidate, weight=25)
                found = TrafficSplitterMetrics(tmp_path, "test", key).read(setting.model_id, rollout)
            finally:
                splitter.terminate()
    assert (found.stable.right, found.stable.wrong) == (30, 0)
    assert (found.candidate.right, found.candidate.wrong) == (0, 10)
