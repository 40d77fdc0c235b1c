"""A second form of a model that answers many times as fast: ONNX, made and checked when the model is registered.

It lies beside the artifact, in an artifact file of its own that is bound to the same model version; the manifest has
its digest, so what signs the manifest signs it too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_store.errors import InvalidInput, ModelStoreError

if TYPE_CHECKING:
    import numpy as np

    from model_store.native_models import OnnxModel

FILE = "runtime"
"""Its name in a model version's place."""
TOLERANCE = 1e-5
"""How far a probability may differ between both forms: ONNX Runtime sums 32-bit numbers in another order."""
MAX_MODEL_BYTES = 64 << 20
"""Of the serialized model; larger ones take minutes to convert, and come near the limit of the format (2 GB)."""
_SAMPLE_ROWS = 512


@dataclass(frozen=True)
class RuntimeForm:
    """A model in ONNX, and how well it agrees with the model that it was made from."""

    model: "OnnxModel"
    largest_difference: float
    """Between probabilities, over the sample."""

    def described(self) -> dict[str, Any]:
        """What the manifest says of it, beside its digest and size."""
        return {
            "format": "onnx",
            "largest_difference": self.largest_difference,
            "tolerance": TOLERANCE,
            "sample_rows": _SAMPLE_ROWS,
        }


def runtime_form(model: Any, feature_schema: Sequence[Mapping[str, Any]], model_bytes: int) -> RuntimeForm:
    """Converts a model, and compares both forms on rows drawn from its feature schema.

    Args:
        model: predicts probabilities.
        feature_schema: of the manifest; where a feature has bins, rows are drawn from their range and beyond.
        model_bytes: its serialized size.

    Raises:
        InvalidInput: there is no such form; says why.
    """
    from model_store.native_models import OnnxModel, onnx_bytes

    if isinstance(model, OnnxModel):
        raise InvalidInput("the artifact itself is ONNX")
    if not hasattr(model, "predict_proba"):
        raise InvalidInput(f"{type(model).__name__} gives no probabilities")
    if model_bytes > MAX_MODEL_BYTES:
        raise InvalidInput(f"the model has {model_bytes} bytes, converted are at most {MAX_MODEL_BYTES}")
    try:
        converted = OnnxModel(onnx_bytes(model))
        rows = sample_rows(feature_schema, int(model.n_features_in_))
        difference = largest_difference(model, converted, rows)
    except ModelStoreError:
        raise
    except Exception as error:
        raise InvalidInput(f"{type(model).__name__} cannot be compared ({type(error).__name__}: {error})") from None
    if not difference <= TOLERANCE:
        raise InvalidInput(f"in ONNX its probabilities differ by {difference:.2g}, allowed are {TOLERANCE:g}")
    return RuntimeForm(converted, difference)


def largest_difference(model: Any, other: Any, rows: "np.ndarray[Any, Any]") -> float:
    """The largest difference between two models' probabilities of the last class."""
    import numpy as np

    return float(np.max(np.abs(np.asarray(model.predict_proba(rows))[:, -1] - other.predict_proba(rows)[:, -1])))


def sample_rows(feature_schema: Sequence[Mapping[str, Any]], features: int) -> "np.ndarray[Any, Any]":
    """Rows to compare on, shape (512, features), 32-bit."""
    import numpy as np

    random = np.random.default_rng(0)
    columns = []
    for number in range(features):
        feature = feature_schema[number] if number < len(feature_schema) else {}
        edges = (feature.get("bins") or {}).get("edges") or ()
        if edges:
            low, high = float(edges[0]), float(edges[-1])
            spread = (high - low) or abs(high) or 1.0
            columns.append(random.uniform(low - spread / 4, high + spread / 4, _SAMPLE_ROWS))
        else:
            columns.append(random.normal(scale=3, size=_SAMPLE_ROWS))
    return np.column_stack(columns).astype(np.float32)
