"""The sandbox's own commands, on real nodes."""

import json
import subprocess
import sys
from pathlib import Path

from tests.checkout import SOURCE


def _sandbox(variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    here = str(Path(variables["KUBECONFIG"]).parent)
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/root", "FRAUD_DETECTION_SANDBOX": here}
    command = [sys.executable, "-m", "sandbox", *arguments]
    return subprocess.run(command, cwd=SOURCE, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_second_start_leaves_the_one_that_runs_and_prints_its_variables(real_sandbox: dict[str, str]) -> None:
    again = _sandbox(real_sandbox, "start", "--nodes", "real", "--json")
    assert again.returncode == 0
    assert json.loads(again.stdout) == real_sandbox
    assert "runs already, with real nodes" in again.stderr


def test_a_start_with_other_nodes_is_refused(real_sandbox: dict[str, str]) -> None:
    again = _sandbox(real_sandbox, "start", "--nodes", "simulated")
    assert again.returncode == 1
    assert again.stderr == "error: a sandbox with real nodes runs; stop it first: make sandbox-down\n"


def test_standard_output_has_the_exports_alone(real_sandbox: dict[str, str]) -> None:
    printed = _sandbox(real_sandbox, "start", "--nodes", "real").stdout.splitlines()
    assert len(printed) == 2
    assert all(line.startswith("export ") for line in printed)
