"""A way to abuse a file that is not a pickle, and what the ways of all formats share."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from model_store.serialization.formats import SerializationFormat, dump_model

Document = dict[str, Any]


@dataclass(frozen=True)
class FileMechanism:
    """One way.

    Attributes:
        name: of the way.
        suffix: of the file.
        rule: that refuses it; empty where the file is not one of its format at all.
        bad: the file.
        good: a file that loads.
    """

    name: str
    suffix: str
    rule: str
    bad: Callable[[], bytes]
    good: Callable[[], bytes]


SERIALIZERS = {
    ".skops": SerializationFormat.SKOPS,
    ".onnx": SerializationFormat.ONNX,
    ".json": SerializationFormat.XGBOOST,
    ".ubj": SerializationFormat.XGBOOST,
    ".txt": SerializationFormat.LIGHTGBM,
}


@cache
def data() -> tuple[Any, Any]:
    rows = np.random.default_rng(0).normal(size=(200, 3))
    return rows, (rows[:, 0] + rows[:, 1] > 0).astype(int)


def written(model: Any, serializer: SerializationFormat) -> bytes:
    file = io.BytesIO()
    dump_model(model, file, serializer)
    return file.getvalue()
