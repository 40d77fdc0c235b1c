"""Does a model still predict the same after it was turned into another format?"""

import io
from typing import Any, cast

from model_store.errors import InvalidInput
from model_store.serializers import SerializationFormat, dump_model, load_model

TOLERANCE = 1e-5
"""How far a predicted probability may move; ONNX and native runtimes sum 32-bit numbers in another order."""
_SAMPLE_ROWS = 256


def conversion_difference(model: Any, target: SerializationFormat) -> float | None:
    """The largest difference between predictions before and after.

    Args:
        model: predicts probabilities, or nothing.
        target: the format to go through.

    Returns:
        The difference; None when the model makes no predictions.

    Raises:
        InvalidInput: the model cannot be converted, or the difference is above 1e-5.
    """
    buffer = io.BytesIO()
    dump_model(model, buffer, target)
    buffer.seek(0)
    model_class = f"{type(model).__module__}.{type(model).__qualname__}"
    converted = load_model(io.BufferedReader(cast("Any", buffer)), target, model_class=model_class)
    features = getattr(model, "n_features_in_", None)
    if not isinstance(features, int) or not hasattr(model, "predict_proba") or not hasattr(converted, "predict_proba"):
        return None
    import numpy as np

    rows = np.random.default_rng(0).normal(scale=3, size=(_SAMPLE_ROWS, features)).astype(np.float32)
    difference = float(np.max(np.abs(model.predict_proba(rows) - converted.predict_proba(rows))))
    if not difference <= TOLERANCE:
        raise InvalidInput(f"after conversion to {target} predictions differ by {difference:.2g}; nothing was written")
    return difference
