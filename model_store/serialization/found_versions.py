"""Library versions that a model file holds."""

from collections.abc import Mapping
from typing import Any
from warnings import WarningMessage

from model_store.serialization.object_graph import walk_objects


def found_versions(model: Any, warnings: list[WarningMessage], from_file: Mapping[str, str]) -> dict[str, str]:
    """Library → version.

    Args:
        model: loaded.
        warnings: of the libraries during the load; scikit-learn warns with the file's version when it differs.
        from_file: what parts of the file tell of the libraries that wrote them, as `load_model` gives it.
    """
    found: dict[str, str] = {}
    for item in walk_objects(model):
        package = (type(item).__module__ or "").partition(".")[0]
        if package == "sklearn":
            found["scikit-learn"] = _sklearn_version(warnings)
        elif package == "xgboost" and "xgboost" in from_file:
            found["xgboost"] = from_file["xgboost"]
        elif package == "lightgbm" and type(item).__name__ == "Booster":
            found["lightgbm"] = _lightgbm_version(item)
        elif type(item).__name__ == "OnnxModel":
            found.update(_onnx_versions(item.content))
    return found


def _sklearn_version(warnings: list[WarningMessage]) -> str:
    import sklearn

    for warning in warnings:
        if version := getattr(warning.message, "original_sklearn_version", None):
            return str(version)
    return str(sklearn.__version__)


def _lightgbm_version(booster: Any) -> str:
    """The version of its text format, which is all that a model of LightGBM tells."""
    text = booster.model_to_string(num_iteration=1)
    return next((line.partition("=")[2] for line in text.splitlines()[:4] if line.startswith("version=")), "unknown")


def _onnx_versions(content: bytes) -> dict[str, str]:
    import onnx

    model = onnx.load_model_from_string(content)
    opsets = ", ".join(f"{item.domain or 'ai.onnx'} {item.version}" for item in model.opset_import)
    producer = {model.producer_name: model.producer_version} if model.producer_name and model.producer_version else {}
    return {"onnx": f"IR {model.ir_version}, {opsets}", **producer}
