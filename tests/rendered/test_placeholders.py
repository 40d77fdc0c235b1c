"""The committed stack files stand for a user's own, and no real account is given what they name."""

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml

from infra.settings import CHECKOUT

_PROGRAM = """
from unittest.mock import patch
from tests.rendered import render
import infra.environment_policy
from infra.placeholders import require_own_values
with patch("infra.environment_policy.require_environment_policy", require_own_values):
    render.render({stack!r}, changes={changes!r})
"""


def _run(stack: str, **changes: str) -> str:
    command = [sys.executable, "-c", _PROGRAM.format(stack=stack, changes=changes)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False)
    return done.stderr.strip().partition("infra.errors.ConfigError: ")[2] if done.returncode else ""


@pytest.mark.parametrize("stack", ["staging", "production"])
def test_each_placeholder_is_named_with_its_key(stack: str) -> None:
    lines = _run(stack).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"Pulumi.{stack}.yaml: fraud-detection:kubernetes.oidc_provider_arn: 'arn:aws:iam::")
    assert lines[1] == (
        f"Pulumi.{stack}.yaml: fraud-detection:cloud.alarm_subscribers: 'fraud-oncall@example.com' is a placeholder; "
        "set your own; nothing was changed"
    )


def test_a_users_own_values_pass() -> None:
    cluster = {"oidc_provider_arn": "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/A1"}
    cloud = {"alarm_subscribers": [{"protocol": "email", "address": "oncall@bank.eu"}]}
    changes = {
        "kubernetes": json.dumps({**_committed("kubernetes"), **cluster}),
        "cloud": json.dumps({**_committed("cloud"), **cloud}),
    }
    assert _run("production", **changes) == ""


def _committed(key: str) -> dict[str, Any]:
    config = yaml.safe_load((CHECKOUT / "Pulumi.production.yaml").read_text())["config"]
    return dict(config[f"fraud-detection:{key}"])
