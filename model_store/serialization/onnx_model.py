"""A model in ONNX as others export it: one input of all features or one a feature, labels beside probabilities or not.

skl2onnx writes probabilities as a sequence of maps (zipmap), as one column a class, or as one matrix; onnxmltools one
matrix; PyTorch one output of one or several columns, and often a fixed batch of one row. All answer `predict_proba`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_store.errors import InvalidInput, UnreadableModel

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

# ONNX Runtime reports its use to its maker, and leaves a file for that, unless it is told not to before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_ERRORS_ONLY = 3
_NUMPY_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}


@dataclass(frozen=True)
class _Input:
    name: str
    type: str
    width: int
    flat: bool
    """Whether it takes one value a row, shape (n), instead of a matrix."""


class OnnxModel:
    """A model in ONNX, run by ONNX Runtime on one thread.

    Args:
        content: the model's bytes.

    Raises:
        UnreadableModel: they are not an ONNX model that takes rows of features.
    """

    __module__ = "model_store.native_models"  # the name that manifests know the class by

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.content = content
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise UnreadableModel(f"not an ONNX model ({type(error).__name__})") from None
        self._inputs = [_read_input(each) for each in self._session.get_inputs()]
        batch = self._session.get_inputs()[0].shape[:1]
        self._batch = batch[0] if batch and isinstance(batch[0], int) and batch[0] > 0 else None
        self._outputs = [each.name for each in self._session.get_outputs()]
        self.n_features_in_ = sum(each.width for each in self._inputs)
        self._classes: list[Any] | None = None

    @property
    def feature_names(self) -> list[str] | None:
        """The inputs' names, where each feature has an input of its own."""
        if len(self._inputs) == 1 and self._inputs[0].width > 1:
            return None
        names: list[str] = []
        for each in self._inputs:
            names += [each.name] if each.width == 1 else [f"{each.name}_{number}" for number in range(each.width)]
        return names if len(self._inputs) > 1 else None

    @property
    def text_features(self) -> tuple[int, ...]:
        """The numbers of the features that are texts."""
        found, start = [], 0
        for each in self._inputs:
            if each.type == "tensor(string)":
                found += list(range(start, start + each.width))
            start += each.width
        return tuple(found)

    @property
    def classes_(self) -> "Array":
        """The classes, as the graph labels them; 0, 1, 2… where it does not.

        Raises:
            InvalidInput: the model returns no probabilities.
        """
        import numpy as np

        if self._classes is None:
            self._classes = self._find_classes()
        return np.asarray(self._classes)

    def predict_proba(self, rows: "Array") -> "Array":
        """Probabilities of the classes, shape (n, classes).

        Args:
            rows: shape (n, features), numbers or objects; cut to the precision that the model takes.

        Raises:
            InvalidInput: the model returns something else than probabilities.
        """
        import numpy as np

        rows = np.asarray(rows)
        if self._batch is None:
            return self._answer(rows)
        pieces = []
        for start in range(0, len(rows), self._batch):
            part = rows[start : start + self._batch]
            missing = self._batch - len(part)
            whole = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
            pieces.append(self._answer(whole)[: len(part)])
        return np.concatenate(pieces)

    def _answer(self, rows: "Array") -> "Array":
        import numpy as np

        found = self._session.run(None, self._feed(rows))
        first = found[-1]
        if isinstance(first, list):
            keys = list(first[0])
            return np.array([[each[key] for key in keys] for each in first], dtype=np.float64)
        columns = [each for each in found[1:] if isinstance(each, np.ndarray) and each.size == len(rows)]
        if len(found) > 2 and len(columns) == len(found) - 1:
            return np.column_stack([each.reshape(len(rows)) for each in columns]).astype(np.float64)
        matrix = np.asarray(first)
        if matrix.dtype.kind not in "f":
            raise InvalidInput(
                f"the ONNX model's output {self._outputs[-1]!r} is a label; export its probabilities too"
            )
        matrix = matrix.reshape(len(rows), -1).astype(np.float64)
        return np.column_stack([1 - matrix[:, 0], matrix[:, 0]]) if matrix.shape[1] == 1 else matrix

    def _feed(self, rows: "Array") -> dict[str, "Array"]:
        import numpy as np

        fed, start = {}, 0
        for each in self._inputs:
            part = rows[:, start : start + each.width]
            start += each.width
            kind = _NUMPY_TYPES[each.type]
            if kind == "object":
                values = np.array(
                    [["" if value is None else str(value) for value in row] for row in part], dtype=object
                )
            else:
                with np.errstate(over="ignore", invalid="ignore"):
                    values = np.ascontiguousarray(part.astype(np.float64).astype(kind))
            fed[each.name] = values.reshape(-1) if each.flat else values
        return fed

    def _find_classes(self) -> list[Any]:
        labels = _labels(self.content)
        shape = self.predict_proba(self._sample()).shape[1]
        if labels is not None and len(labels) == shape:
            return labels
        found = self._session.run(None, self._feed(self._whole(self._sample())))[-1]
        if isinstance(found, list):
            return list(found[0])
        return list(range(shape))

    def _sample(self) -> "Array":
        import numpy as np

        row = np.zeros((1, self.n_features_in_), dtype=object)
        row[:, list(self.text_features)] = ""
        return row

    def _whole(self, rows: "Array") -> "Array":
        import numpy as np

        return rows if self._batch is None else np.repeat(rows, self._batch, axis=0)[: self._batch]


def _read_input(value: Any) -> _Input:
    if value.type not in _NUMPY_TYPES or len(value.shape) not in (1, 2):
        raise UnreadableModel(f"the ONNX model's input {value.name!r} is {value.type} of {len(value.shape)} dimensions")
    width = value.shape[1] if len(value.shape) == 2 else 1
    if not isinstance(width, int):
        raise UnreadableModel(f"the ONNX model's input {value.name!r} does not say how many features it takes")
    return _Input(value.name, value.type, width, len(value.shape) == 1)


def _labels(content: bytes) -> list[Any] | None:
    """The labels of the classifier in the graph; None where there are none, or nothing to read them with."""
    try:
        import onnx
    except ImportError:
        return None
    for node in onnx.load_from_string(content).graph.node:
        for attribute in node.attribute:
            if attribute.name in ("classlabels_strings", "classlabels_ints", "classlabels_int64s", "classlabels"):
                values: Sequence[Any] = attribute.strings or attribute.ints
                if values:
                    return [value.decode() if isinstance(value, bytes) else int(value) for value in values]
    return None
