#!/usr/bin/env python3
"""Measures the cost of opening a file by the structural rules and in a confined child, against its own library.

    python -m benchmarks.store.opening                        # about ten minutes
    python -m benchmarks.store.opening --forest 60 --arrays 100 --repeat 3     # smaller and faster

One process loads each file by its library and by the rules in turns, with a warm page cache; the table has medians. An
inspection reads by the same rules and creates no objects. The start of the child, and the registry's work beside the
reading, have lines of their own.
"""

import argparse
import gc
import pickle
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib

from benchmarks.command import make_parser, write_result
from benchmarks.store.models import prepare
from benchmarks.store.timing import timed
from model_store import Keyring, ModelRegistry
from model_store.confinement.opening import open_confined
from model_store.keys.keyring import generate_key
from model_store.registry.outside import register_file
from model_store.registry.request import RegistrationRequest
from model_store.serialization.model_files import inspect_model_file, load_model_file

_WORDS = (50_000, 100_000, 200_000)
_EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "train_fraud_model.py"
_EXAMPLE_FILE = "xgboost_model.joblib"


@dataclass(frozen=True)
class Row:
    """Seconds of one file, by the library, by the rules, by an inspection."""

    name: str
    megabytes: float
    library: float
    rules: float
    inspected: float

    @property
    def cells(self) -> str:
        """As a line of the table."""
        overhead = (self.rules - self.library) * 1000
        return (
            f"| {self.name} | {self.megabytes:.1f} MB | {self.library * 1000:,.0f} ms | {self.rules * 1000:,.0f} ms "
            f"| {self.rules / self.library:.2f} ({overhead:+,.0f} ms) | {self.inspected * 1000:,.0f} ms |"
        )


def main() -> int:
    """Measures and writes `benchmarks/results/opening.md`."""
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        directory = Path(work)
        rows = []
        for name, path, library in _files(directory, options):
            rows.append(_measured(name, path, library, options.repeat))
            sys.stderr.write(rows[-1].cells + "\n")
        starts = _starts(options.repeat)
        entering = _entering(directory, options.repeat)
    _write(rows, starts, entering)
    return 0


def _files(directory: Path, options: argparse.Namespace) -> Iterator[tuple[str, Path, Callable[[Path], Any]]]:
    command = [sys.executable, str(_EXAMPLE), "--output", str(directory)]
    subprocess.run(command, check=True, capture_output=True)
    example = directory / _EXAMPLE_FILE
    yield "the example's pipeline, joblib", example, joblib.load
    for name, megabytes in (("forest", options.forest), ("arrays", options.arrays)):
        made = prepare(name, directory, megabytes)
        path = directory / f"{name}.joblib"
        with made.open("rb") as file:
            joblib.dump(pickle.load(file), path)
        made.unlink()
        yield f"{name}, joblib", path, joblib.load
    for count in _WORDS:
        path = directory / f"words-{count}.pickle"
        path.write_bytes(pickle.dumps(_text_model(count), protocol=5))
        yield f"a vocabulary of {count:,} words, pickle", path, _unpickled


def _text_model(count: int) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = [" ".join(f"word{number:06d}" for number in range(first, count, 20)) for first in range(20)]
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [0, 1] * 10)


def _unpickled(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file)


def _measured(name: str, path: Path, library: Callable[[Path], Any], repeat: int) -> Row:
    load_model_file(path)
    library(path)
    taken: dict[str, list[float]] = {"library": [], "rules": [], "inspected": []}
    for _ in range(repeat):
        for way, work in (("library", library), ("rules", load_model_file), ("inspected", inspect_model_file)):
            gc.collect()
            taken[way].append(timed(lambda work=work: work(path)))  # type: ignore[misc]
    medians = {way: statistics.median(each) for way, each in taken.items()}
    return Row(name, path.stat().st_size / 1e6, **medians)


def _starts(repeat: int) -> float:
    """Seconds of a child that reports its walls and ends."""
    return statistics.median(timed(lambda: open_confined("walls", {}, {})) for _ in range(max(repeat, 5)))


def _entering(directory: Path, repeat: int) -> dict[str, float]:
    """A whole registration of the example's file, and what of it the registry does after the child has answered."""
    registry = ModelRegistry(directory / "registry", keys=Keyring.of(generate_key()))
    request = RegistrationRequest(model_name="example", positive_class="1")
    entered: list[float] = []
    register_prepared = registry.register_prepared

    def timed_registration(*arguments: Any, **named: Any) -> str:
        started = time.perf_counter()
        model_id = register_prepared(*arguments, **named)
        entered.append(time.perf_counter() - started)
        return model_id

    registry.register_prepared = timed_registration  # type: ignore[method-assign]
    whole = [timed(lambda: register_file(registry, directory / _EXAMPLE_FILE, request)) for _ in range(max(repeat, 5))]
    return {"whole": statistics.median(whole), "registry": statistics.median(entered)}


def _write(rows: list[Row], starts: float, entering: dict[str, float]) -> None:
    lines = [
        "# Opening a file",
        "",
        f"`python -m benchmarks.store.opening` on {platform.machine()}, {platform.system()}, Python",
        f"{platform.python_version()}; medians of one run. By its library: `joblib.load`, `pickle.load`, which run",
        "whatever the file says. By the rules: each instruction is checked, numbers are looked at. An",
        "inspection makes nothing.",
        "",
        "| file | size | its library | the rules | ratio (more) | inspected |",
        "|---|---|---|---|---|---|",
        *(row.cells for row in rows),
        "",
        "| registering the example's file, encrypted | |",
        "|---|---|",
        f"| start of a child behind its walls, and its end | {starts * 1000:,.0f} ms |",
        f"| the registry's own part, after the child has answered | {entering['registry'] * 1000:,.0f} ms |",
        f"| the whole registration | {entering['whole'] * 1000:,.0f} ms |",
    ]
    write_result("opening.md", "\n".join(lines) + "\n")
    sys.stdout.write("\n".join(lines[6:]) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("benchmarks.store.opening", __doc__)
    parser.add_argument("--forest", type=int, default=300, help="megabytes of the forest (300)")
    parser.add_argument("--arrays", type=int, default=1000, help="megabytes of the arrays (1000)")
    parser.add_argument("--repeat", type=int, default=7, help="loads of each file (7)")
    parser.add_argument("--work", type=Path, help="directory for the files (a temporary one)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
