"""A model in ONNX as others export it: one input of all features or one a feature, labels beside probabilities or not.

skl2onnx writes probabilities as a sequence of maps (zipmap), as one column a class, or as one matrix; onnxmltools one
matrix; PyTorch one output of one or several columns, and often a fixed batch of one row. All answer `predict_proba`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_store.errors import InvalidInput, UnreadableModel
from model_store.serialization.onnx_session import onnx_session

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

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
        self.content = content
        self._session = onnx_session(content, "an ONNX model")
        self._inputs = [_read_input(each) for each in self._session.get_inputs()]
        batch = self._session.get_inputs()[0].shape[:1]
        self._batch = batch[0] if batch and isinstance(batch[0], int) and batch[0] > 0 else None
        self._outputs = _chosen_outputs(self._session.get_outputs())
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
    def feature_kinds(self) -> list[str]:
        """For each feature its type in numpy, such as `float32`, `int64`, `bool` or `object` for texts."""
        return [_NUMPY_TYPES[each.type] for each in self._inputs for _ in range(each.width)]

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

        found = self._session.run(self._outputs, self._feed(rows))
        first = found[0]
        if isinstance(first, list):
            keys = list(first[0])
            return np.array([[each[key] for key in keys] for each in first], dtype=np.float64)
        if len(found) > 1:
            if any(each.size != len(rows) for each in found):
                raise InvalidInput(f"the ONNX model's outputs {', '.join(self._outputs)} are not one column each")
            return np.column_stack([each.reshape(len(rows)) for each in found]).astype(np.float64)
        matrix = np.asarray(first)
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
            elif kind.startswith("int") or kind == "bool":
                values = np.array([[_integer(value, kind, each.name) for value in row] for row in part], dtype=kind)
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
        found = self._session.run(self._outputs, self._feed(self._fill_batch(self._sample())))[0]
        if isinstance(found, list):
            return list(found[0])
        return list(range(shape))

    def _sample(self) -> "Array":
        import numpy as np

        row = np.zeros((1, self.n_features_in_), dtype=object)
        row[:, list(self.text_features)] = ""
        return row

    def _fill_batch(self, rows: "Array") -> "Array":
        import numpy as np

        return rows if self._batch is None else np.repeat(rows, self._batch, axis=0)[: self._batch]


def _integer(value: Any, kind: str, name: str) -> int:
    """A whole number of an input's type.

    Raises:
        ValueError: it is none, or does not fit.
    """
    number = int(value) if isinstance(value, int) else int(float(value))
    low, high = (0, 1) if kind == "bool" else (-(1 << (int(kind[3:]) - 1)), (1 << (int(kind[3:]) - 1)) - 1)
    if number != value or not low <= number <= high:
        raise ValueError(f"input {name} takes whole numbers from {low} to {high}, not {value}")
    return number


def _chosen_outputs(outputs: Sequence[Any]) -> list[str]:
    """The outputs that hold probabilities, by type and name.

    Raises:
        InvalidInput: there are none, or it cannot be told which.
    """
    maps = [each.name for each in outputs if each.type.startswith("seq(map")]
    numbers = [each for each in outputs if each.type in ("tensor(float)", "tensor(double)", "tensor(float16)")]
    if maps:
        return maps[:1]
    named = [each.name for each in numbers if "prob" in each.name.lower()]
    if len(numbers) == 1 or len(named) == 1:
        return named[:1] if len(named) == 1 else [numbers[0].name]
    labels = [each for each in outputs if each not in numbers]
    single = all(not each.shape or len(each.shape) == 1 or each.shape[-1] == 1 for each in numbers)
    if len(numbers) > 1 and single and labels:
        return [each.name for each in numbers]
    names = ", ".join(each.name for each in outputs)
    if not numbers:
        raise InvalidInput(f"the ONNX model's output {names} is a label; export its probabilities too")
    raise InvalidInput(
        f"the ONNX model has the outputs {names}; it cannot be told which are probabilities: export one of them, or "
        "give it a name with 'probabilities'"
    )


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
