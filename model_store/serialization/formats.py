"""Turns a model into bytes and back.

`joblib` and `pickle` hold any object and are read through the allow-list. `skops` names its types, which go through the
same list. `onnx`, `xgboost` and `lightgbm` hold numbers and structure only, no code. `data` is plain bytes.
"""

import importlib.util
import io
import pickle
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, BinaryIO, cast

from model_store.errors import InvalidInput, ModelStoreError, SizeLimit, TrailingData, UnreadableModel
from model_store.serialization import native_models
from model_store.serialization.trust import load_pickle, load_skops

_COPIED_BYTES = 1 << 20


class SerializationFormat(StrEnum):
    """Format of a serialized model."""

    JOBLIB = "joblib"
    PICKLE = "pickle"
    SKOPS = "skops"
    ONNX = "onnx"
    XGBOOST = "xgboost"
    LIGHTGBM = "lightgbm"
    DATA = "data"
    """Plain bytes: golden rows and optimized forms."""


@dataclass(frozen=True)
class SerializedModel:
    """A serialized model, read by another process.

    Attributes:
        content: its bytes, a file at any place.
        serializer: how they were written.
        model_class: full name of the model's class.
    """

    content: BinaryIO
    serializer: SerializationFormat
    model_class: str


def serializer_named(value: SerializationFormat | str) -> SerializationFormat:
    """The format of a name.

    Raises:
        InvalidInput: there is none; lists those there are.
    """
    try:
        return SerializationFormat(value)
    except ValueError:
        raise InvalidInput(f"format {value!r} is not allowed; allowed: {', '.join(SerializationFormat)}") from None


def native_format(model: Any) -> SerializationFormat | None:
    """The only format of a model that was loaded from a library's own file; None for estimators."""
    if isinstance(model, native_models.OnnxModel):
        return SerializationFormat.ONNX
    return SerializationFormat.LIGHTGBM if isinstance(model, native_models.LightGBMModel) else None


def dump_model(model: Any, target: BinaryIO, serializer: SerializationFormat) -> None:
    """Writes a model's bytes, in pieces where the format allows it.

    Raises:
        InvalidInput: the format cannot hold this model.
    """
    if isinstance(model, SerializedModel):
        if model.serializer is not serializer:
            raise InvalidInput(f"the model is {model.serializer} already; it cannot become {serializer}")
        model.content.seek(0)
        shutil.copyfileobj(model.content, target, _COPIED_BYTES)
    elif serializer is SerializationFormat.JOBLIB:
        _plain_numpy_pickler()(target).dump(model)
    elif serializer is SerializationFormat.PICKLE:
        pickle.dump(model, target, protocol=pickle.HIGHEST_PROTOCOL)
    elif serializer is SerializationFormat.SKOPS:
        target.write(native_models.skops_bytes(model))
    elif serializer is SerializationFormat.DATA:
        target.write(model)
    elif serializer is SerializationFormat.ONNX:
        target.write(native_models.onnx_bytes(model))
    elif serializer is SerializationFormat.XGBOOST:
        target.write(native_models.xgboost_bytes(model))
    else:
        target.write(native_models.lightgbm_bytes(model))


def load_model(
    source: io.BufferedReader,
    serializer: SerializationFormat,
    trusted: Collection[str] = (),
    model_class: str = "",
    *,
    versions: dict[str, str] | None = None,
) -> Any:
    """Reads a model's bytes, to the last one.

    Args:
        source: authenticated bytes.
        serializer: how they were written.
        trusted: full names that are allowed beside the allow-list.
        model_class: full name of the model's class, which XGBoost's own format needs.
        versions: gets library → version that wrote its part of the bytes, as that part says.

    Raises:
        UntrustedType: the bytes name something that is not trusted.
        TrailingData: something follows the model.
        SizeLimit: it needs more memory than there is.
        UnreadableModel: the bytes do not make a model.
    """
    try:
        model = _load(source, serializer, trusted, model_class, versions)
        rest = source.read(1)
    except ModelStoreError:
        raise
    except MemoryError:
        raise SizeLimit("the model needs more memory than there is") from None
    except Exception as error:
        raise UnreadableModel(f"the model cannot be read ({type(error).__name__}: {error})") from None
    if rest:
        raise TrailingData("there are bytes after the end of the model")
    return model


def _load(
    source: io.BufferedReader,
    serializer: SerializationFormat,
    trusted: Collection[str],
    model_class: str,
    versions: dict[str, str] | None,
) -> Any:
    if serializer in (SerializationFormat.JOBLIB, SerializationFormat.PICKLE):
        return load_pickle(cast("BinaryIO", source), trusted, versions=versions)
    content = source.read()
    if serializer is SerializationFormat.DATA:
        return content
    if serializer is SerializationFormat.SKOPS:
        return load_skops(content, trusted, versions=versions)
    if serializer is SerializationFormat.ONNX:
        return native_models.OnnxModel(content)
    if serializer is SerializationFormat.XGBOOST:
        return native_models.load_xgboost(content, model_class)
    return native_models.LightGBMModel(content.decode("utf-8"))


@cache
def _plain_numpy_pickler() -> Any:
    """Joblib's pickler with the standard library's own rules.

    Importing dill, as Pulumi's SDK does, teaches every pickler written in Python to name dill's functions, which no
    allow-list should trust. The rules are therefore taken from an unchanged copy of the standard module.
    """
    from joblib.numpy_pickle import NumpyPickler

    specification = importlib.util.find_spec("pickle")
    assert specification is not None  # noqa: S101 - the standard library has it
    assert specification.loader is not None  # noqa: S101
    unchanged = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(unchanged)

    class PlainNumpyPickler(NumpyPickler):  # type: ignore[misc]
        dispatch = unchanged._Pickler.dispatch.copy()

    return PlainNumpyPickler
