"""What each stack renders is what `tests/snapshots/` has: a change of it is seen in review."""

import difflib

import pytest

from infra.settings import STACKS
from tests.rendered.snapshots import snapshots


@pytest.mark.parametrize("stack", list(STACKS))
def test_a_stack_renders_what_its_snapshot_says(stack: str) -> None:
    for path, content in snapshots(stack).items():
        before = path.read_text().splitlines()
        difference = list(difflib.unified_diff(before, content.splitlines(), path.name, "rendered", lineterm="", n=1))
        assert not difference, "\n".join([*difference, "if this is meant: python -m tests.rendered.snapshots"])
