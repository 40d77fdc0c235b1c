"""A program of exact 64-bit operations: what a pipeline does to each column before its last step.

scikit-learn also fills gaps, scales and looks up categories value by value, with the same operations in the same order,
so the program's numbers equal the pipeline's to the last bit. `pipeline_steps` makes the program.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_store.errors import InvalidInput, UnreadableModel

Value = float | str | bool | None
GAP = "\x00gap"
"""The key of a gap in a table of categories; no text that a caller sends equals it."""
_INFINITE = (math.inf, -math.inf)
_MOST_COLUMNS = 1_000_000
_EXACT_INTEGERS = 1 << 53
"""Above it a 64-bit float can stand for several whole numbers."""
_NOTHING = (0, 0.0)
_FILL = "fill"
_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "subtract": operator.sub,
    "divide": operator.truediv,
    "multiply": operator.mul,
    "add": operator.add,
}


@dataclass(frozen=True)
class Column:
    """One numeric column: a feature and the operations on it, in order."""

    source: int
    operations: tuple[tuple[str, float], ...] = ()

    def of(self, value: Value) -> float:
        """The column's value for a feature's value."""
        number = math.nan if value is None else float(value)
        for name, operand in self.operations:
            if name != _FILL:
                number = _ARITHMETIC[name](number, operand)
            elif number != number:
                number = operand
        return number

    def convert_many(self, values: Sequence[Value]) -> "np.ndarray[Any, Any]":
        """The column's values for a feature's values; a gap is NaN."""
        numbers = np.array(values, dtype=np.float64)
        for name, operand in self.operations:
            if name != _FILL:
                numbers = _ARITHMETIC[name](numbers, operand)
            else:
                numbers[np.isnan(numbers)] = operand
        return numbers

    def feature_value(self, wanted: float) -> float:
        """A feature's value that comes out near a wanted one; exact but for rounding."""
        for name, operand in reversed(self.operations):
            if name == "subtract":
                wanted += operand
            elif name == "divide":
                wanted *= operand
            elif name == "multiply":
                wanted = wanted / operand if operand else wanted
            elif name == "add":
                wanted -= operand
        return wanted


@dataclass(frozen=True)
class Table:
    """Columns that a category is looked up in: one for an ordinal encoder, one a category for a one-hot encoder."""

    source: int
    width: int
    entries: Mapping[Any, tuple[int, float]]
    """For each category, which of the columns gets which value; the others are zero. A gap's key is `GAP`."""
    unknown: tuple[int, float] | str | None
    """The same for any other category: None leaves all columns zero, `own` leaves the row to the model's library."""
    fill: Value = None
    """Value that fills a gap before the look-up."""

    def lookup(self, value: Value) -> tuple[int, float] | str | None:
        """The column that a value sets and what it is set to; the same answers as `unknown`."""
        if value is None or value != value:
            value = self.fill
        if isinstance(value, float) and abs(value) > _EXACT_INTEGERS:
            return "own"
        return self.entries.get(GAP if value is None else value, self.unknown)

    def put(self, values: Sequence[Value], found: "np.ndarray[Any, Any]", own: "np.ndarray[Any, Any]") -> None:
        """Puts the columns of a feature's values, and marks the rows that are left to the model's library; in place.

        Args:
            values: one a row.
            found: zeros, shape (rows, width).
            own: shape (rows,).
        """
        entry, other = self.entries.get, self.unknown
        # Most values are texts, and a text is never a gap.
        chosen = [entry(value, other) if type(value) is str else self.lookup(value) for value in values]
        if "own" in chosen:
            own |= [cell == "own" for cell in chosen]
        if self.width:
            kept = [_NOTHING if cell is None or cell == "own" else cell for cell in chosen]
            columns, looked_up = zip(*kept, strict=True)
            found[np.arange(len(values)), columns] = looked_up


class NeedsOwnLibrary(Exception):
    """A value that the program does not cover; the model's own library answers the row."""


@dataclass(frozen=True)
class Columns:
    """The whole program: parts in the order of the columns that they make."""

    parts: tuple[Column | Table, ...]
    zero_is_gap: bool = False
    """Whether the last step takes a zero for a gap, as XGBoost does in a sparse matrix."""

    @property
    def width(self) -> int:
        """Number of columns in the result."""
        return sum(1 if isinstance(part, Column) else part.width for part in self.parts)

    @property
    def least_features(self) -> int:
        """How many features a row has at least."""
        return max((part.source for part in self.parts), default=-1) + 1

    def one(self, row: Sequence[Value]) -> list[float]:
        """The columns of one row of features.

        Raises:
            NeedsOwnLibrary: the row holds a category that only the model's own library knows how to treat.
        """
        found: list[float] = []
        for part in self.parts:
            value = row[part.source]
            if isinstance(part, Column):
                number = part.of(value)
                if number in _INFINITE:
                    raise NeedsOwnLibrary
                found.append(number)
                continue
            cell = part.lookup(value)
            if cell == "own":
                raise NeedsOwnLibrary
            values = [0.0] * part.width
            if cell is not None and part.width:
                values[cell[0]] = cell[1]  # type: ignore[index,assignment]
            found += values
        if self.zero_is_gap:
            return [math.nan if value == 0.0 else value for value in found]
        return found

    def many(self, rows: Sequence[Sequence[Value]]) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
        """The columns of several rows, and which of the rows the model's own library has to answer.

        Applies the same operations in the same order as `one`, so the numbers are the same to the last bit.

        Returns:
            Numbers, shape (rows, width), and booleans, shape (rows,).

        Raises:
            TypeError, ValueError, OverflowError: a value is not a number where one is required.
        """
        features = list(zip(*rows, strict=True))
        found, own = np.zeros((len(rows), self.width)), np.zeros(len(rows), dtype=bool)
        start = 0
        with np.errstate(all="ignore"):
            for part in self.parts:
                if isinstance(part, Column):
                    numbers = part.convert_many(features[part.source])
                    own |= np.isinf(numbers)
                    found[:, start] = numbers
                    start += 1
                else:
                    part.put(features[part.source], found[:, start : start + part.width], own)
                    start += part.width
        if self.zero_is_gap:
            found[found == 0.0] = np.nan
        return found, own

    def feature_row(self, wanted: Mapping[int, tuple[float, float]], row: Sequence[Value]) -> list[Value]:
        """A row of features whose columns come as near to wanted values as one row can.

        Args:
            wanted: by column, a value to come near and the one that is second best.
            row: gives all features that are not wanted otherwise.
        """
        found, start = list(row), 0
        for part in self.parts:
            if isinstance(part, Column):
                if start in wanted:
                    found[part.source] = part.feature_value(wanted[start][0])
                start += 1
                continue
            for offset in range(part.width):
                if start + offset in wanted:
                    found[part.source] = _category_for(part, offset, wanted[start + offset], found[part.source])
            start += part.width
        return found

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"parts": [_part_to_dict(part) for part in self.parts], "zero_is_gap": self.zero_is_gap}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Columns":
        """Reads what `to_dict` has written.

        Raises:
            UnreadableModel: a part is of another kind, or names what there is not.
        """
        try:
            return cls(tuple(_part_from_dict(part) for part in values["parts"]), bool(values["zero_is_gap"]))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, InvalidInput) as error:
            raise UnreadableModel(f"the optimized form's program cannot be read ({error})") from None


def _category_for(part: Table, offset: int, wanted: tuple[float, float], present: Value) -> Value:
    for target in wanted:
        for category, (column, value) in part.entries.items():
            here = value if column == offset else 0.0
            if here == target or (target != target and here == 0.0):
                return None if category == GAP else category
    return present


def in_json(value: Any) -> Any:
    """A number as JSON has it; NaN and the infinite ones as texts, which `float` reads."""
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def _part_to_dict(part: Column | Table) -> dict[str, Any]:
    if isinstance(part, Column):
        return {"source": part.source, "operations": [[name, in_json(operand)] for name, operand in part.operations]}
    unknown = [part.unknown[0], in_json(part.unknown[1])] if isinstance(part.unknown, tuple) else part.unknown
    entries = [[None if key == GAP else key, column, in_json(value)] for key, (column, value) in part.entries.items()]
    return {"source": part.source, "width": part.width, "entries": entries, "unknown": unknown, "fill": part.fill}


def _part_from_dict(values: Mapping[str, Any]) -> Column | Table:
    source = _integer(values["source"])
    if "operations" in values:
        operations = tuple((str(name), float(operand)) for name, operand in values["operations"])
        if any(name != _FILL and name not in _ARITHMETIC for name, _ in operations):
            raise InvalidInput("it has an operation that this program does not know")
        return Column(source, operations)
    width, unknown, fill = _integer(values["width"]), values["unknown"], values["fill"]
    entries = {
        GAP if key is None else _json_value(key): (_integer(at), float(value)) for key, at, value in values["entries"]
    }
    other: tuple[int, float] | str | None = None
    if isinstance(unknown, list):
        other = _integer(unknown[0]), float(unknown[1])
    elif unknown is not None:
        other = "own"
    places = [at for at, _ in entries.values()] + ([other[0]] if isinstance(other, tuple) else [])
    if width and max(places, default=0) >= width:
        raise InvalidInput("it looks a category up in a column that there is not")
    return Table(source, width, entries, other, None if fill is None else _json_value(fill))


def _integer(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MOST_COLUMNS:
        raise InvalidInput(f"{value!r} is not a column"[:100])
    return value


def _json_value(value: Any) -> Any:
    if not isinstance(value, str | int | float | bool):
        raise InvalidInput("a category is a text, a number or a truth value")
    return value
