#!/usr/bin/env python3
"""Measures a replica with two processes against one with one process, in interleaved pairs.

    python -m benchmarks.serving.processes                # 10 pairs, some two minutes, on a machine with nothing else

The model takes at least two milliseconds a row in its own library, however many rows are asked for at once: nearest
neighbors in a tree. Requests have one row each and come on 16 connections. The result is the ratio of the requests a
second with its 95 percent interval.
"""

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.command import make_parser
from benchmarks.serving.load import load_generator
from benchmarks.serving.pairs import Ratio, measure_ratio
from benchmarks.serving.peers import Peer
from benchmarks.serving.prepare import write_service
from benchmarks.serving.run import RunningService

_COLUMNS = tuple(f"amount_{number}" for number in range(10))


def main() -> int:
    """Prints the ratio; returns 1 unless its middle is at least the wanted one."""
    options = _parser().parse_args()
    ratio, milliseconds, speeds = compare(pairs=options.pairs, seconds=options.seconds)
    sys.stdout.write(
        f"{milliseconds:.1f} ms a row in the model's own library, {options.pairs} pairs: two processes answer {ratio} "
        f"times as many requests a second as one ({speeds[1]:.0f} against {speeds[0]:.0f})\n"
    )
    return 0 if ratio.middle >= options.least else 1


def compare(*, pairs: int, seconds: float) -> tuple[Ratio, float, list[float]]:
    """The ratio of two processes to one, the model's milliseconds a row, and the mean requests a second of both.

    Args:
        pairs: measurements of each; the order changes from pair to pair.
        seconds: duration of each measurement.

    Raises:
        SystemExit: a service does not start, or a request fails.
    """
    load = load_generator()
    with tempfile.TemporaryDirectory(prefix="serving-processes-") as work:
        files = Path(work)
        transaction, milliseconds = _prepare(files)
        body = files / "body.json"
        body.write_text(json.dumps({"transaction": transaction}))
        running: list[RunningService] = []
        speeds: list[list[float]] = [[], []]
        try:
            running += [RunningService(_peer(files, processes), None, files) for processes in (1, 2)]
            _wait_for_processes(running[1], 2)
            for number in range(-1, pairs):
                for index in (0, 1) if number % 2 else (1, 0):
                    found = running[index].load(load, body, ["-c", "16", "-d", f"{seconds:g}s"])
                    if number >= 0:  # The first pair warms up.
                        speeds[index].append(found["per_second"])
        finally:
            for each in running:
                each.stop()
    one, two = speeds
    return measure_ratio(two, one), milliseconds, [sum(each) / pairs for each in speeds]


def _prepare(files: Path) -> tuple[dict[str, float], float]:
    """Trains and registers the model; returns a transaction, and milliseconds a row."""
    import numpy as np
    import pandas as pd
    from sklearn.neighbors import KNeighborsClassifier

    random = np.random.default_rng(2)
    data = random.normal(size=(400_000, len(_COLUMNS)))
    frame = pd.DataFrame(data, columns=list(_COLUMNS))
    target = (data[:, 0] + random.normal(size=len(data)) > 1).astype(int)
    model = KNeighborsClassifier(n_neighbors=50, algorithm="kd_tree", n_jobs=1).fit(frame, target)
    asked = frame.head(200) * 1.01
    started = time.perf_counter()
    model.predict_proba(asked)
    milliseconds = (time.perf_counter() - started) * 1000 / len(asked)
    sample = files / "sample.parquet"
    frame.head(1000).to_parquet(sample)
    write_service(files, model, "neighbors", sample=sample)
    return {name: round(float(value), 4) for name, value in asked.iloc[0].items()}, milliseconds


def _wait_for_processes(service: RunningService, count: int) -> None:
    """Waits until all processes answer; the first one does so before the others have loaded the model."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/health", timeout=10) as answer:
            if len(json.load(answer)["resources"].get("processes", ())) == count:
                return
        time.sleep(0.2)
    raise SystemExit("error: the processes are not ready")


def _peer(files: Path, processes: int) -> Peer:
    ours: dict[str, Any] = json.loads((files / "neighbors.json").read_text())
    return Peer(
        f"{processes} process(es)",
        [sys.executable, "-m", "serving"],
        "/predict",
        lambda rows: rows,
        headers={"X-API-Key": ours["key"]},
        environment={**ours["environment"], "API_PORT": "{port}", "PROCESSES": str(processes)},
    )


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("benchmarks.serving.processes", __doc__)
    parser.add_argument("--pairs", type=int, default=10, help="measurements of each (10)")
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement (4)")
    parser.add_argument("--least", type=float, default=1.7, help="ratio that is wanted (1.7)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
