"""What checksum and cipher add: the same streams with and without them, in turns in one process."""

import pickle
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.store.contestants import contestant

ADDED = ("none", "gzip", "zstd")
_ROUNDS = 7


def measure_added(model_path: Path, compression: str, directory: Path) -> dict[str, Any]:
    """Saves and loads by each way in turns, the order rotated each time.

    Returns:
        Medians in seconds: `save` and `load` of `bare` (nothing hashed or enciphered), `ours` (hashed) and
        `ours-encrypted`.
    """
    with model_path.open("rb") as file:
        model = pickle.load(file)
    names = [f"{kind}/{compression}" for kind in ("bare", "ours", "ours-encrypted")]
    ways = {name: contestant(name) for name in names}
    taken: dict[str, dict[str, list[float]]] = {name: {"save": [], "load": []} for name in names}
    for number in range(_ROUNDS):
        for name in names[number % 3 :] + names[: number % 3]:
            target = directory / name.replace("/", "-")
            taken[name]["save"].append(_timed(lambda name=name, target=target: ways[name].save(model, target)))  # type: ignore[misc]
        for name in names[number % 3 :] + names[: number % 3]:
            target = directory / name.replace("/", "-")
            taken[name]["load"].append(_timed(lambda name=name, target=target: ways[name].load(target)))  # type: ignore[misc]
    for name in names:
        (directory / name.replace("/", "-")).unlink()
    medians = {
        name.split("/")[0]: {what: statistics.median(times[1:]) for what, times in both.items()}
        for name, both in taken.items()
    }
    return {"compression": compression, **medians}


def added_table(added: list[dict[str, Any]]) -> str:
    """The section of the results."""
    lines = [
        "",
        "## What checksum and cipher add",
        "",
        f"The same streams with and without them, in turns in one process, medians of {_ROUNDS - 1}; files are in the",
        "page cache.",
        "",
        "| model | compression | save bare | + checksum | + both | load bare | + checksum | + both |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in added:
        cells = []
        for what in ("save", "load"):
            bare = row["bare"][what]
            cells.append(f"{bare:.2f} s")
            cells += [f"{row[kind][what] / bare - 1:+.0%}" for kind in ("ours", "ours-encrypted")]
        lines.append(f"| {row['model']} | {row['compression']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
