"""Runs `manage_models.py promote-version` for a stack: the library knows no Pulumi, and components know no library."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_TIMEOUT_SECONDS = 1800.0
"""For the largest model over the slowest line."""


def promote(props: dict[str, Any]) -> dict[str, Any]:
    """Promotes a version as a PromotedVersion describes it, and returns its properties.

    Args:
        props: of the resource.

    Raises:
        RuntimeError: the promotion failed; with the message of the command.
    """
    script = Path(props["checkout"]) / "scripts" / "manage_models.py"
    command = [sys.executable, str(script), "promote-version", props["model_id"], "--from", props["source"]]
    command += ["--to", props["target"], "--follow-keys", "--reason", props["reason"], "--json"]
    region = {"AWS_REGION": props["region"], "AWS_DEFAULT_REGION": props["region"]}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")}
    done = subprocess.run(
        command,
        cwd=props["checkout"],
        env={**environment, **region},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RuntimeError(f"{props['model_id']} is not in {props['target']}: {lines[-1]}")
    return props
