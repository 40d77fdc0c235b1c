#!/usr/bin/env python3
"""Measures this service against the same service of another commit, in interleaved pairs.

    python -m benchmarks.serving.against HEAD~1             # 20 pairs of one-row requests, some three minutes
    python -m benchmarks.serving.against v1.2 --rows 100

Both run from the same environment and serve the same version of the same model; only the code differs. The result is
the ratio of their requests a second with its 95 percent interval: below 1, this checkout is slower.
"""

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.command import make_parser
from benchmarks.serving.load import load_generator
from benchmarks.serving.pairs import Ratio, measure_ratio
from benchmarks.serving.peers import peers
from benchmarks.serving.prepare import prepare
from benchmarks.serving.run import RunningService


def main() -> int:
    """Prints the ratio; returns 1 unless its lower end is above the limit."""
    options = _parser().parse_args()
    ratio = compare(options.commit, pairs=options.pairs, seconds=options.seconds, rows=options.rows)
    sys.stdout.write(f"{options.rows} row(s) a request, {options.pairs} pairs: {ratio} of {options.commit}\n")
    return 0 if ratio.low > options.least else 1


def compare(commit: str, *, pairs: int, seconds: float, rows: int) -> Ratio:
    """The ratio of this checkout's requests a second to those of a commit.

    Args:
        commit: any name that git knows.
        pairs: measurements of each; the order changes from pair to pair.
        seconds: duration of each measurement.
        rows: transactions a request, 1 to 100.

    Raises:
        SystemExit: a service does not start, or a request fails.
    """
    load = load_generator()
    with tempfile.TemporaryDirectory(prefix="serving-against-") as work:
        files, before = Path(work, "files"), Path(work, "before")
        files.mkdir()
        _check_out(commit, before)
        transactions = prepare(files, None)[:rows]
        ours = next(peer for peer in peers(files, str) if peer.name == "this service")
        checkouts = (Path.cwd(), before)
        body = files / "body.json"
        body.write_text(json.dumps(ours.body(transactions)))
        running: list[RunningService] = []
        try:
            for checkout in checkouts:
                environment = {**ours.environment, "PYTHONPATH": str(checkout)}
                peer = replace(ours, directory=str(checkout), environment=environment)
                running.append(RunningService(peer, None, files))
            speeds: list[list[float]] = [[], []]
            for number in range(-1, pairs):
                for index in (0, 1) if number % 2 else (1, 0):
                    arguments = ["-c", "16", "-d", f"{seconds:g}s"]
                    found = running[index].load(load, body, arguments)
                    if number >= 0:  # The first pair warms up.
                        speeds[index].append(found["per_second"])
        finally:
            for each in running:
                each.stop()
    return measure_ratio(*speeds)


def _check_out(commit: str, directory: Path) -> None:
    """Writes a commit's files into a new directory."""
    archive = directory.with_suffix(".tar")
    subprocess.run(["git", "archive", "--output", str(archive), commit], check=True)
    with tarfile.open(archive) as content:
        content.extractall(directory, filter="data")


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("benchmarks.serving.against", __doc__)
    parser.add_argument("commit", help="to compare with; any name that git knows")
    parser.add_argument("--pairs", type=int, default=20, help="measurements of each (20)")
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement (4)")
    parser.add_argument("--rows", type=int, default=1, help="transactions a request (1)")
    parser.add_argument("--least", type=float, default=0.95, help="limit for the interval's lower end (0.95)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
