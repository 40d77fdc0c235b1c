"""Compares a model's answers before and after a conversion to another format."""

import io
from typing import Any, cast

from model_store.contract.contract import Contract
from model_store.contract.golden import GoldenRows
from model_store.contract.proving import Claims, answered_more, check_model, prove
from model_store.errors import InvalidInput
from model_store.serialization.formats import SerializationFormat, dump_model, load_model


def conversion_difference(model: Any, target: SerializationFormat) -> float | None:
    """The largest difference between a model's own answers to its golden rows before and after.

    Args:
        model: fitted.
        target: the format to go through.

    Returns:
        The difference; None when the model cannot be asked.

    Raises:
        InvalidInput: the model cannot be converted, or its answers change.
    """
    converted = through(model, target)
    try:
        proven = prove(model, Claims(positive_class=_any_class(model)), form=False)
    except InvalidInput:
        return None
    return require_same(proven.contract, proven.golden, converted, target)[0]


def through(model: Any, target: SerializationFormat) -> Any:
    """Writes a model in a format and reads it again.

    Raises:
        InvalidInput: the format cannot hold it.
    """
    buffer = io.BytesIO()
    dump_model(model, buffer, target)
    buffer.seek(0)
    model_class = f"{type(model).__module__}.{type(model).__qualname__}"
    return load_model(io.BufferedReader(cast("Any", buffer)), target, model_class=model_class)


def require_same(
    contract: Contract, golden: GoldenRows, converted: Any, target: SerializationFormat
) -> tuple[float, GoldenRows]:
    """The largest difference of a converted model's answers to golden rows, and the rows that prove it from now on.

    Rows that the converted model answers and the model does not prove nothing.

    Raises:
        InvalidInput: it answers otherwise than the model.
    """
    try:
        kept = answered_more(contract, golden, converted)
        return check_model(contract, kept, converted), kept
    except InvalidInput as error:
        raise InvalidInput(
            f"conversion to {target} changes the model's answers: {error}; nothing was written"
        ) from None


def _any_class(model: Any) -> Any:
    """A class to compare by, whichever is fraud."""
    import numpy as np

    classes = np.asarray(getattr(model, "classes_", ())).ravel().tolist()
    return classes[-1] if classes else None
