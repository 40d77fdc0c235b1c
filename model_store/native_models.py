"""Formats that hold a model without code: ONNX, XGBoost's UBJSON, LightGBM's text; and skops, which names its types.

What is loaded from them answers `predict_proba`, so that a service need not care which format a model came in.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from model_store.errors import InvalidInput, UnreadableModel

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

# ONNX Runtime reports its use to its maker, and leaves a file for that, unless it is told not to before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_XGBOOST_CLASSES = ("XGBClassifier", "XGBRFClassifier", "XGBRFRegressor", "XGBRanker", "XGBRegressor")
_ONNX_INPUT = "input"
_ONNX_ERRORS_ONLY = 3


class OnnxModel:
    """A model in ONNX, run by ONNX Runtime on one thread.

    Args:
        content: the model's bytes.

    Raises:
        UnreadableModel: they are not an ONNX model with one input of numbers.
    """

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ONNX_ERRORS_ONLY
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.content = content
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise UnreadableModel(f"not an ONNX model ({type(error).__name__})") from None
        (self._input,) = self._session.get_inputs()
        self.n_features_in_ = self._input.shape[-1]

        self._outputs = [self._session.get_outputs()[-1].name]
        self._run, self._name = self._session.run, self._input.name

    def predict_proba(self, rows: "Array") -> "Array":
        """Probabilities of the classes, shape (n, classes)."""
        import numpy as np

        return self.run(np.ascontiguousarray(rows, dtype=np.float32))

    def run(self, rows: "Array") -> "Array":
        """The same for rows that are contiguous and 32-bit already."""
        import numpy as np

        return np.asarray(self._run(self._outputs, {self._name: rows})[0])

    def bound(self, rows: "Array", answers: "Array") -> "Callable[[], None] | None":
        """What calculates `answers` from `rows`, both in place: half as long as `run` for one row.

        Args:
            rows: shape (1, features), 32-bit, contiguous; has to stay where it is, as has the other one.
            answers: shape (1, classes), 32-bit, contiguous.

        Returns:
            None when the model's answers are of another shape or kind.
        """
        output = self._session.get_outputs()[-1]
        if output.type != "tensor(float)" or output.shape[-1] != answers.shape[-1]:
            return None
        binding = self._session.io_binding()
        binding.bind_input(self._name, "cpu", 0, rows.dtype.type, rows.shape, rows.ctypes.data)
        binding.bind_output(output.name, "cpu", 0, answers.dtype.type, answers.shape, answers.ctypes.data)
        run = self._session.run_with_iobinding
        return lambda: run(binding)


class LightGBMModel:
    """A model in LightGBM's text format.

    Args:
        text: the model.
    """

    def __init__(self, text: str) -> None:
        import lightgbm

        try:
            self.booster = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as error:
            raise UnreadableModel(f"not a LightGBM model ({error})") from None
        self.n_features_in_ = self.booster.num_feature()

    def predict_proba(self, rows: "Array") -> "Array":
        """Probabilities of the classes, shape (n, classes)."""
        import numpy as np

        found = np.asarray(self.booster.predict(rows))
        return found if found.ndim == 2 else np.column_stack([1 - found, found])


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
    from onnxmltools.convert.common.data_types import FloatTensorType

    inputs = [(_ONNX_INPUT, FloatTensorType([None, features]))]
    package = type(model).__module__.split(".")[0]
    if package == "xgboost":
        from onnxmltools import convert_xgboost

        return bytes(convert_xgboost(model, initial_types=inputs).SerializeToString())
    if package == "lightgbm":
        from onnxmltools import convert_lightgbm

        return bytes(convert_lightgbm(model, initial_types=inputs, zipmap=False).SerializeToString())
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType as SklearnFloatTensorType

    options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
    sklearn_inputs = [(_ONNX_INPUT, SklearnFloatTensorType([None, features]))]
    return bytes(convert_sklearn(model, initial_types=sklearn_inputs, options=options).SerializeToString())


def xgboost_bytes(model: Any) -> bytes:
    """An XGBoost estimator in UBJSON, with what scikit-learn's interface needs.

    Raises:
        InvalidInput: it is not one.
    """
    import tempfile
    from pathlib import Path

    if type(model).__name__ not in _XGBOOST_CLASSES or not type(model).__module__.startswith("xgboost."):
        raise InvalidInput(
            f"{type(model).__name__} is not an XGBoost estimator; allowed: {', '.join(_XGBOOST_CLASSES)}"
        )
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.ubj"
        model.save_model(path)
        return path.read_bytes()


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
    model = getattr(xgboost, name)()
    try:
        model.load_model(bytearray(content))
    except Exception as error:
        raise UnreadableModel(f"not an XGBoost model ({_first_line(error)})") from None
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
