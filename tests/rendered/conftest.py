"""Each stack rendered once, in a process of its own: Pulumi's mocks are global."""

import json
import subprocess
import sys
from typing import Any

import pytest

from infra.settings import CHECKOUT

CLOUD_STACKS = ("staging", "production")


class Rendered:
    """The resources of one stack."""

    def __init__(self, stack: str, resources: list[dict[str, Any]]) -> None:
        self.stack = stack
        self.resources = resources

    def all(self, kind: str) -> list[dict[str, Any]]:
        """The inputs of every resource whose type ends so, such as `:Bucket` or `v1:Deployment`."""
        found = [item["inputs"] for item in self.resources if item["type"].endswith(kind)]
        assert found, f"{self.stack} has no {kind}"
        return found

    def one(self, kind: str) -> dict[str, Any]:
        """The inputs of the only one."""
        (found,) = self.all(kind)
        return found

    @property
    def pod(self) -> dict[str, Any]:
        """The pod's spec."""
        found: dict[str, Any] = self.one("apps/v1:Deployment")["spec"]["template"]["spec"]
        return found

    @property
    def container(self) -> dict[str, Any]:
        """The pod's only container."""
        (found,) = self.pod["containers"]
        return dict(found)


_CACHE: dict[str, Rendered] = {}


def rendered_stack(stack: str, **changes: str) -> Rendered:
    """Renders a stack's committed config, with changes."""
    what = " ".join([stack, *(f"{key}={value}" for key, value in changes.items())])
    if what not in _CACHE:
        sets = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
        command = [sys.executable, "-m", "tests.rendered.render", stack, *sets]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        _CACHE[what] = Rendered(stack, json.loads(done.stdout))
    return _CACHE[what]


@pytest.fixture(params=CLOUD_STACKS)
def rendered(request: pytest.FixtureRequest) -> Rendered:
    """Staging, then production."""
    return rendered_stack(str(request.param))
