"""Logs, registers and loads a model with MLflow, in a Python of its own."""

import json
import subprocess
from pathlib import Path
from typing import Any

_SCRIPT = """
import json, pickle, sys, time, warnings
warnings.simplefilter("ignore")
import logging; logging.disable(logging.WARNING)
import mlflow
from pathlib import Path
path, root = sys.argv[1], Path(sys.argv[2])
mlflow.set_tracking_uri(f"sqlite:///{root}/mlflow.db")
mlflow.set_experiment("benchmark")
with open(path, "rb") as file:
    model = pickle.load(file)
flavor = mlflow.xgboost if "xgboost" in type(model).__module__ else mlflow.sklearn
more = {} if flavor is mlflow.xgboost else {"serialization_format": "cloudpickle"}
def resident(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name): return int(line.split()[1]) * 1024
def save(model):
    with mlflow.start_run():
        return flavor.log_model(model, name="model", registered_model_name="m", pip_requirements=["mlflow"], **more)
# the first run of a process makes the database
with mlflow.start_run(): mlflow.log_metric("a", 1)
Path("/proc/self/clear_refs").write_text("5")
before = resident("VmRSS")
started = time.perf_counter(); info = save(model); saved = time.perf_counter() - started
extra = resident("VmHWM") - before
started = time.perf_counter(); flavor.load_model(info.model_uri); loaded = time.perf_counter() - started
size = sum(f.stat().st_size for f in (root / "mlruns").rglob("*") if f.is_file()) or sum(
    f.stat().st_size for f in root.rglob("model.*") if f.is_file())
print(json.dumps({"name": f"mlflow {mlflow.__version__}", "raw_bytes": Path(path).stat().st_size, "file_bytes": size,
                  "save_seconds": saved, "load_seconds": loaded, "extra_save_bytes": max(0, extra)}))
"""


def measure_mlflow(python: str, model: Path, directory: Path) -> dict[str, Any]:
    """Measures seconds and bytes of one save with registration, and of one load."""
    root = directory / f"mlflow-{model.stem}"
    root.mkdir()
    command = [python, "-c", _SCRIPT, str(model), str(root)]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise SystemExit(f"error: MLflow under {python} failed:\n{answer.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return result
