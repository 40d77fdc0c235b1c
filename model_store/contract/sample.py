"""Completes a contract from training rows (kinds, ranges, gaps, bins for drift); calculates metrics from held-out rows.

Only counts are stored: a column's deciles and the categories that the model knows; never a row.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model_store.contract.bins import category_bins, number_bins
from model_store.contract.contract import Contract
from model_store.contract.features import Feature, Kind
from model_store.contract.labels import same_label
from model_store.contract.own import RowRefused, gap_value, is_fraud, is_gap
from model_store.contract.table_rows import GAPS
from model_store.errors import FileMissing, InvalidInput

MOST_ROWS = 200_000
"""Maximum rows that are read of a sample."""
_MOST_CATEGORIES = 1000


def read_table(path: Path, features: Sequence[Feature] = ()) -> Any:
    """A CSV or Parquet file as a data frame, at most 200,000 rows of it.

    Args:
        path: the file.
        features: those that are texts are read as such from a CSV file, digits or not.

    Raises:
        FileMissing: there is no such file.
        InvalidInput: it is of another kind, or holds no rows.
    """
    import pandas

    if not path.is_file():
        raise FileMissing(f"{path}: there is no such file")
    suffixes = [each.lower() for each in path.suffixes]
    parquet = ".parquet" in suffixes or ".pq" in suffixes
    if not parquet and ".csv" not in suffixes:
        raise InvalidInput(f"{path}: not a table; allowed: .csv and .parquet files")
    try:
        frame = pandas.read_parquet(path).head(MOST_ROWS) if parquet else _read_csv(path, features)
    except Exception as error:
        raise InvalidInput(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})") from None
    if not len(frame):
        raise InvalidInput(f"{path}: holds no rows")
    return frame


def _read_csv(path: Path, features: Sequence[Feature]) -> Any:
    import pandas

    texts = {each.name: "str" for each in features if _is_text(each)}
    names = [str(each) for each in pandas.read_csv(path, nrows=0).columns]
    # A text that the model knows as a category is one, though pandas reads it as a gap: NA is a country.
    known = {each.name: {text for text in each.categories if isinstance(text, str)} for each in features}
    gaps = {name: sorted(GAPS - known.get(name, set())) for name in names}
    return pandas.read_csv(path, nrows=MOST_ROWS, dtype=texts, keep_default_na=False, na_values=gaps)


def _is_text(feature: Feature) -> bool:
    if any(isinstance(each, bool) for each in feature.categories):
        return False
    return feature.kind == "text" or (bool(feature.categories) and not feature.is_numeric)


def training_table(path: Path | None) -> Path | None:
    """The file of training data, where it is a table that can be read as a sample; None for files of other kinds."""
    if path is None or not path.is_file() or not {".csv", ".parquet"} & {each.lower() for each in path.suffixes}:
        return None
    return path


def with_sample(contract: Contract, path: Path, *, underscored: bool = False) -> Contract:
    """Completes a contract from training rows.

    Args:
        contract: of the model.
        path: the file of training rows.
        underscored: whether the model has written underscores for spaces in its names, as LightGBM does.

    Raises:
        FileMissing, InvalidInput: as for `read_table`; or the table lacks a feature; names it.
    """
    table = read_table(path, contract.features)
    if underscored:
        contract = _with_own_names(contract, [str(each) for each in table.columns])
    frame = _columns(contract, table, path)
    features = [_with_column(each, frame[each.name], path) for each in contract.features]
    return replace(contract, features=tuple(features))


def read_rows(contract: Contract, frame: Any) -> list[tuple[Any, ...]]:
    """A data frame's rows as the model takes them."""
    columns = [_values(feature, frame[feature.name]) for feature in contract.features]
    return list(zip(*columns, strict=True))


def sample_rows(contract: Contract, path: Path, most: int) -> list[tuple[Any, ...]]:
    """Some rows of a sample, for counts over rows; no row is stored."""
    frame = _columns(contract, read_table(path, contract.features), path)
    return read_rows(contract, frame.sample(min(most, len(frame)), random_state=0))


def holdout_metrics(contract: Contract, model: Any, path: Path, label: str) -> dict[str, float]:
    """Metrics of a model on labelled rows that it was not trained on, at the contract's threshold.

    Raises:
        FileMissing, InvalidInput: as for `read_table`; or there is no such label, or it has one class only.
    """
    from sklearn import metrics

    frame = read_table(path, contract.features)
    if label not in frame.columns:
        raise InvalidInput(f"{path}: has no column {label!r}; it has: {', '.join(map(str, frame.columns))}"[:300])
    truth = _are_fraud(contract, frame[label], path)
    try:
        rows = read_rows(contract, _columns(contract, frame, path))
        scores = contract.own(model).decided_scores(rows)
    except RowRefused as error:
        raise InvalidInput(f"{path}: the model does not answer these rows: {error}") from None
    decisions = [is_fraud(score, contract.threshold) for score in scores]
    by_class = metrics.precision_recall_fscore_support(truth, decisions, average="binary", zero_division=0)[:3]
    found = {
        "accuracy": metrics.accuracy_score(truth, decisions),
        **dict(zip(("precision", "recall", "f1"), by_class, strict=True)),
        "roc_auc": metrics.roc_auc_score(truth, scores),
        "average_precision": metrics.average_precision_score(truth, scores),
    }
    return {name: round(float(value), 6) for name, value in found.items()}


def _are_fraud(contract: Contract, labels: Any, path: Path) -> "np.ndarray[Any, Any]":
    """Whether each row is fraud, by its label.

    Raises:
        InvalidInput: a row has no label or one that is not a class of the model, or all rows are of one class.
    """
    missing = int(labels.isna().sum())
    if missing:
        raise InvalidInput(f"{path}: {missing} of {len(labels)} rows have no {labels.name}; label them or remove them")
    detector = contract.output == "anomaly_score"
    positive = 1 if detector else contract.positive_class
    classes = (0, 1, -1) if detector else contract.classes
    truth = np.zeros(len(labels), dtype=bool)
    for found in labels.unique():
        is_fraud_label = same_label(found, positive)
        if not is_fraud_label and not any(same_label(found, each) for each in classes):
            allowed = ", ".join(str(each) for each in (classes[:2] if detector else classes))
            raise InvalidInput(f"{path}: {labels.name} is {found!s} in a row; the model's classes are {allowed}"[:300])
        truth |= np.asarray(labels == found) & is_fraud_label
    if truth.all() or not truth.any():
        raise InvalidInput(
            f"{path}: {labels.name} is {'always' if truth.all() else 'never'} {positive}; both are needed"
        )
    return truth


def _with_own_names(contract: Contract, columns: Sequence[str]) -> Contract:
    """The contract with the table's names where LightGBM has written an underscore for each space in them."""
    features = list(contract.features)
    for number, feature in enumerate(features):
        found = [name for name in columns if name != feature.name and name.replace(" ", "_") == feature.name]
        if feature.name not in columns and len(found) == 1:
            features[number] = replace(feature, name=found[0])
    return replace(contract, features=tuple(features))


def _columns(contract: Contract, frame: Any, path: Path) -> Any:
    names = [feature.name for feature in contract.features]
    missing = [name for name in names if name not in frame.columns]
    if not missing:
        return frame[names]
    # A model that does not name its features takes the table's columns in their order.
    if not contract.framed and len(frame.columns) == len(names) and len(missing) == len(names):
        return frame.set_axis(names, axis=1)
    raise InvalidInput(f"{path}: has no column {missing[0]!r}, which the model takes")


def _with_column(feature: Feature, column: Any, path: Path) -> Feature:
    import pandas

    kind, dtype = _detect_kind(feature, column, path)
    changes: dict[str, Any] = {"dtype": dtype} if dtype else {}
    gaps = bool(column.isna().any())
    if kind in ("number", "integer", "category") and pandas.api.types.is_numeric_dtype(column.dtype):
        finite = column.dropna().to_numpy(dtype=np.float64)
        finite = finite[np.isfinite(finite)]
        written = feature.written
        if isinstance(written, int | float):
            gaps = gaps or bool((finite == written).any())
            finite = finite[finite != written]
        if len(finite):
            changes |= _counted(finite, len(column))
    if kind in ("category", "boolean") and (bins := _category_bins(feature, kind, column)):
        changes["bins"] = bins
    if gaps and kind in ("text", "category") and not feature.is_numeric:
        changes |= _gap_of_sample(feature, column)
    # A sample without a gap proves nothing, so the model is asked.
    return replace(feature, kind=kind, gaps=True if gaps and feature.gaps is None else feature.gaps, **changes)


def _gap_of_sample(feature: Feature, column: Any) -> dict[str, str]:
    """What the gaps of a column of texts tell: None only stands in a frame where somebody has put it."""
    is_none = column[column.isna()].iloc[0] is None
    if is_none and feature.given_gap != "NaN" and not feature.dtype:
        return {"dtype": "object"}
    return {} if feature.given_gap else {"given_gap": "None" if is_none else "NaN"}


def _detect_kind(feature: Feature, column: Any, path: Path) -> tuple[Kind, str]:
    """The kind that a column tells, and the type of column that the model was trained on, where it matters."""
    import pandas

    api = pandas.api.types
    if api.is_bool_dtype(column.dtype) or _holds_booleans(column):
        return "boolean", "boolean" if str(column.dtype) == "boolean" else ""
    if api.is_datetime64_any_dtype(column.dtype):
        return "time", _time_type(feature, column)
    if api.is_numeric_dtype(column.dtype):
        whole = feature.kind == "number" and api.is_integer_dtype(column.dtype) and not column.isna().any()
        return "integer" if whole else feature.kind, ""
    if feature.kind != "number":
        return feature.kind, ""
    if _holds_times(column):
        return "time", ""
    if feature.usual or feature.bins:
        raise InvalidInput(f"{path}: {feature.name} holds texts, the model takes numbers there")
    return "text", ""


def _time_type(feature: Feature, column: Any) -> str:
    """The column's type, in the unit that the model was trained in: Parquet keeps no seconds, a scaler's mean tells.

    The unit matters to whatever takes times as numbers.
    """
    own = str(column.dtype)
    middle = float(np.median(feature.usual)) if feature.usual else 0.0
    if middle <= 0:
        return own
    found = column.dropna()
    distances = {}
    for unit in ("s", "ms", "us", "ns"):
        times = found.dt.as_unit(unit).to_numpy(dtype=f"datetime64[{unit}]").astype(np.int64)
        distances[unit] = abs(math.log10(max(float(np.median(times)), 1.0) / middle))
    unit = min(distances, key=lambda each: distances[each])
    return re.sub(r"\[\w+", f"[{unit}", own) if distances[unit] < 1 else own


def _holds_booleans(column: Any) -> bool:
    """Whether a column of objects holds true and false only, as a CSV file with blanks is read."""
    if str(column.dtype) != "object":
        return False
    found = column.dropna()
    return bool(len(found)) and all(isinstance(each, bool) for each in found)


def _holds_times(column: Any) -> bool:
    import pandas

    try:
        pandas.to_datetime(column.dropna().astype(str).head(1000), format="ISO8601", utc=True)
    except (ValueError, TypeError):
        return False
    return bool(column.notna().any())


def _counted(values: "np.ndarray[Any, Any]", rows: int) -> dict[str, Any]:
    bins = number_bins(values, rows)
    low, high = float(values.min()), float(values.max())
    return {"minimum": low, "maximum": high, "bins": bins, "usual": tuple(sorted({low, *bins["edges"], high}))}


def _category_bins(feature: Feature, kind: Kind, column: Any) -> dict[str, Any] | None:
    """The bins by category, where the model knows its categories; None when not, or when all rows are gaps."""
    categories = feature.categories or ((False, True) if kind == "boolean" else ())
    values = [each for each in _values(replace(feature, kind=kind), column) if not is_gap(each)]
    values = [each for each in values if feature.written is None or each != feature.written]
    known = [each for each in categories if not is_gap(each)]
    return category_bins(values, known, len(column)) if values and known else None


def _values(feature: Feature, column: Any) -> Sequence[Any]:
    gap = gap_value(feature)
    values = column.to_numpy(dtype=object)
    missing = column.isna().to_numpy()
    if feature.kind == "time":
        texts = column.astype(str).to_numpy(dtype=object)
        return [gap if lost else text for lost, text in zip(missing, texts, strict=True)]
    return [
        gap if lost else value.item() if isinstance(value, np.generic) else value
        for lost, value in zip(missing, values, strict=True)
    ]
