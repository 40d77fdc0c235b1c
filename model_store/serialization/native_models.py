"""Formats that hold a model without code: ONNX, XGBoost's UBJSON, LightGBM's text; and skops, which names its types.

Loaded models have `predict_proba`, so that a service treats every format alike.
"""

import math
from typing import TYPE_CHECKING, Any

from model_store.errors import InvalidInput, UnreadableModel
from model_store.serialization.onnx_model import OnnxModel as OnnxModel  # its home until now

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_XGBOOST_CLASSES = ("XGBClassifier", "XGBRFClassifier", "XGBRFRegressor", "XGBRanker", "XGBRegressor")
_ONNX_INPUT = "input"
_MISSING_ATTRIBUTE = "fraud_detection_missing"
"""Where a booster's own file keeps the value that counts as a gap; XGBoost keeps it in its scikit-learn class only."""


_LIGHTGBM_OBJECTIVES = ("binary", "cross_entropy", "multiclass", "multiclassova")


class LightGBMModel:
    """A model in LightGBM's text format.

    Args:
        text: the model.
    """

    __module__ = "model_store.native_models"  # the name that manifests know the class by

    def __init__(self, text: str) -> None:
        import lightgbm
        import numpy as np

        from model_store.serialization.structure.boosters import require_lightgbm

        try:
            require_lightgbm(text)
        except ValueError as error:
            raise UnreadableModel(f"not a LightGBM model ({error})") from None
        try:
            self.booster = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as error:
            raise UnreadableModel(f"not a LightGBM model ({error})") from None
        objective = next((line[10:] for line in text.splitlines() if line.startswith("objective=")), "")
        if objective.split(" ")[0] not in _LIGHTGBM_OBJECTIVES:
            raise InvalidInput(
                f"LightGBM's objective {objective or 'of its own'} gives no probability of fraud; "
                f"allowed: {', '.join(_LIGHTGBM_OBJECTIVES)}"
            )
        self.n_features_in_ = self.booster.num_feature()
        names = list(self.booster.feature_name())
        self.feature_names = None if names == [f"Column_{number}" for number in range(len(names))] else names
        per_round = int(self.booster.num_model_per_iteration())
        self.classes_ = np.arange(max(2, per_round))

    def predict_proba(self, rows: "Array") -> "Array":
        """Probabilities of the classes, shape (n, classes)."""
        import numpy as np

        found = np.asarray(self.booster.predict(rows))
        return found if found.ndim == 2 else np.column_stack([1 - found, found])


def import_xgboost_alone() -> None:
    """Imports XGBoost without scikit-learn, for a process that only answers: a quarter of the time and of the memory.

    XGBoost's classifiers then lack scikit-learn's base class, on which their answers do not depend. A process that fits
    models must not call this. The function has no effect after XGBoost or scikit-learn is imported.
    """
    import sys

    if "xgboost" in sys.modules or "sklearn" in sys.modules:
        return
    sys.modules["sklearn"] = None  # type: ignore[assignment]  # an import fails from here on
    try:
        import xgboost  # noqa: F401 - for what comes after
    finally:
        del sys.modules["sklearn"]


def onnx_bytes(model: Any) -> bytes:
    """Converts a scikit-learn, XGBoost or LightGBM classifier, or gives back what was loaded from ONNX.

    Raises:
        InvalidInput: there is no conversion for this model.
    """
    if isinstance(model, OnnxModel):
        return model.content
    features = getattr(model, "n_features_in_", None)
    if not isinstance(features, int):
        raise InvalidInput(f"{type(model).__name__} does not say how many features it takes, which ONNX needs")
    try:
        return _converted(model, features)
    except Exception as error:
        raise InvalidInput(f"{type(model).__name__} cannot be converted to ONNX ({_first_line(error)})") from None


def _converted(model: Any, features: int) -> bytes:
    exact = _converted_exactly(model)
    if exact is not None:
        return exact
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType

    options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
    # 64-bit in, 64-bit through: scikit-learn calculates so.
    inputs = [(_ONNX_INPUT, DoubleTensorType([None, features]))]
    try:
        return bytes(convert_sklearn(model, initial_types=inputs, options=options).SerializeToString())
    except Exception:
        from skl2onnx.common.data_types import FloatTensorType

        inputs = [(_ONNX_INPUT, FloatTensorType([None, features]))]
        return bytes(convert_sklearn(model, initial_types=inputs, options=options).SerializeToString())


def _converted_exactly(model: Any) -> bytes | None:
    """Trees written by this project, which branch as the library does; None for other models."""
    from model_store.serialization.tree_onnx import classifier_as_onnx
    from model_store.serialization.trees import read_trees

    classes = len(getattr(model, "classes_", ()))
    try:
        trees = read_trees(model, classes - 1)
    except InvalidInput:
        if type(model).__module__.split(".")[0] in ("xgboost", "lightgbm"):
            raise
        return None
    if trees.link == "identity" and classes != 2:
        return None
    return classifier_as_onnx(trees, classes, classes - 1)


def xgboost_bytes(model: Any) -> bytes:
    """An XGBoost estimator in UBJSON, with what scikit-learn's interface needs.

    Raises:
        InvalidInput: it is not one.
    """
    import json

    if type(model).__name__ not in _XGBOOST_CLASSES or not type(model).__module__.startswith("xgboost."):
        raise InvalidInput(
            f"{type(model).__name__} is not an XGBoost estimator; allowed: {', '.join(_XGBOOST_CLASSES)}"
        )
    # In a copy: the model that was handed over stays as it is. The first attribute is the one that `save_model` writes.
    booster = model.get_booster().copy()
    booster.set_attr(scikit_learn=json.dumps({"_estimator_type": model._get_type()}))
    missing = getattr(model, "missing", None)
    if missing is not None and not math.isnan(missing):
        booster.set_attr(**{_MISSING_ATTRIBUTE: repr(float(missing))})
    return bytes(booster.save_raw("ubj"))


def load_xgboost(content: bytes, model_class: str) -> Any:
    """An XGBoost estimator of a class that the artifact's header names.

    Raises:
        UnreadableModel: another class, or the bytes are not a model.
    """
    import xgboost

    module, _, name = model_class.rpartition(".")
    if module != "xgboost.sklearn" or name not in _XGBOOST_CLASSES:
        raise UnreadableModel(f"{model_class} is not an XGBoost estimator")
    # The library ends the whole process over bytes that are not UBJSON at all; such bytes must not reach it.
    if not (content.startswith(b"{") and content.endswith(b"}")):
        raise UnreadableModel("not an XGBoost model in UBJSON")
    from model_store.serialization.structure.boosters import require_xgboost, xgboost_document

    try:
        require_xgboost(xgboost_document(content))
    except (ValueError, RecursionError) as error:
        raise UnreadableModel(f"not an XGBoost model ({error})") from None
    model = getattr(xgboost, name)()
    try:
        model.load_model(bytearray(content))
    except Exception as error:
        raise UnreadableModel(f"not an XGBoost model ({_first_line(error)})") from None
    kept = model.get_booster().attr(_MISSING_ATTRIBUTE)
    if kept is not None:
        model.missing = float(kept)
    return model


def lightgbm_bytes(model: Any) -> bytes:
    """A LightGBM estimator as text.

    Raises:
        InvalidInput: it is not one.
    """
    booster = getattr(model, "booster", None) or getattr(model, "booster_", None)
    if booster is None or not type(booster).__module__.startswith("lightgbm."):
        raise InvalidInput(f"{type(model).__name__} is not a fitted LightGBM estimator")
    return str(booster.model_to_string()).encode()


def skops_bytes(model: Any) -> bytes:
    """A model in skops' format."""
    import skops.io

    return bytes(skops.io.dumps(model))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
