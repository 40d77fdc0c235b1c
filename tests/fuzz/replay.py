"""Runs a target once over every input that is kept for it; needs no atheris.

    python -m tests.fuzz.replay onnx

Each target gets a process of its own, so that imports and failures of one do not reach another.
"""

import argparse
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
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", choices=sorted(TARGETS), help="the reader to run")
    target, count = parser.parse_args().target, 0
    for path in inputs(target):
        print(path.relative_to(_HERE), flush=True)
        TARGETS[target].check(path.read_bytes())
        count += 1
    print(f"{count} inputs", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
