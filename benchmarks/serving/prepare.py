"""Trains one model and converts it for every service."""

import json
import subprocess
import textwrap
from pathlib import Path
from typing import Any

from benchmarks.serving.peers import FEATURES

_MLFLOW = """
import sys, mlflow
from xgboost import XGBClassifier
model = XGBClassifier(); model.load_model(sys.argv[1])
mlflow.xgboost.save_model(model, sys.argv[2], pip_requirements=["mlflow", "xgboost"])
"""
_BENTO = """
import os
from pathlib import Path
import bentoml, numpy as np
from xgboost import XGBClassifier

@bentoml.service(workers=1)
class Fraud:
    def __init__(self) -> None:
        self.model = XGBClassifier()
        self.model.load_model(Path(os.environ["MODEL_DIRECTORY"]) / "model.ubj")

    @bentoml.api
    def predict(self, rows: list[list[float]]) -> list[float]:
        return self.model.predict_proba(np.array(rows))[:, 1].tolist()
"""


def prepare(files: Path, mlflow_python: str | None) -> list[list[float]]:
    """Trains, converts and registers the model.

    Returns:
        Some rows to ask about, shape (100, 30).
    """
    import numpy as np
    from xgboost import XGBClassifier

    random = np.random.default_rng(0)
    data = random.normal(size=(20_000, len(FEATURES))).astype(np.float32)
    target = (data[:, 0] + data[:, 1] * data[:, 2] + random.normal(size=20_000) > 1).astype(int)
    model = XGBClassifier(n_estimators=100, n_jobs=2).fit(data, target)
    model.save_model(files / "model.ubj")
    (files / "model.onnx").write_bytes(_convert_with_defaults(model))
    prepare_mlserver(files / "mlserver", files / "model.ubj", "fraud", "mlserver_xgboost.XGBoostModel")
    (files / "bentoml").mkdir()
    (files / "bentoml" / "service.py").write_text(textwrap.dedent(_BENTO))
    if mlflow_python:
        command = [mlflow_python, "-c", _MLFLOW, str(files / "model.ubj"), str(files / "mlflow")]
        subprocess.run(command, check=True, capture_output=True)
    edges = np.quantile(data, np.linspace(0.1, 0.9, 9), axis=0)
    schema: list[dict[str, Any]] = [
        {"name": name, "type": "number", "bins": {"edges": edges[:, number].tolist(), "shares": [0.1] * 10}}
        for number, name in enumerate(FEATURES)
    ]
    write_service(files, model, "service", feature_schema=schema)
    return [[round(float(value), 4) for value in row] for row in data[:100]]


def write_service(files: Path, model: Any, name: str, **about: Any) -> None:
    """Registers a model, and writes this service's environment to `<name>.json`."""
    from model_store import Keyring, ModelRegistry
    from model_store.keys.keyring import ensure_key_file
    from serving.http.auth import hash_api_key, new_api_key

    registry = ModelRegistry(files / "registry", keys=Keyring.from_files(ensure_key_file(files / "model.key")))
    model_id = registry.register_model(model, name, **about)
    metadata, key = registry.get_metadata(model_id), new_api_key()
    entry = {"name": "benchmark", "sha256": hash_api_key(key), "scopes": ["predict"]}
    keys_file = files / f"{name}-keys.json"
    keys_file.write_text(json.dumps({"keys": [entry]}))
    keys_file.chmod(0o600)
    environment = {
        "ENVIRONMENT": "production",
        "MODEL_ID": model_id,
        "MODEL_URI": str(registry.artifact_path(model_id).parent),
        "MODEL_SHA256": metadata.digest,
        "MODEL_RUNTIME_SHA256": metadata.runtime_digest,
        "MODEL_KEY_FILE": str(files / "model.key"),
        "API_KEYS_FILE": str(keys_file),
        # The limit is on, and never reached.
        "RATE_LIMIT_PER_SECOND": "1000000",
        "RATE_LIMIT_BURST": "1000000",
    }
    (files / f"{name}.json").write_text(json.dumps({"key": key, "environment": environment}))


def _convert_with_defaults(model: Any) -> bytes:
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    inputs = [("input", FloatTensorType([None, len(FEATURES)]))]
    return bytes(convert_xgboost(model, initial_types=inputs).SerializeToString())


def prepare_mlserver(directory: Path, model: Path, name: str, implementation: str) -> None:
    """Writes a model's files for MLServer.

    Args:
        directory: made here.
        model: the model's file.
        name: of the model in requests.
        implementation: MLServer's class for it.
    """
    directory.mkdir()
    settings = {
        "name": name,
        "implementation": implementation,
        "parameters": {"uri": str(model)},
    }
    (directory / "model-settings.json").write_text(json.dumps(settings))
    (directory / "settings.json").write_text(json.dumps({"debug": False, "parallel_workers": 0}))
