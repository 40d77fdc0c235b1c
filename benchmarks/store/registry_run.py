#!/usr/bin/env python3
"""Measures registering, listing and searching beside MLflow, in one run.

    python -m benchmarks.store.registry_run --mlflow-python PATH/TO/python     # a Python that has mlflow installed

MLflow brings many packages of its own, so it runs under a Python of its own (`uv venv X; uv pip install -p X mlflow`,
say). Without one, this project is measured alone, and the table says so.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.command import make_parser, write_result
from benchmarks.store.timing import timed
from conventions.artifact_files import ARTIFACT_FILE

_MEGABYTE = 1 << 20

_MLFLOW = """
import json, statistics, sys, tempfile, time, warnings
warnings.simplefilter("ignore")
import logging; logging.disable(logging.WARNING)
import mlflow, numpy as np
from sklearn.neighbors import KNeighborsClassifier
root, registers, versions = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
mlflow.set_tracking_uri(f"sqlite:///{root}/mlflow.db")
mlflow.set_experiment("benchmark")
rows = np.random.default_rng(0).normal(size=(8000, 16))
model = KNeighborsClassifier().fit(rows, rows[:, 0] > 0)
def register():
    with mlflow.start_run():
        mlflow.log_metric("accuracy", 0.96)
        mlflow.sklearn.log_model(model, name="model", registered_model_name="m", pip_requirements=["scikit-learn"],
                                 serialization_format="cloudpickle")
register()
taken = []
for _ in range(registers):
    started = time.perf_counter(); register(); taken.append(time.perf_counter() - started)
client = mlflow.MlflowClient()
version = client.get_latest_versions("m")[0] if hasattr(client, "get_latest_versions") else None
for _ in range(versions):
    client.create_model_version("m", version.source)
def search():
    found, token = [], None
    while True:
        page = client.search_model_versions("name='m'", max_results=1000, page_token=token)
        found += page; token = page.token
        if not token: return found
search()
started = time.perf_counter(); count = len(search()); listed = time.perf_counter() - started
print(json.dumps({"version": mlflow.__version__, "register_seconds": statistics.median(taken), "listed": count,
                  "list_seconds": listed}))
"""


def main() -> int:
    """Measures and writes `benchmarks/results/registry.md`."""
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory() as directory:
        ours = _measure_registry(Path(directory) / "registry", options.versions)
        theirs = _mlflow(options.mlflow_python, Path(directory)) if options.mlflow_python else None
    _write(ours, theirs)
    return 0


def _measure_registry(root: Path, versions: int) -> dict[str, Any]:
    import numpy as np
    from sklearn.neighbors import KNeighborsClassifier

    from model_store import Keyring, ModelRegistry
    from model_store.keys.keyring import generate_key
    from model_store.registry.files.search import search

    rows = np.random.default_rng(0).normal(size=(8000, 16))
    model = KNeighborsClassifier().fit(rows, rows[:, 0] > 0)
    registry = ModelRegistry(root, keys=Keyring.of(generate_key()))

    def register() -> str:
        return registry.register_model(
            model=model, model_name="m", performance_metrics={"accuracy": 0.96}, compression="none"
        )

    model_id = register()
    taken = [timed(register) for _ in range(10)]
    _multiply(root, model_id, versions)
    time.sleep(0.3)
    fresh = ModelRegistry(root, keys=Keyring())
    without_index = timed(fresh.list_models)
    from_cache_file = timed(ModelRegistry(root, keys=Keyring()).list_models)
    in_process = statistics.median(timed(fresh.list_models) for _ in range(5))
    searched = statistics.median(
        timed(lambda: search(fresh.list_models(status="trained"), metrics=["accuracy>0.95"], sort="-accuracy"))
        for _ in range(5)
    )
    return {
        "artifact_bytes": registry.artifact_path(model_id).stat().st_size,
        "register_seconds": statistics.median(taken),
        "listed": len(fresh.list_models()),
        "list_seconds": in_process,
        "search_seconds": searched,
        "list_from_cache_file_seconds": from_cache_file,
        "list_without_index_seconds": without_index,
    }


def _multiply(root: Path, model_id: str, versions: int) -> None:
    """Puts copies of one version beside it; their artifacts are links, since listing does not read them."""
    directory = root / "models" / "m" / model_id
    manifest = json.loads((directory / "manifest.json").read_text())
    state = (directory / "state.json").read_bytes()
    for number in range(versions):
        moment = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
        copied = f"m_KNeighborsClassifier_{moment:%Y%m%d_%H%M%S}"
        target = directory.parent / copied
        target.mkdir()
        manifest |= {"model_id": copied, "version": 1000 + number, "created_at": f"{moment:%Y-%m-%dT%H:%M:%SZ}"}
        (target / "manifest.json").write_text(json.dumps(manifest))
        (target / "state.json").write_bytes(state)
        (target / ARTIFACT_FILE).hardlink_to(directory / ARTIFACT_FILE)


def _mlflow(python: str, directory: Path) -> dict[str, Any]:
    command = [python, "-c", _MLFLOW, str(directory), "3", "1000"]
    answer = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise SystemExit(f"error: MLflow under {python} failed:\n{answer.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return result


def _write(ours: dict[str, Any], theirs: dict[str, Any] | None) -> None:
    milliseconds = {name: f"{value * 1000:.0f} ms" for name, value in ours.items() if name.endswith("_seconds")}
    other = {"register_seconds": "not measured", "list_seconds": "not measured", "listed": 0, "version": ""}
    if theirs:
        other = {**theirs, **{name: f"{theirs[name] * 1000:.0f} ms" for name in ("register_seconds", "list_seconds")}}
    lines = [
        "# Registering and listing",
        "",
        f"A scikit-learn model of {ours['artifact_bytes'] / _MEGABYTE:.1f} MiB, encrypted here, as it is in MLflow",
        f"{other['version']} on SQLite; medians of one run (`python -m benchmarks.store.registry_run`).",
        "",
        "| | this registry | MLflow |",
        "|---|---|---|",
        f"| register | {milliseconds['register_seconds']} | {other['register_seconds']} |",
        f"| list | {milliseconds['list_seconds']}, {ours['listed']} | {other['list_seconds']}, {other['listed']} |",
        f"| search by status and metric, sorted | {milliseconds['search_seconds']} | |",
        f"| first list of a process, from the cache file | {milliseconds['list_from_cache_file_seconds']} | |",
        f"| first list ever, nothing cached | {milliseconds['list_without_index_seconds']} | |",
    ]
    write_result("registry.md", "\n".join(lines) + "\n")
    sys.stdout.write("\n".join(lines[5:]) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("benchmarks.store.registry_run", __doc__)
    parser.add_argument("--versions", type=int, default=10_000, help="how many to list (10000)")
    parser.add_argument("--mlflow-python", help="a Python that has mlflow and scikit-learn")
    return parser


if __name__ == "__main__":
    sys.exit(main())
