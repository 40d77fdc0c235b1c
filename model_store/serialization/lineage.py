"""Lineage of a model version: its file, its commit, its parameters."""

import hashlib
import math
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from conventions.regular_files import open_regular
from model_store.errors import SizeLimit
from model_store.serialization.reading import reading

_READ_BYTES = 1 << 20
_MOST_BYTES = 256 << 30
_EXAMPLE_DIRECTORY = "models"
"""Of this program's checkout: where its own example is trained."""


def detect_model_type(model: Any) -> str:
    """The type that a model's id names, told from its class: `XGBoost`, `LightGBM`, or the class's own name."""
    package, name = type(model).__module__.split(".")[0], type(model).__name__
    if package == "sklearn" and hasattr(model, "steps"):
        return detect_model_type(model.steps[-1][1])
    return {"xgboost": "XGBoost", "lightgbm": "LightGBM"}.get(package, name.strip("_").replace("_", "-"))


def read_feature_schema(model: Any) -> list[dict[str, Any]]:
    """The features that a model names, or numbers; empty when it does neither."""
    names = getattr(model, "feature_names_in_", None)
    if names is None and isinstance(count := getattr(model, "n_features_in_", None), int):
        names = [f"feature_{number}" for number in range(count)]
    return [{"name": str(name), "type": "number"} for name in names] if names is not None else []


def build_lineage(
    parameters: Mapping[str, Any], training_data: Mapping[str, Any] | None, source: Path | None = None
) -> dict[str, Any]:
    """Lineage of a model: commit, parameters and training data, as `describe_source` describes it."""
    return {
        "git_commit": git_commit(source),
        "parameters": dict(parameters),
        "training_data": dict(training_data) if training_data else None,
    }


def read_parameters(model: Any) -> dict[str, Any]:
    """The parameters that an estimator was made with, those that are plain values; empty for other objects."""
    ask = getattr(model, "get_params", None)
    if not callable(ask):
        return {}
    plain = str | int | float | bool | None
    return {
        str(name): value
        for name, value in sorted(ask(deep=False).items())
        if isinstance(value, plain) and not (isinstance(value, float) and not math.isfinite(value))
    }


def describe_source(path: Path) -> dict[str, Any]:
    """Name, SHA-256 and size of the file that a model came from, or of its training data.

    Raises:
        FileMissing: there is no such file.
        InvalidInput: it is a directory.
        SizeLimit: it is larger than 256 GiB.
        StorageFailed: it cannot be read.
    """
    with reading(path), open_regular(path) as file:
        return describe_open_source(path, file)


def describe_open_source(path: Path, file: BinaryIO) -> dict[str, Any]:
    """Name, SHA-256 and size of an open file, read from its beginning; errors as for `describe_source`."""
    if os.fstat(file.fileno()).st_size > _MOST_BYTES:
        raise SizeLimit(f"{path}: larger than {_MOST_BYTES >> 30} GiB")
    state, size = hashlib.sha256(), 0
    file.seek(0)
    while block := file.read(_READ_BYTES):
        state.update(block)
        size += len(block)
    file.seek(0)
    return {"name": path.name, "sha256": state.hexdigest(), "size_bytes": size}


def git_commit(source: Path | None = None) -> str | None:
    """The commit of the repository that a model was trained in: the one that its file, or this process, lies in.

    None outside a repository, and in this program's own checkout, where only a file that it keeps itself is at home.
    """
    directory = source.resolve().parent if source else Path.cwd()
    command = ["git", "-C", str(directory), "rev-parse", "HEAD", "--show-toplevel"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    commit, root = answer.stdout.rstrip("\n").split("\n", 1)
    if Path(root).resolve() == Path(__file__).resolve().parents[2] and directory.name != _EXAMPLE_DIRECTORY:
        return None
    return commit
