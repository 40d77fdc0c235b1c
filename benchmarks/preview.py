#!/usr/bin/env python3
"""Times `make preview` in fresh clones with a warm cache, against the engine's own `pulumi preview` there.

    python -m benchmarks.preview [--repeat 3]       # five minutes; writes benchmarks/results/preview.md

The benchmark starts a sandbox and deploys a version to staging. Each measurement is in a clone of its own, without an
environment and without keys, as a job of CI has it; the plain preview follows in the same clone. It fails when the
difference is more than 20 seconds.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.command import make_parser, write_result
from tests.checkout import Checkout
from tests.workflows.act import machine_variables
from tests.workflows.rehearsal import STACK, Rehearsal, prepare, release, sandbox

_MOST_SECONDS = 20.0


def main() -> int:
    """Measures, prints and writes the table; returns the exit code."""
    parser = make_parser("benchmarks.preview", __doc__)
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="clones that are measured (3)")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="preview-"))
    try:
        with sandbox(root) as variables:
            rehearsal = Rehearsal(root, variables)
            prepare(rehearsal)
            first = rehearsal.clones["first"]
            first.deploy_model("deploy", release(rehearsal, first, "model-v1"), STACK)
            found = [_measured(rehearsal, number) for number in range(options.repeat)]
    finally:
        shutil.rmtree(root, ignore_errors=True)
    text = _table(found)
    sys.stdout.write(text)
    write_result("preview.md", text)
    return int(max(ours - plain for ours, plain in found) > _MOST_SECONDS)


def _measured(rehearsal: Rehearsal, number: int) -> tuple[float, float]:
    """Seconds of `make preview` and of `pulumi preview` in a fresh clone."""
    clone = rehearsal.clone(f"measured-{number}", rehearsal.root / "origin")
    shutil.rmtree(clone.root / ".secrets")
    own = Path(sys.prefix) / "bin"
    programs = [each for each in clone.environment["PATH"].split(":") if each and Path(each) != own]
    # How this machine reaches its package index, as a user's shell has it.
    clone.environment.update({**machine_variables(), "PATH": ":".join(programs)})
    del clone.environment["PYTHONPATH"]
    ours = _seconds(clone, "make", "--silent", "preview", f"STACK={STACK}")
    plain = _seconds(clone, ".venv/bin/pulumi", "preview", "--stack", STACK, "--non-interactive")
    sys.stderr.write(f"make preview {ours:.1f} s, pulumi preview {plain:.1f} s\n")
    return ours, plain


def _seconds(clone: Checkout, *command: str) -> float:
    began = time.monotonic()
    clone.run(*command)
    return time.monotonic() - began


def _table(found: list[tuple[float, float]]) -> str:
    rows = [
        f"| {number} | {ours:.1f} s | {plain:.1f} s | {ours - plain:.1f} s |"
        for number, (ours, plain) in enumerate(found, start=1)
    ]
    return "\n".join(
        [
            "# Preview in a fresh clone",
            "",
            "`python -m benchmarks.preview`: stack `staging` on the sandbox, with a warm cache.",
            "",
            "| clone | `make preview` | `pulumi preview` afterwards | more |",
            "|---|---:|---:|---:|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
