#!/usr/bin/env python3
"""Writes what each stack renders into `tests/snapshots/`; a test compares them.

python -m tests.rendered.snapshots      # make snapshots
"""

import argparse
import json
import sys
from pathlib import Path

import yaml

from infra.settings import CHECKOUT, STACKS
from tests.rendered.conftest import rendered_stack
from tests.rendered.render import manifests

DIRECTORY = CHECKOUT / "tests" / "snapshots"


def snapshots(stack: str) -> dict[Path, str]:
    """The files of one stack with their contents: its Kubernetes objects, and all other resources."""
    resources = rendered_stack(stack).resources
    others = [
        {**item, "inputs": {name: value for name, value in item["inputs"].items() if name != "__provider"}}
        for item in resources
        if not item["type"].startswith("kubernetes:")
    ]
    found = {DIRECTORY / f"{stack}.resources.json": json.dumps(others, indent=1, sort_keys=True) + "\n"}
    if objects := manifests(resources):
        found[DIRECTORY / f"{stack}.manifests.yaml"] = yaml.safe_dump_all(objects, sort_keys=True)
    return found


def main() -> int:
    """Writes the snapshots of every stack."""
    argparse.ArgumentParser(
        prog="python -m tests.rendered.snapshots",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    DIRECTORY.mkdir(exist_ok=True)
    for stack in STACKS:
        for path, content in snapshots(stack).items():
            path.write_text(content)
            print(f"wrote {path.relative_to(CHECKOUT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
