"""The overhead of checksum and cipher: the same streams with and without them, in turns in one process."""

import os
import pickle
import statistics
from pathlib import Path
from typing import Any

from benchmarks.store.contestants import contestant
from benchmarks.store.timing import timed

COMPRESSIONS = ("none", "gzip", "zstd")
_ROUNDS = 7
_WHAT = ("save", "load", "cold")


def measure_overhead(model_path: Path, compression: str, directory: Path) -> dict[str, Any]:
    """Saves and loads with each stream in turns; rotates the order in each round.

    Returns:
        Medians in seconds: `save`, `load` (from the page cache) and `cold` (a load from the disk, as when a service
        starts) of `bare` (nothing hashed or enciphered), `ours` (hashed) and `ours-encrypted`.
    """
    with model_path.open("rb") as file:
        model = pickle.load(file)
    names = [f"{kind}/{compression}" for kind in ("bare", "ours", "ours-encrypted")]
    ways = {name: contestant(name) for name in names}
    taken: dict[str, dict[str, list[float]]] = {name: {what: [] for what in _WHAT} for name in names}
    for number in range(_ROUNDS):
        for name in names[number % 3 :] + names[: number % 3]:
            target = directory / name.replace("/", "-")
            taken[name]["save"].append(timed(lambda name=name, target=target: ways[name].save(model, target)))  # type: ignore[misc]
        for name in names[number % 3 :] + names[: number % 3]:
            target = directory / name.replace("/", "-")
            taken[name]["load"].append(timed(lambda name=name, target=target: ways[name].load(target)))  # type: ignore[misc]
        for name in names[number % 3 :] + names[: number % 3]:
            target = directory / name.replace("/", "-")
            _out_of_the_cache(target)
            taken[name]["cold"].append(timed(lambda name=name, target=target: ways[name].load(target)))  # type: ignore[misc]
    for name in names:
        (directory / name.replace("/", "-")).unlink()
    medians = {
        name.split("/")[0]: {what: statistics.median(times[1:]) for what, times in both.items()}
        for name, both in taken.items()
    }
    return {"compression": compression, **medians}


def overhead_table(overhead: list[dict[str, Any]]) -> str:
    """The section of the results."""
    lines = [
        "",
        "## What checksum and cipher add",
        "",
        f"The same streams with and without them, in turns in one process, medians of {_ROUNDS - 1}. Files are in",
        "the page cache, but for those of a cold load, which come from the disk, as when a service starts.",
        "",
        "| model | compression | save bare | + checksum | + both | load bare | + checksum | + both | cold | + checksum | + both |",  # noqa: E501
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in overhead:
        cells = []
        for what in _WHAT:
            if what not in row["bare"]:
                cells += ["-", "-", "-"]
                continue
            bare = row["bare"][what]
            cells.append(f"{bare:.2f} s")
            cells += [f"{row[kind][what] / bare - 1:+.0%}" for kind in ("ours", "ours-encrypted")]
        lines.append(f"| {row['model']} | {row['compression']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _out_of_the_cache(path: Path) -> None:
    """Removes a file's pages from the page cache."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
