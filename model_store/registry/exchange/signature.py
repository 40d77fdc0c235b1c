"""MLflow's model signature and this project's feature schema, one as the other."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from model_store.errors import UnreadableModel

_KINDS = {
    "double": "number", "float": "number", "long": "integer", "integer": "integer", "boolean": "boolean",
    "string": "text", "datetime": "time",
}  # fmt: skip
_TYPES = {"number": "double", "boolean": "boolean", "text": "string", "time": "datetime"}
_MOST_COLUMNS = 100_000


class _TensorSpec(Struct):
    dtype: str
    shape: list[int]


class _Column(Struct, rename={"tensor_spec": "tensor-spec"}):
    """A column of a signature's `inputs`."""

    type: str
    name: str | int | None = None
    tensor_spec: _TensorSpec | None = None


def features_of_signature(signature: Mapping[str, Any] | None) -> tuple[list[dict[str, Any]] | None, int | None]:
    """What a signature says of a model's inputs.

    Args:
        signature: of an `MLmodel` file: `inputs` is a JSON text.

    Returns:
        The features (`name`, `type`), or None when the signature does not name them; and how many there are, or None
        when it does not say.

    Raises:
        UnreadableModel: it is not a signature, or a column is of a kind that no service takes; names the column.
    """
    inputs = (signature or {}).get("inputs")
    if inputs is None:
        return None, None
    if not isinstance(inputs, str):
        raise UnreadableModel("MLmodel: the signature's inputs are not a text")
    try:
        columns = msgspec.json.decode(inputs.encode(), type=list[_Column])
    except (UnicodeEncodeError, msgspec.MsgspecError, RecursionError) as error:
        raise UnreadableModel(f"MLmodel: the signature's inputs cannot be read ({str(error)[:200]})") from None
    if not columns or len(columns) > _MOST_COLUMNS:
        raise UnreadableModel(f"MLmodel: the signature has {len(columns)} inputs; allowed: 1 to {_MOST_COLUMNS}")
    if columns[0].tensor_spec is not None:
        return None, _table_width(columns)
    kinds = [_feature_kind(column, number) for number, column in enumerate(columns)]
    if any(column.name is None for column in columns):
        return None, len(columns)
    features = [{"name": str(column.name), "type": kind} for column, kind in zip(columns, kinds, strict=True)]
    return features, len(columns)


def _table_width(columns: Sequence[_Column]) -> int | None:
    """The columns of the one table of numbers that a model takes."""
    spec = columns[0].tensor_spec
    if len(columns) > 1 or spec is None or len(spec.shape) != 2:
        raise UnreadableModel("MLmodel: the signature's inputs are tensors; allowed: one table of numbers, or columns")
    return spec.shape[1] if spec.shape[1] > 0 else None


def _feature_kind(column: _Column, number: int) -> str:
    if column.type not in _KINDS:
        name = number if column.name is None else repr(column.name)
        raise UnreadableModel(
            f"MLmodel: the signature's column {name} has the type {column.type[:100]!r}; allowed: {', '.join(_KINDS)}"
        )
    return _KINDS[column.type]


def signature_of_features(features: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The `inputs` of a signature for features of a manifest."""
    return [{"type": _column_type(feature), "name": feature["name"], "required": True} for feature in features]


def signature_of_width(width: int) -> list[dict[str, Any]]:
    """The `inputs` of a signature for a table of numbers without names."""
    return [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, width]}}]


def _column_type(feature: Mapping[str, Any]) -> str:
    kind = feature.get("type", "number")
    if kind == "category":
        categories = feature.get("categories") or ()
        if any(isinstance(each, str) for each in categories):
            return "string"
        whole = all(isinstance(each, int) and not isinstance(each, bool) for each in categories)
        kind = "integer" if whole else "number"
    if kind == "integer":
        # MLflow takes no gap in a column of whole numbers.
        return "long" if feature.get("gaps") is False else "double"
    return _TYPES[kind]
