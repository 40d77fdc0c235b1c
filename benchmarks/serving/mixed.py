"""The second model: three text and ten number columns with gaps, a pipeline before XGBoost, one joblib file for all."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.serving.peers import Peer
from benchmarks.serving.prepare import prepare_mlserver, write_service

TEXTS = ("merchant_category", "country", "device")
NUMBERS = tuple(f"amount_{number}" for number in range(10))
COLUMNS = (*TEXTS, *NUMBERS)
Transaction = dict[str, Any]

_MLFLOW = """
import sys, joblib, mlflow, pandas
from mlflow.models import infer_signature
model, example = joblib.load(sys.argv[1]), pandas.read_parquet(sys.argv[3])
signature = infer_signature(example, model.predict_proba(example))
mlflow.sklearn.save_model(
    model, sys.argv[2], signature=signature, pyfunc_predict_fn="predict_proba",
    serialization_format="cloudpickle", pip_requirements=["mlflow", "scikit-learn", "xgboost-cpu"],
)
"""
_BENTO = """
import os
from pathlib import Path
from typing import Any
import bentoml, joblib, pandas

@bentoml.service(workers=1)
class Mixed:
    def __init__(self) -> None:
        self.model = joblib.load(Path(os.environ["MODEL_DIRECTORY"]) / "mixed.joblib")
        self.columns = list(self.model.feature_names_in_)
        self.numbers = self.columns[3:]

    @bentoml.api
    def predict(self, rows: list[dict[str, Any]]) -> list[float]:
        frame = pandas.DataFrame(rows, columns=self.columns)
        frame[self.numbers] = frame[self.numbers].astype(float)
        return self.model.predict_proba(frame)[:, 1].tolist()
"""


def libraries() -> tuple[str, ...]:
    """Packages that a peer needs to read the file, in the versions that wrote it."""
    from importlib.metadata import version

    names = ("scikit-learn", "xgboost-cpu", "pandas", "joblib", "numpy")
    return tuple(f"{name}=={version(name)}" for name in names)


def prepare_mixed(files: Path, mlflow_python: str | None) -> tuple[list[Transaction], list[float]]:
    """Trains, saves and registers the model.

    Returns:
        Some transactions to ask about, and the model's own answers to them.
    """
    import joblib
    import numpy as np
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder
    from xgboost import XGBClassifier

    random, count = np.random.default_rng(1), 20_000
    frame = pd.DataFrame({name: random.integers(0, size, count) for name, size in zip(TEXTS, (20, 40, 6), strict=True)})
    frame = frame.astype(str).apply(lambda column: column.name + " " + column).astype(object)
    for name in NUMBERS:
        values = np.round(random.lognormal(3, 1, count), 2)
        values[random.random(count) < 0.1] = np.nan
        frame[name] = values
    signal = frame["amount_0"].fillna(20) / 20 + frame["device"].eq("device 3") * 2 + random.normal(size=count)
    columns = ColumnTransformer(
        [
            ("text", OneHotEncoder(handle_unknown="ignore"), list(TEXTS)),
            ("number", SimpleImputer(strategy="median"), list(NUMBERS)),
        ]
    )
    model = make_pipeline(columns, XGBClassifier(n_estimators=100, n_jobs=2)).fit(frame, (signal > 3).astype(int))
    joblib.dump(model, files / "mixed.joblib")
    sample = files / "sample.parquet"
    frame.head(2000).to_parquet(sample)
    asked = frame.head(100)
    if mlflow_python:
        command = [mlflow_python, "-c", _MLFLOW, str(files / "mixed.joblib"), str(files / "mlflow-mixed"), str(sample)]
        subprocess.run(command, check=True, capture_output=True)
    (files / "bentoml-mixed").mkdir()
    (files / "bentoml-mixed" / "service.py").write_text(textwrap.dedent(_BENTO))
    kind = "mlserver_sklearn.SKLearnModel"
    prepare_mlserver(files / "mlserver-mixed", files / "mixed.joblib", "mixed", kind)
    write_service(files, model, "mixed", sample=sample)
    transactions = [
        {name: None if value != value else value for name, value in row.items()} for row in asked.to_dict("records")
    ]
    return transactions, [float(score) for score in model.predict_proba(asked)[:, 1]]


def _as_tensors(rows: Sequence[Transaction]) -> Any:
    inputs = []
    for name in COLUMNS:
        kind = ("BYTES", {"content_type": "str"}) if name in TEXTS else ("FP64", {"content_type": "np"})
        data = [row[name] for row in rows]
        shape = [len(rows), 1]
        inputs.append({"name": name, "shape": shape, "datatype": kind[0], "data": data, "parameters": kind[1]})
    return {
        "inputs": inputs,
        "parameters": {"content_type": "pd"},
        "outputs": [{"name": "predict_proba"}],
    }


def _as_transactions(rows: Sequence[Transaction]) -> Any:
    return {"transaction": rows[0]} if len(rows) == 1 else {"transactions": list(rows)}


def mixed_peers(files: Path, program: Callable[[str, str], str]) -> list[Peer]:
    """The services that serve this file.

    Args:
        files: the files of `prepare_mixed`.
        program: gives the path of a program in the environment of a name.
    """
    ours = json.loads((files / "mixed.json").read_text())
    return [
        Peer(
            "this service",
            [sys.executable, "-m", "serving"],
            "/predict",
            _as_transactions,
            headers={"X-API-Key": ours["key"]},
            environment={**ours["environment"], "API_PORT": "{port}"},
            scores=lambda answer: [each["fraud_probability"] for each in answer["predictions"]],
        ),
        Peer(
            "MLServer",
            [program("mlserver-mixed", "mlserver"), "start", "."],
            "/v2/models/mixed/infer",
            _as_tensors,
            ready="/v2/models/mixed/ready",
            environment={"MLSERVER_HTTP_PORT": "{port}", "MLSERVER_PARALLEL_WORKERS": "0", "MLSERVER_DEBUG": "false"},
            packages=("mlserver==1.7.*", "mlserver-sklearn==1.7.*", "setuptools<80", *libraries()),
            directory=str(files / "mlserver-mixed"),
            scores=lambda answer: answer["outputs"][0]["data"][1::2],
        ),
        Peer(
            "MLflow",
            [
                program("mlflow-mixed", "mlflow"), "models", "serve", "-m", str(files / "mlflow-mixed"),
                "-p", "{port}", "--env-manager", "local",
            ],
            "/invocations",
            lambda rows: {
                "dataframe_split": {"columns": list(COLUMNS), "data": [[row[name] for name in COLUMNS] for row in rows]}
            },
            ready="/ping",
            environment={"MLFLOW_MODELS_WORKERS": "1"},
            packages=mlflow_packages(),
            scores=lambda answer: [each[1] for each in answer["predictions"]],
        ),
        Peer(
            "BentoML",
            [program("bentoml-mixed", "bentoml"), "serve", "service:Mixed", "--port", "{port}"],
            "/predict",
            lambda rows: {"rows": list(rows)},
            ready="/readyz",
            environment={
                "MODEL_DIRECTORY": str(files),
                "BENTOML_HOME": str(files / "bentoml-home"),
                "BENTOML_DO_NOT_TRACK": "true",
            },
            packages=("bentoml==1.4.*", *libraries()),
            directory=str(files / "bentoml-mixed"),
            scores=lambda answer: answer,
        ),
    ]  # fmt: skip


def mlflow_packages() -> tuple[str, ...]:
    """Packages that MLflow needs to serve this file."""
    return ("mlflow", "pyarrow", *libraries())
