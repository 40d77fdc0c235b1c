"""The compared services: the command of each, its request, and its readiness check."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FEATURES = [f"f{number}" for number in range(30)]
Row = Any
"""A transaction in the form that the measured model takes."""


@dataclass(frozen=True)
class Peer:
    """One service."""

    name: str
    command: Sequence[str]
    """`{port}` stands for the port."""
    path: str
    body: Callable[[Sequence[Row]], Any]
    """The request for some rows, as JSON values."""
    ready: str = "/health/ready"
    headers: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    """Packages of its own Python; empty: this project's Python."""
    directory: str = "."
    scores: Callable[[Any], Sequence[float]] | None = None
    """Reads the probabilities of fraud from an answer, to compare them with the model's."""


def _as_transactions(rows: Sequence[Row]) -> Any:
    named = [dict(zip(FEATURES, row, strict=True)) for row in rows]
    return {"transaction": named[0]} if len(named) == 1 else {"transactions": named}


def _as_rows(rows: Sequence[Row]) -> Any:
    return {"rows": [list(row) for row in rows]}


def peers(files: Path, program: Callable[[str], str]) -> list[Peer]:
    """Returns the services to compare.

    Args:
        files: what `prepare` has made: the model in each one's form.
        program: gives the path of a peer's own program.
    """
    return [
        *_asgi_applications(files),
        _mlserver(files, program("mlserver")),
        _mlflow(files, program("mlflow")),
        _bentoml(files, program("bentoml")),
    ]


def _asgi_applications(files: Path) -> list[Peer]:
    """The lower bound, this service and FastAPI, each under uvicorn."""
    ours = json.loads((files / "service.json").read_text())
    uvicorn = [sys.executable, "-m", "uvicorn", "--port", "{port}", "--log-level", "warning", "--no-access-log"]
    apps = {"MODEL_DIRECTORY": str(files), "PYTHONPATH": str(Path.cwd())}
    return [
        Peer(
            "bare ASGI, ONNX Runtime (the floor)",
            [*uvicorn, "benchmarks.serving.apps:bare"],
            "/predict",
            _as_rows,
            environment=apps,
        ),
        Peer(
            "this service",
            [sys.executable, "-m", "serving"],
            "/predict",
            _as_transactions,
            headers={"X-API-Key": ours["key"]},
            environment={**ours["environment"], "API_PORT": "{port}"},
        ),
        Peer(
            "FastAPI, pydantic, scikit-learn's interface",
            [*uvicorn, "benchmarks.serving.fastapi_app:app"],
            "/predict",
            _as_transactions,
            environment=apps,
            packages=("fastapi", "uvicorn", "httptools", "uvloop", "xgboost-cpu", "scikit-learn", "pandas"),
        ),
    ]


def _mlserver(files: Path, program: str) -> Peer:
    def body(rows: Sequence[Row]) -> Any:
        data = [list(row) for row in rows]
        return {"inputs": [{"name": "input", "shape": [len(rows), len(FEATURES)], "datatype": "FP32", "data": data}]}

    return Peer(
        "MLServer",
        [program, "start", "."],
        "/v2/models/fraud/infer",
        body,
        ready="/v2/models/fraud/ready",
        environment={"MLSERVER_HTTP_PORT": "{port}", "MLSERVER_PARALLEL_WORKERS": "0", "MLSERVER_DEBUG": "false"},
        packages=("mlserver==1.7.*", "mlserver-xgboost==1.7.*", "xgboost-cpu", "setuptools<80"),
        directory=str(files / "mlserver"),
    )


def _mlflow(files: Path, program: str) -> Peer:
    return Peer(
        "MLflow",
        [program, "models", "serve", "-m", str(files / "mlflow"), "-p", "{port}", "--env-manager", "local"],
        "/invocations",
        lambda rows: {"dataframe_split": {"columns": FEATURES, "data": [list(row) for row in rows]}},
        ready="/ping",
        environment={"MLFLOW_MODELS_WORKERS": "1"},
        packages=("mlflow", "xgboost-cpu"),
    )


def _bentoml(files: Path, program: str) -> Peer:
    home = str(files / "bentoml-home")
    return Peer(
        "BentoML",
        [program, "serve", "service:Fraud", "--port", "{port}"],
        "/predict",
        _as_rows,
        ready="/readyz",
        environment={"MODEL_DIRECTORY": str(files), "BENTOML_HOME": home, "BENTOML_DO_NOT_TRACK": "true"},
        packages=("bentoml==1.4.*", "xgboost-cpu", "scikit-learn"),
        directory=str(files / "bentoml"),
    )


def variables(peer: Peer, port: int) -> dict[str, str]:
    """The environment of a peer's process."""
    programs = str(Path(peer.command[0]).parent)
    path = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": os.environ.get("HOME", "/"), "OMP_NUM_THREADS": "1"}
    return {**path, **{name: value.replace("{port}", str(port)) for name, value in peer.environment.items()}}
