"""A table's rows as a model takes them, checked against its contract as the service checks a request.

A text of a CSV file becomes the value that JSON would have: a number, true or false, a text; an empty field is a gap,
and so is what pandas reads as one, such as `NaN` and `NA`, unless the model knows it as a category.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from model_store.contract.contract import Contract
from model_store.contract.features import ANY, Feature
from model_store.contract.tables import Part, Table
from model_store.contract.transaction import InvalidTransaction, check_value
from model_store.errors import InvalidInput

GAPS = frozenset(
    {
        "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
        "NULL", "NaN", "None", "n/a", "nan", "null",
    }
)  # fmt: skip
"""Texts that pandas reads as a gap."""
_TRUTH = {"true": True, "false": False}
_MOST_DIGITS = 400


class TableRows:
    """Makes rows of a model from the parts of a table.

    Args:
        contract: of the model.
        table: that the rows are of.
        label: a column that is not the model's; None for none.

    Raises:
        InvalidInput: the table lacks a feature; names it.
    """

    def __init__(self, contract: Contract, table: Table, label: str | None = None) -> None:
        self.features = contract.features
        self.columns = _find_columns(contract, table, label)
        """The table's column of each feature."""
        self._convert: list[Callable[[Any], Any]] = [
            _text_reader(feature) if table.as_texts else _typed_reader(feature) for feature in self.features
        ]

    def checked(self, part: Part) -> tuple[list[tuple[Any, ...]], list[int], dict[int, str]]:
        """The rows of a part that the contract takes.

        Returns:
            The rows, their positions in the part, and by position why each of the others is refused.
        """
        refused = dict(part.faults)
        columns = []
        for feature, name, convert in zip(self.features, self.columns, self._convert, strict=True):
            values: list[Any] = []
            for position, value in enumerate(part.column(name)):
                try:
                    values.append(check_value(feature, convert(value), name))
                except InvalidTransaction as error:
                    refused.setdefault(position, str(error))
                    values.append(None)
            columns.append(values)
        rows = list(zip(*columns, strict=True))
        if not refused:
            return rows, list(range(len(rows))), refused
        kept = [position for position in range(len(rows)) if position not in refused]
        return [rows[position] for position in kept], kept, refused


def _find_columns(contract: Contract, table: Table, label: str | None) -> Sequence[str]:
    names = [feature.name for feature in contract.features]
    missing = [name for name in names if name not in table.names]
    if not missing:
        return names
    # A model that does not name its features takes the table's columns in their order.
    others = [name for name in table.names if name != label]
    if not contract.framed and len(others) == len(names) == len(missing):
        return others
    raise InvalidInput(
        f"{table.path}: has no column {missing[0]!r}, which the model takes; a column without values stands for gaps"
    )


def _text_reader(feature: Feature) -> Callable[[str], Any]:
    """What makes a value of JSON of a text in a CSV file."""
    gaps = GAPS - {each for each in feature.categories if isinstance(each, str)}
    if feature.dtype == ANY:
        return lambda text: None if text in gaps else _number(text)
    if feature.is_numeric:
        written = feature.written

        def read_number(text: str) -> Any:
            if text in gaps:
                return None
            value = _number(text)
            if isinstance(value, str):
                return _TRUTH.get(value.strip().lower(), value)
            # What is not a number in JSON either: the gap of a model that writes gaps so.
            return None if value != value or (value == written and math.isinf(value)) else value

        return read_number
    if feature.kind == "boolean":
        return lambda text: None if text in gaps else _TRUTH.get(text.strip().lower(), _number(text))
    return lambda text: None if text in gaps else text


def _typed_reader(feature: Feature) -> Callable[[Any], Any]:
    """What makes a value of JSON of a value in a Parquet file."""
    written = feature.written

    def read(value: Any) -> Any:
        return None if isinstance(value, float) and math.isinf(value) and value == written else value

    return read


def _number(text: str) -> Any:
    """The number that a text is; the text when it is none."""
    if "_" in text or len(text) > _MOST_DIGITS or not text.isascii():
        return text
    try:
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        return text
