"""Runs a target once over every input that is kept for it; needs no atheris.

    python -m tests.fuzz.replay onnx

A process for each target: what one imports, or breaks, is nothing to the others.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.checks import TARGETS

_HERE = Path(__file__).resolve().parent


def inputs(target: str) -> Iterator[Path]:
    """The corpus of a target, and the inputs that once broke a promise."""
    for kind in ("corpus", "regressions"):
        yield from sorted((_HERE / kind / target).glob("*"))


def main() -> int:
    """Ends with the first input that breaks a promise."""
    target, count = sys.argv[1], 0
    for path in inputs(target):
        print(path.relative_to(_HERE), flush=True)
        TARGETS[target].check(path.read_bytes())
        count += 1
    print(f"{count} inputs", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
