#!/usr/bin/env python3
"""Measures a registry by its size, in a directory and in S3: requests, seconds, memory.

    python -m benchmarks.store.scale                           # about five minutes
    python -m benchmarks.store.scale --directory 1000 --s3 1000

S3 is moto on the loopback: the number of requests is that of S3, the seconds are those of a Python program that answers
one request at a time. `counted_s3` counts the requests in front of moto.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.command import make_parser, write_result
from benchmarks.store.copies import build_model, copied_registry
from benchmarks.store.counted_s3 import BUCKET, COUNTED
from benchmarks.store.timing import timed
from model_store.registry.index import CACHE_KEY

_FIRST_LIST = """
import json, pathlib, sys, time
from model_store import ModelRegistry
def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
before, started, cpu = peak(), time.perf_counter(), time.process_time()
listed = len(ModelRegistry(sys.argv[1], encrypt=False).list_models())
print(json.dumps({"listed": listed, "seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu,
                  "megabytes": peak() - before}))
"""
_BURST = 100


def main() -> int:
    """Measures and writes `benchmarks/results/scale.md`."""
    options = _parser().parse_args()
    lines = _heading()
    for size, names in ((size, names) for size in options.directory for names in options.names):
        with copied_registry(size, options.work, names) as root:
            lines += _in_directory(root, size, names, options.repeat)
    lines += ["", "| S3 | requests | seconds |", "|---|---|---|"]
    for size in options.s3:
        with copied_registry(size, options.work) as root, _served(root) as address:
            lines += _in_s3(address, size)
    write_result("scale.md", "\n".join(lines) + "\n")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _heading() -> list[str]:
    return [
        "# A registry by its size",
        "",
        f"`python -m benchmarks.store.scale` on {platform.machine()}, {os.cpu_count()} cores, Python",
        f"{platform.python_version()}; the load of the machine was {os.getloadavg()[0]:.1f} at the start: where it",
        "exceeds 0.5 other programs took part of the time. Versions have five files each (manifest, artifact, state,",
        "golden rows, optimized form) and a claim of their number; each has 30 features, and a digest, metrics,",
        "parameters and ranges of its own. A first list runs in a new process; imports are not counted. S3 is moto on",
        "the loopback, which answers one request at a time; the versions there are of one model name.",
        "",
        "| directory | seconds | of the processor | memory | index |",
        "|---|---|---|---|---|",
    ]


def _in_directory(root: Path, size: int, names: int, repeat: int) -> list[str]:
    built = _first_list(str(root))
    runs = [_first_list(str(root)) for _ in range(repeat)]
    middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    index = f"{(root / CACHE_KEY).stat().st_size / 1_000_000:.1f} MB"
    what = f"first list of {size:,} of {names} model name{'s' if names > 1 else ''}"
    return [
        f"| {name} | {run['seconds']:.3f} | {run['cpu']:.3f} | {run['megabytes']:.0f} MB | {index} |"
        for name, run in ((f"{what}, without an index", built), (what, middle))
        if run["listed"] == size
    ]


def _in_s3(address: str, size: int) -> list[str]:
    location = f"s3://{BUCKET}"
    _count_requests(address)
    lines = []
    for name in (f"cold list of {size:,}, without an index", f"cold list of {size:,}"):
        run = _first_list(location, address)
        lines.append(f"| {name} | {_count_requests(address)} | {run['seconds']:.2f} |")
    return lines + _burst(location, address, size)


def _burst(location: str, address: str, size: int) -> list[str]:
    from model_store import ModelRegistry
    from model_store.contract.preparing import prepare
    from model_store.registry.request import RegistrationRequest

    os.environ.update(_settings(address))
    registry = ModelRegistry(location, encrypt=False)
    request = RegistrationRequest(model_name="m")
    prepared = prepare(build_model(), request)
    registry.register_prepared(prepared, request)
    _count_requests(address)
    requests, seconds = [], []
    for _ in range(_BURST):
        seconds.append(timed(lambda: registry.register_prepared(prepared, request)))
        requests.append(_count_requests(address))
    return [
        f"| one of {_BURST} registrations after {size:,}, at most | {max(requests)} | {max(seconds):.2f} |",
        f"| the median of them | {statistics.median(requests):.0f} | {statistics.median(seconds):.2f} |",
    ]


def _first_list(location: str, address: str = "") -> dict[str, float]:
    environment = {**os.environ, **(_settings(address) if address else {})}
    command = [sys.executable, "-c", _FIRST_LIST, location]
    answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(answer.stdout)
    return result


def _settings(address: str) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
    return {**keys, "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": address}


def _count_requests(address: str) -> int:
    with urllib.request.urlopen(f"{address}{COUNTED}") as answer:
        return int(answer.read())


@contextmanager
def _served(root: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.store.counted_s3", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("benchmarks.store.scale", __doc__)
    parser.add_argument("--directory", type=int, nargs="*", default=[1_000, 10_000, 100_000], help="versions")
    parser.add_argument("--names", type=int, nargs="*", default=[1, 50], help="model names in a directory")
    parser.add_argument("--s3", type=int, nargs="*", default=[1_000, 10_000], help="versions")
    parser.add_argument("--repeat", type=int, default=7, help="first lists of a directory (7)")
    parser.add_argument("--work", type=Path, help="directory for the registries (a temporary one)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
