#!/usr/bin/env python3
"""Measures how soon the service is ready and how much memory it takes, with a model of 5 MB and one of 300 MB.

    python -m benchmarks.serving.start_up                      # both models; about two minutes
    python -m benchmarks.serving.start_up --model xgboost      # the model of 5 MB alone

Memory is the proportional set size once ready and after a prediction, beside that of an interpreter that has imported
what the service imports, and beside the size of the serialized model.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.command import make_parser
from benchmarks.store.models import prepare

_IMPORTS = (
    "import serving.http.app, serving.http.pages, serving.process.server, serving.inference.model, "
    "serving.inference.runtimes, onnxruntime, time; "
    "import cryptography.hazmat.primitives.ciphers.aead, zstandard, psutil, uvloop, httptools, uvicorn; {more}; "
    "print(1, flush=True); time.sleep(60)"
)


_MODELS = {"xgboost": (5, "pass"), "forest": (300, "import sklearn.ensemble")}
"""Size in MB, and the import of the interpreter that it is compared with."""


def main() -> int:
    """Measures each model and prints a table."""
    options = _parser().parse_args()
    print("| model | serialized | runtime | ready after | memory | interpreter | (memory - interpreter) / model |")
    print("|---|---:|---|---:|---:|---:|---:|")
    for name in options.model or _MODELS:
        megabytes, more = _MODELS[name]
        with tempfile.TemporaryDirectory() as work:
            found = _measure(Path(work), name, megabytes)
        idle = _interpreter(more)
        share = (found["memory"] - idle) / found["model_bytes"]
        print(
            f"| {name} | {found['model_bytes'] / 1e6:.0f} MB | {found['runtime']} | {found['ready']:.1f} s "
            f"| {found['memory'] / 1e6:.0f} MB | {idle / 1e6:.0f} MB | {share:.2f} |"
        )
    return 0


def _measure(work: Path, name: str, megabytes: int) -> dict[str, Any]:
    import pickle

    import httpx

    from benchmarks.serving.run import free_port, measure_memory
    from model_store import Keyring, ModelRegistry
    from model_store.keys.keyring import ensure_key_file
    from serving.http.auth import hash_api_key, new_api_key

    path = prepare(name, work, megabytes)
    model = pickle.loads(path.read_bytes())
    registry = ModelRegistry(work / "registry", keys=Keyring.from_files(ensure_key_file(work / "model.key")))
    names = [f"f{number}" for number in range(model.n_features_in_)]
    schema = [{"name": each, "type": "number"} for each in names]
    model_id = registry.register_model(model, "m", feature_schema=schema, runtime=True)
    metadata, key, port = registry.get_metadata(model_id), new_api_key(), free_port()
    del model
    entry = {"name": "b", "sha256": hash_api_key(key), "scopes": ["predict"]}
    (work / "api_keys.json").write_text(json.dumps({"keys": [entry]}))
    (work / "api_keys.json").chmod(0o600)
    environment = {
        "PATH": os.environ["PATH"],
        "MODEL_ID": model_id,
        "MODEL_URI": str(registry.artifact_path(model_id).parent),
        "MODEL_SHA256": metadata.digest,
        "MODEL_RUNTIME_SHA256": metadata.runtime_digest,
        "MODEL_KEY_FILE": str(work / "model.key"),
        "API_KEYS_FILE": str(work / "api_keys.json"),
        "API_PORT": str(port),
    }
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "serving"], env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            while True:
                try:
                    if (
                        httpx.get(f"http://127.0.0.1:{port}/health/ready", trust_env=False).status_code
                        == httpx.codes.OK
                    ):
                        break
                except httpx.HTTPError:
                    time.sleep(0.01)
            ready = time.perf_counter() - started
            body = {"transaction": dict.fromkeys(names, 0.5)}
            url = f"http://127.0.0.1:{port}"
            httpx.post(f"{url}/predict", json=body, headers={"X-API-Key": key}, trust_env=False).raise_for_status()
            runtime = httpx.get(f"{url}/health", trust_env=False).json()["runtime"]
            memory = measure_memory(process.pid)
        finally:
            process.terminate()
    return {"model_bytes": path.stat().st_size, "ready": ready, "memory": memory, "runtime": runtime}


def _interpreter(more: str) -> int:
    from benchmarks.serving.run import measure_memory

    command = [sys.executable, "-c", _IMPORTS.format(more=more)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        memory = measure_memory(process.pid)
        process.kill()
    return memory


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("benchmarks.serving.start_up", __doc__)
    parser.add_argument("--model", action="append", choices=_MODELS, help="only this model; may be repeated (both)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
