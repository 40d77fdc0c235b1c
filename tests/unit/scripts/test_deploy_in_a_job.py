"""A job of CI ends before a canary may: what is not decided by then is no failure."""

import subprocess
from pathlib import Path

import pytest

from tests.checkout import SOURCE


@pytest.mark.parametrize(
    ("command", "code", "decided"),
    [("exit 0", 0, "true"), ("exit 23", 0, "false"), ("exec sleep 30", 0, "false"), ("exit 12", 12, "true")],
)
def test_an_undecided_rollout_is_left_to_the_next_resume(tmp_path: Path, command: str, code: int, decided: str) -> None:
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "deploy_in_a_job.sh"
    script.write_text((SOURCE / "scripts" / "deploy_in_a_job.sh").read_text())
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/bash\necho "$@" > arguments\n{command}\n')
    python.chmod(0o755)
    output = tmp_path / "output"
    environment = {"PATH": "/usr/bin:/bin", "JOB_SECONDS": "1", "GITHUB_OUTPUT": str(output)}
    asked = ["bash", str(script), "deploy", "m:2", "production", "--reason", "model-v2, $(x)"]
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert output.read_text() == f"decided={decided}\n"
    assert (tmp_path / "arguments").read_text().endswith("deploy m:2 production --reason model-v2, $(x)\n")
