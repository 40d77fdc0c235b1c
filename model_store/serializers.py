"""Turns a model into bytes and back: joblib and pickle, both read through the allow-list."""

import importlib.util
import io
import pickle
from collections.abc import Collection
from enum import StrEnum
from functools import cache
from typing import Any, BinaryIO

from model_store.errors import ModelStoreError, TrailingData, UnreadableModel
from model_store.trust import load_joblib, load_pickle


class SerializationFormat(StrEnum):
    """How a model becomes bytes."""

    JOBLIB = "joblib"
    PICKLE = "pickle"


@cache
def _plain_numpy_pickler() -> Any:
    """Joblib's pickler with the standard library's own rules.

    Importing dill, as Pulumi's SDK does, teaches every pickler written in Python to name dill's functions, which no
    allow-list should trust. The rules are therefore taken from a copy of the standard module that nobody has changed.
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


def dump_model(model: Any, target: BinaryIO, serializer: SerializationFormat) -> None:
    """Writes a model's bytes, in pieces."""
    if serializer is SerializationFormat.JOBLIB:
        _plain_numpy_pickler()(target).dump(model)
    else:
        pickle.dump(model, target, protocol=pickle.HIGHEST_PROTOCOL)


def load_model(source: io.BufferedReader, serializer: SerializationFormat, trusted: Collection[str] = ()) -> Any:
    """Reads a model's bytes, to the last one.

    Args:
        source: authenticated bytes.
        serializer: how they were written.
        trusted: full names that are allowed beside the allow-list.

    Raises:
        UntrustedType: the bytes name something that is not trusted.
        TrailingData: something follows the model.
        UnreadableModel: the bytes do not make a model.
    """
    load = load_joblib if serializer is SerializationFormat.JOBLIB else load_pickle
    try:
        model = load(source, trusted)
        rest = source.read(1)
    except ModelStoreError:
        raise
    except Exception as error:
        raise UnreadableModel(f"the model cannot be read ({type(error).__name__}: {error})") from None
    if rest:
        raise TrailingData("there are bytes after the end of the model")
    return model
