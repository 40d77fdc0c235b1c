#!/usr/bin/env python3
"""Measures the registry's own part of a registration, a deployment and an alias, in a directory.

    python -m benchmarks.store.bookkeeping                          # about a minute
    python -m benchmarks.store.bookkeeping --versions 100 --repeat 10

A registration's own part is what `register_prepared` does beside writing the model, its golden rows and its optimized
form: claims, manifest, state, audit record and publishing. Training, proof and opening a file come before it. A
deployment's own part is `record_deployment`: audit record, state of this version, and of the one that served before.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.command import make_parser, write_result
from benchmarks.store.copies import build_model, copied_registry
from benchmarks.store.timing import timed


def main() -> int:
    """Measures and writes `benchmarks/results/bookkeeping.md`."""
    options = _parser().parse_args()
    lines = [
        "# Registry bookkeeping",
        "",
        f"`python -m benchmarks.store.bookkeeping` on {platform.machine()}, {os.cpu_count()} cores, Python",
        f"{platform.python_version()}, {options.repeat} times each; load {os.getloadavg()[0]:.1f} at the start. Every",
        "file is synced to the disk. The model's own part is not counted: writing model, golden rows and optimized",
        "form, and before it proof and opening.",
        "",
        "| versions in the registry | what | median | 95 of 100 |",
        "|---|---|---|---|",
    ]
    for size in options.versions:
        with copied_registry(size, options.work) as root:
            lines += _measure(root, size, options.repeat)
    write_result("bookkeeping.md", "\n".join(lines) + "\n")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _measure(root: Path, size: int, repeat: int) -> list[str]:
    from model_store import ModelRegistry
    from model_store.contract.preparing import prepare
    from model_store.registry.aliases import Aliases
    from model_store.registry.request import RegistrationRequest

    registry = ModelRegistry(root, encrypt=False)
    registry.list_models()
    request = RegistrationRequest(model_name="m")
    prepared = prepare(build_model(), request)
    first, second = (registry.register_prepared(prepared, request) for _ in range(2))
    registers = [_own_part(partial(registry.register_prepared, prepared, request)) for _ in range(repeat)]
    chosen = [first, second] * (repeat // 2)
    deploy = partial(registry.record_deployment, environment="production")
    deploys = [timed(partial(deploy, each, deployment_id=f"d{at}")) for at, each in enumerate(chosen)]
    aliases = [timed(partial(Aliases(registry).set, "m", "champion", each)) for each in chosen]
    measured = {"register": registers, "deploy": deploys, "alias": aliases}
    return [f"| {size:,} | {name} | {_shown(taken)} |" for name, taken in measured.items()]


def _shown(taken: list[float]) -> str:
    ordered = sorted(taken)
    return f"{statistics.median(taken) * 1000:.1f} ms | {ordered[int(len(ordered) * 0.95)] * 1000:.1f} ms"


def _own_part(work: Callable[[], Any]) -> float:
    """The seconds of a registration without those of writing the model's files."""
    with _time_of_writing() as taken:
        whole = timed(work)
    return whole - sum(taken)


@contextmanager
def _time_of_writing() -> Iterator[list[float]]:
    from model_store.persistence import SecureModelPersistence

    taken: list[float] = []
    real = SecureModelPersistence.save_model_secure

    def save(*given: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return real(*given, **options)
        finally:
            taken.append(time.perf_counter() - started)

    SecureModelPersistence.save_model_secure = save  # type: ignore[method-assign]
    try:
        yield taken
    finally:
        SecureModelPersistence.save_model_secure = real  # type: ignore[method-assign]


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("benchmarks.store.bookkeeping", __doc__)
    parser.add_argument("--versions", type=int, nargs="*", default=[100, 10_000], help="versions in the registry")
    parser.add_argument("--repeat", type=int, default=100, help="how often each is measured (100)")
    parser.add_argument("--work", type=Path, help="directory for the registries (a temporary one)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
