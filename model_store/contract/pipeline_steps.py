"""Reads the fitted steps of a scikit-learn pipeline into a column program (`columns`).

Steps that are not exact value by value have no program.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from model_store.contract.columns import GAP, Column, Columns, Table, Value
from model_store.errors import InvalidInput


def read_columns(steps: Sequence[Any], features: int) -> tuple[Columns, bool]:
    """Reads the steps before the last one into a program.

    Args:
        steps: fitted transformers, in order.
        features: how many features the first one takes.

    Returns:
        The program, and whether its last step is given a sparse matrix.

    Raises:
        InvalidInput: a step has no such program; names it.
    """
    parts: list[Column | Table] = [Column(number) for number in range(features)]
    sparse = False
    for step in steps:
        if step is None or step == "passthrough":
            continue
        parts, sparse = _applied(step, parts, sparse)
    return Columns(tuple(parts)), sparse


def _applied(step: Any, parts: list[Column | Table], sparse: bool) -> tuple[list[Column | Table], bool]:
    name = type(step).__name__
    if not type(step).__module__.startswith("sklearn."):
        raise _no_program(step)
    if name == "ColumnTransformer":
        return _column_transformer(step, parts)
    if name == "Pipeline":
        for _, each in step.steps:
            if each is not None and each != "passthrough":
                parts, sparse = _applied(each, parts, sparse)
        return parts, sparse
    if sparse:
        raise InvalidInput(f"{name} on a sparse matrix has no exact optimized form")
    if name in _ENCODERS:
        plain = [_plain(part, step) for part in parts]
        return _ENCODERS[name](step, plain), name == "OneHotEncoder" and bool(step.sparse_output)
    if name in _SCALERS:
        plain = [_plain(part, step, filled=True) for part in parts]
        return [
            Column(part.source, (*part.operations, *more))
            for part, more in zip(plain, _SCALERS[name](step), strict=True)
        ], False
    if name == "FunctionTransformer" and step.func is None:
        return parts, False
    raise _no_program(step)


def _no_program(step: Any) -> InvalidInput:
    return InvalidInput(f"{type(step).__name__} has no exact optimized form")


def _plain(part: Column | Table, step: Any, *, filled: bool = False) -> Column:
    if isinstance(part, Table):
        raise InvalidInput(f"{type(step).__name__} after an encoder has no exact optimized form")
    if not filled and any(name != "fill" for name, _ in part.operations):
        raise InvalidInput(f"{type(step).__name__} after a scaler has no exact optimized form")
    return part


def _column_transformer(step: Any, parts: list[Column | Table]) -> tuple[list[Column | Table], bool]:
    found: list[Column | Table] = []
    for name, transformer, _ in step.transformers_:
        if transformer == "drop":
            continue
        chosen = [parts[number] for number in step._transformer_to_input_indices[name]]
        if not chosen:
            continue
        if transformer == "passthrough":
            found += chosen
        else:
            more, _ = _applied(transformer, chosen, False)
            found += more
    return found, bool(step.sparse_output_)


def _imputer(step: Any) -> list[list[tuple[str, float]]]:
    if step.add_indicator or (step.keep_empty_features is False and any(each != each for each in step.statistics_)):
        raise InvalidInput("SimpleImputer with an indicator or empty features has no exact optimized form")
    missing = step.missing_values
    if missing is not None and not (isinstance(missing, float) and math.isnan(missing)):
        raise InvalidInput(f"SimpleImputer of {missing!r} has no exact optimized form")
    return [[("fill", each)] for each in step.statistics_]


def _impute(step: Any, parts: list[Column]) -> list[Column | Table]:
    return [
        Column(part.source, (*part.operations, *((name, _native(value)) for name, value in more)))
        for part, more in zip(parts, _imputer(step), strict=True)
    ]


def _one_hot(step: Any, parts: list[Column]) -> list[Column | Table]:
    if getattr(step, "_infrequent_enabled", False):
        raise InvalidInput("a one-hot encoder with infrequent categories has no exact optimized form")
    found: list[Column | Table] = []
    for number, (part, categories) in enumerate(zip(parts, step.categories_, strict=True)):
        dropped = None if step.drop_idx_ is None else step.drop_idx_[number]
        kept = [index for index in range(len(categories)) if index != dropped]
        entries = {_key(categories[index]): (column, 1.0) for column, index in enumerate(kept)}
        if dropped is not None:
            # A dropped category is all zeros, which equals a zero in the first column.
            entries[_key(categories[dropped])] = (0, 0.0)
        unknown = None if step.handle_unknown == "ignore" else "own"
        found.append(Table(part.source, len(kept), entries, unknown, _fill_value(part)))
    return found


def _ordinal(step: Any, parts: list[Column]) -> list[Column | Table]:
    if getattr(step, "_infrequent_enabled", False):
        raise InvalidInput("an ordinal encoder with infrequent categories has no exact optimized form")
    found: list[Column | Table] = []
    for part, categories in zip(parts, step.categories_, strict=True):
        entries = {_key(category): (0, float(code)) for code, category in enumerate(categories)}
        if GAP in entries:
            entries[GAP] = (0, float(step.encoded_missing_value))
        known = step.handle_unknown == "use_encoded_value"
        found.append(
            Table(part.source, 1, entries, (0, float(step.unknown_value)) if known else "own", _fill_value(part))
        )
    return found


def _target(step: Any, parts: list[Column]) -> list[Column | Table]:
    if step.target_type_ == "multiclass":
        raise InvalidInput("a target encoder of several classes has no exact optimized form")
    return [
        Table(
            part.source, 1,
            {_key(category): (0, float(code)) for category, code in zip(categories, codes, strict=True)},
            (0, float(step.target_mean_)), _fill_value(part),
        )
        for part, categories, codes in zip(parts, step.categories_, step.encodings_, strict=True)
    ]  # fmt: skip


def _fill_value(part: Column) -> Value:
    return part.operations[-1][1] if part.operations else None


def _key(category: Any) -> Any:
    value = _native(category)
    return GAP if value is None or value != value else value


def _native(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _standard(step: Any) -> list[list[tuple[str, float]]]:
    means = step.mean_ if step.with_mean else None
    scales = step.scale_ if step.with_std else None
    return _pairs(step.n_features_in_, ("subtract", means), ("divide", scales))


def _min_max(step: Any) -> list[list[tuple[str, float]]]:
    if step.clip:
        raise InvalidInput("MinMaxScaler with clipping has no exact optimized form")
    return _pairs(step.n_features_in_, ("multiply", step.scale_), ("add", step.min_))


def _robust(step: Any) -> list[list[tuple[str, float]]]:
    centers = step.center_ if step.with_centering else None
    scales = step.scale_ if step.with_scaling else None
    return _pairs(step.n_features_in_, ("subtract", centers), ("divide", scales))


def _max_abs(step: Any) -> list[list[tuple[str, float]]]:
    return _pairs(step.n_features_in_, ("divide", step.scale_))


def _pairs(width: int, *operations: tuple[str, Any]) -> list[list[tuple[str, float]]]:
    return [
        [(name, float(values[number])) for name, values in operations if values is not None] for number in range(width)
    ]


_SCALERS = {
    "StandardScaler": _standard,
    "MinMaxScaler": _min_max,
    "RobustScaler": _robust,
    "MaxAbsScaler": _max_abs,
}
_ENCODERS = {
    "SimpleImputer": _impute,
    "OneHotEncoder": _one_hot,
    "OrdinalEncoder": _ordinal,
    "TargetEncoder": _target,
}
