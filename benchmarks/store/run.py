#!/usr/bin/env python3
"""Measures saving and loading against peers and the floor, in one run, and writes a table and a picture.

    python -m benchmarks.store.run --mlflow-python PYTHON      # everything: about three quarters of an hour
    python -m benchmarks.store.run --arrays 100 --forest 60 --repeat 1     # smaller and faster

Each measurement runs in a process of its own: the model is loaded first, then saved and loaded the given number of
times; the best time counts. bz2 and lzma on the large models run once. Extra memory is how far the resident size rises
above what it is before the first save. What checksum and cipher add is measured by itself: this project's own streams
with and without them, in turns in one process, medians.

PYTHON is one that has mlflow, scikit-learn and xgboost installed (`uv venv X; uv pip install -p X mlflow xgboost-cpu`);
without it MLflow is left out.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.command import RESULTS, make_parser, write_result
from benchmarks.store.contestants import contestant
from benchmarks.store.mlflow_model import measure_mlflow
from benchmarks.store.models import prepare
from benchmarks.store.overhead import COMPRESSIONS, measure_overhead, overhead_table
from benchmarks.store.timing import timed

_SLOW = ("bz2", "lzma")
_MODELS = ("xgboost", "forest", "arrays")


def main() -> int:
    """Runs the benchmark; `--one` is a single measurement in a child process."""
    options = _parser().parse_args()
    if options.one:
        print(json.dumps(_measure(options.one, Path(options.model), Path(options.directory), options.repeat)))
        return 0
    if options.added:
        print(json.dumps(measure_overhead(Path(options.model), options.added, Path(options.directory))))
        return 0
    results = _Results(options)
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        directory = Path(work)
        for model, megabytes in (("xgboost", 5), ("forest", options.forest), ("arrays", options.arrays)):
            path = prepare(model, directory, megabytes)
            fast = options.part != "slow" and not options.only
            for compression in COMPRESSIONS if model != "xgboost" and fast else ():
                results.take_overhead({"model": model, **_overhead_in_child(compression, path, directory)})
            for name in _names():
                is_slow = _is_slow(model, name)
                if options.part == ("fast" if is_slow else "slow") or not name.startswith(options.only):
                    continue
                results.take({"model": model, **_in_child(name, path, directory, 1 if is_slow else options.repeat)})
            if options.mlflow_python and model != "arrays" and fast:
                results.take({"model": model, **measure_mlflow(options.mlflow_python, path, directory)})
    return 0


class _Results:
    """The results; written after each measurement, so that an interrupted run loses only the current one.

    Args:
        options: with `part` or `only`, the results of the other measurements stay.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._rows: dict[tuple[str, str], dict[str, Any]] = {}
        self._overhead: dict[tuple[str, str], dict[str, Any]] = {}
        if options.part != "all" or options.only:
            before = json.loads((RESULTS / "store.json").read_text(encoding="utf-8"))
            self._rows = {(row["model"], row["name"]): row for row in before["rows"]}
            self._overhead = {(row["model"], row["compression"]): row for row in before["added"]}

    def take(self, row: dict[str, Any]) -> None:
        """Takes how one way saves and loads one model."""
        self._rows[row["model"], row["name"]] = row
        _log(row)
        self._write()

    def take_overhead(self, row: dict[str, Any]) -> None:
        """Takes what checksum and cipher add to one model's saves and loads."""
        self._overhead[row["model"], row["compression"]] = row
        sys.stderr.write(f"{row}\n")
        self._write()

    def _write(self) -> None:
        order = {name: number for number, name in enumerate(_names())}
        rows = sorted(
            self._rows.values(), key=lambda row: (_MODELS.index(row["model"]), order.get(row["name"], len(order)))
        )
        overhead = sorted(
            self._overhead.values(),
            key=lambda row: (_MODELS.index(row["model"]), COMPRESSIONS.index(row["compression"])),
        )
        _write(rows, overhead, self._options)


def _is_slow(model: str, name: str) -> bool:
    return model != "xgboost" and name.endswith(_SLOW)


def _names() -> list[str]:
    compressions = ["none", "gzip", "zstd", *_SLOW]
    ours = [f"{kind}/{compression}" for compression in compressions for kind in ("ours", "ours-encrypted")]
    peers = [f"joblib/{compression}" for compression in compressions if compression != "zstd"]
    return [*ours, *peers, "fernet/none", "floor/none", "floor/gzip", "floor/zstd"]


def _in_child(name: str, model: Path, directory: Path, repeat: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.store.run", "--one", name, "--model", str(model)]
    command += ["--directory", str(directory), "--repeat", str(repeat)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return result


def _overhead_in_child(compression: str, model: Path, directory: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.store.run", "--added", compression, "--model", str(model)]
    answer = subprocess.run([*command, "--directory", str(directory)], capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return result


def _measure(name: str, model_path: Path, directory: Path, repeat: int) -> dict[str, Any]:
    import pickle

    with model_path.open("rb") as file:
        holder = [pickle.load(file)]
    way = contestant(name)
    warm = directory / "warm"
    way.save({"a": 1}, warm)
    way.load(warm)
    target = directory / "saved"
    _reset_peak()
    before = _memory_bytes("VmRSS")
    saves = [timed(lambda: way.save(holder[0], target)) for _ in range(repeat)]
    extra = max(0, _memory_bytes("VmHWM") - before)
    holder.clear()
    loads = [timed(lambda: way.load(target)) for _ in range(repeat)]
    return {
        "name": name,
        "raw_bytes": model_path.stat().st_size,
        "file_bytes": target.stat().st_size,
        "save_seconds": min(saves),
        "load_seconds": min(loads),
        "extra_save_bytes": extra,
    }


def _memory_bytes(name: str) -> int:
    """`VmRSS`, the resident size now, or `VmHWM`, the largest since the kernel's mark was reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {name}")


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _log(row: dict[str, Any]) -> None:
    sys.stderr.write(
        f"{row['model']:8} {row['name']:22} save {row['save_seconds']:7.3f} s  load {row['load_seconds']:7.3f} s  "
        f"file {row['file_bytes'] / 1e6:8.1f} MB  extra {row['extra_save_bytes'] / (1 << 20):7.1f} MiB\n"
    )


def _write(rows: list[dict[str, Any]], overhead: list[dict[str, Any]], options: argparse.Namespace) -> None:
    machine = f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    record: dict[str, Any] = {
        "machine": machine,
        "arguments": {"forest": options.forest, "arrays": options.arrays},
        "rows": rows,
    }
    record["added"] = overhead
    write_result("store.json", json.dumps(record, indent=1) + "\n")
    write_result("store.md", _table(rows, machine) + overhead_table(overhead))
    _picture(rows)


def _table(rows: list[dict[str, Any]], machine: str) -> str:
    lines = [
        "# Saving and loading models",
        "",
        f"`python -m benchmarks.store.run` on {machine}. MB/s are of the model's pickled size. The last two columns",
        "say how many times as fast as Fernet over the whole file it is, on the same model. bz2 and lzma on the large",
        "models take minutes and are measured once, in a run of their own (`--part slow`).",
        "",
        "| model | way | save MB/s | load MB/s | file / model | extra memory, save | save / Fernet | load / Fernet |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        fernet = next((one for one in rows if one["model"] == row["model"] and one["name"] == "fernet/none"), None)
        raw = row["raw_bytes"]
        ratios = [f"{fernet[what] / row[what]:.1f}" if fernet else "-" for what in ("save_seconds", "load_seconds")]
        lines.append(
            f"| {row['model']} {raw / 1e6:.0f} MB | {row['name']} | {_speed(raw / row['save_seconds'])} "
            f"| {_speed(raw / row['load_seconds'])} | {row['file_bytes'] / raw:.2f} "
            f"| {row['extra_save_bytes'] / (1 << 20):.0f} MiB | {' | '.join(ratios)} |"
        )
    return "\n".join(lines) + "\n"


def _speed(bytes_per_second: float) -> str:
    """Formats MB/s with significant digits only."""
    megabytes = bytes_per_second / 1e6
    return f"{megabytes:.0f}" if megabytes >= 10 else f"{megabytes:.1f}"


def _picture(rows: list[dict[str, Any]]) -> None:
    """Draws bars of throughput as plain SVG."""
    height, width = 16 * len(rows) + 60, 900
    fastest = max((row["raw_bytes"] / row["save_seconds"] for row in rows), default=1.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-size="11">',
        "<style>text { font-family: sans-serif }</style>",
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="20" font-size="14">Save, MB of model per second</text>',
    ]
    for number, row in enumerate(rows):
        y, speed = 36 + 16 * number, row["raw_bytes"] / row["save_seconds"]
        colour = "#1f6f8b" if row["name"].startswith("ours") else "#b0b0b0"
        parts.append(f'<text x="10" y="{y + 10}">{row["model"]} {row["name"]}</text>')
        parts.append(f'<rect x="220" y="{y}" width="{600 * speed / fastest:.0f}" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{226 + 600 * speed / fastest:.0f}" y="{y + 10}">{speed / 1e6:.0f}</text>')
    write_result("store.svg", "\n".join([*parts, "</svg>"]) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("benchmarks.store.run", __doc__)
    parser.add_argument("--arrays", type=int, default=1000, help="MB of float arrays (1000)")
    parser.add_argument("--forest", type=int, default=300, help="MB of random forest, about (300)")
    parser.add_argument("--repeat", type=int, default=2, help="rounds; the best counts (2)")
    parser.add_argument(
        "--part",
        choices=("all", "fast", "slow"),
        default="all",
        help="slow: bz2 and lzma on the large models; fast: the rest; either keeps the other's results",
    )
    parser.add_argument(
        "--only",
        default="",
        help="only contestants whose name has this prefix, such as joblib/lzma; the others keep their results",
    )
    parser.add_argument("--work", help="directory for the files; the system's own when not given")
    parser.add_argument("--mlflow-python", help="a Python that has mlflow, scikit-learn and xgboost")
    for hidden in ("--one", "--added", "--model", "--directory"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
