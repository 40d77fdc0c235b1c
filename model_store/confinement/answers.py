"""Checks a child's answer again in this process; the child is not trusted."""

import io
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from model_store.confinement.jobs import FORM, GOLDEN, MODEL
from model_store.confinement.opening import Answer
from model_store.contract.preparing import Prepared
from model_store.errors import ModelStoreError, OpeningFailed
from model_store.serialization.formats import SerializationFormat, SerializedModel

if TYPE_CHECKING:
    from model_store.contract.proving import Proven

_FULL_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_MOST_TEXT = 1000


def read_prepared(answer: Answer, trusted: Collection[str] = ()) -> Prepared:
    """Reads a child's answer to the job `register`; checks every part of it.

    Raises:
        UntrustedType, StructureRefused: the model's bytes are not what the rules allow.
        OpeningFailed: the answer is malformed.
    """
    try:
        return _prepared(answer, trusted)
    except ModelStoreError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError):
        raise garbled() from None


def _prepared(answer: Answer, trusted: Collection[str]) -> Prepared:
    values = answer.values
    serializer = SerializationFormat(values["serializer"])
    parameters, versions = values["parameters"], values["versions"]
    if not isinstance(parameters, dict) or not all(
        value is None or isinstance(value, str | int | float | bool) for value in parameters.values()
    ):
        raise garbled()
    if not are_texts(list(versions)) or not are_texts(list(versions.values())):
        raise garbled()
    schema = values["feature_schema"]
    if not isinstance(schema, list) or not all(isinstance(each, dict) for each in schema):
        raise garbled()
    return Prepared(
        model=serialized_model(answer, serializer, trusted),
        model_type=str(values["model_type"]),
        serializer=serializer,
        proven=_proven(answer, schema),
        metrics={str(name): float(value) for name, value in values["metrics"].items()},
        feature_schema=schema,
        parameters=parameters,
        versions=versions,
    )


def serialized_model(answer: Answer, serializer: SerializationFormat, trusted: Collection[str] = ()) -> SerializedModel:
    """Checks and returns the model's bytes.

    Raises:
        UntrustedType, StructureRefused, UnreadableModel: they are not what the rules allow.
        OpeningFailed: the answer is malformed.
    """
    model_class, payload = answer.values.get("model_class"), answer.parts.get(MODEL)
    if not isinstance(model_class, str) or not _FULL_NAME.fullmatch(model_class) or payload is None:
        raise garbled()
    require_payload(payload, serializer, trusted)
    return SerializedModel(payload, serializer, model_class)


def require_payload(payload: BinaryIO, serializer: SerializationFormat, trusted: Collection[str] = ()) -> None:
    """Raises StructureRefused unless the rules allow a model's bytes; makes no object of them.

    Raises:
        UntrustedType, StructureRefused, UnreadableModel: they are not.
    """
    from model_store.serialization.inspection import inspect_content
    from model_store.serialization.trust import require_inspected

    payload.seek(0)
    reader = io.BufferedReader(cast("Any", payload))
    try:
        require_inspected(inspect_content(reader, serializer, trusted), trusted)
    finally:
        reader.detach()
    payload.seek(0)


def _proven(answer: Answer, schema: list[dict[str, Any]]) -> "Proven | None":
    from model_store.contract.contract import Contract
    from model_store.contract.form import Form
    from model_store.contract.golden import GoldenRows
    from model_store.contract.proving import Proven

    told = answer.values["proven"]
    if told is None:
        return None
    form = Form.from_bytes(answer.parts[FORM].read()) if FORM in answer.parts else None
    return Proven(
        Contract.from_dict(told["contract"], schema),
        GoldenRows.from_bytes(answer.parts[GOLDEN].read()),
        form,
        str(told["reason"])[:_MOST_TEXT],
        float(told["largest_difference"]),
    )


def are_texts(values: Any) -> bool:
    """Whether it is a list of texts."""
    return isinstance(values, list) and all(isinstance(each, str) for each in values)


def garbled() -> OpeningFailed:
    """The error for a malformed answer."""
    return OpeningFailed("the process that read it returned a malformed answer")
