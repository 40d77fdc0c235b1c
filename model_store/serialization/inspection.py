"""Inspects a model's bytes: the names they hold and the rule that refuses them; makes no object, imports no library."""

import io
from collections.abc import Callable, Collection
from typing import Any

from model_store.errors import ModelStoreError
from model_store.serialization.formats import SerializationFormat
from model_store.serialization.structure.boosters import require_lightgbm, require_xgboost, xgboost_document
from model_store.serialization.structure.onnx_graph import require_onnx
from model_store.serialization.structure.skops_schema import inspect_skops
from model_store.serialization.trust import inspect_pickle


def inspect_content(
    file: io.BufferedReader, serializer: SerializationFormat, trusted: Collection[str] = ()
) -> dict[str, Any]:
    """Inspects a model.

    Args:
        file: the model, decompressed.
        serializer: how it is written.
        trusted: full names that the caller allows beside the rules.

    Returns:
        `named` all full names, or the operators of an ONNX graph; `untrusted` those without a rule; `refused` the rule
        that is broken, where and what was seen (`rule`, `name`, `position`, `message`), or None.

    Raises:
        UnreadableModel: it is not of this format at all.
    """
    if serializer in (SerializationFormat.JOBLIB, SerializationFormat.PICKLE):
        return inspect_pickle(file, trusted)
    if serializer is SerializationFormat.SKOPS:
        return inspect_skops(file.read(), trusted)
    look = _NATIVE.get(serializer)
    if look is None:
        return {"named": [], "untrusted": [], "refused": None}
    try:
        return {"named": look(file.read()), "untrusted": [], "refused": None}
    except ModelStoreError:
        raise
    except (ValueError, RecursionError, OverflowError) as error:
        refused = {"rule": str(serializer), "name": "", "position": "", "message": str(error)}
        return {"named": [], "untrusted": [], "refused": refused}


def _look_at_xgboost(content: bytes) -> list[str]:
    require_xgboost(xgboost_document(content))
    return []


def _look_at_lightgbm(content: bytes) -> list[str]:
    require_lightgbm(content.decode("utf-8"))
    return []


_NATIVE: dict[SerializationFormat, Callable[[bytes], list[str]]] = {
    SerializationFormat.ONNX: require_onnx,
    SerializationFormat.XGBOOST: _look_at_xgboost,
    SerializationFormat.LIGHTGBM: _look_at_lightgbm,
}
