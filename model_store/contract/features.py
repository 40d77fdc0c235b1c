"""A feature of a model as its contract describes it, and the names that an estimator has for its features."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from model_store.contract.bins import require_bins
from model_store.errors import InvalidInput

Kind = Literal["number", "integer", "boolean", "category", "text", "time"]
KINDS: tuple[Kind, ...] = ("number", "integer", "boolean", "category", "text", "time")
_TEXT_READERS = ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer")
_DICTIONARY_READERS = ("DictVectorizer", "FeatureHasher")
ANY = "any"
"""The type of a column that a model gets and ignores."""
Value = float | int | str | bool | None


@dataclass(frozen=True)
class Feature:
    """One feature of a model."""

    name: str
    kind: Kind = "number"
    gaps: bool | None = None
    """Whether a gap may be sent; None while it is not known."""
    written: Value = None
    """The value of a gap for the estimator; None means NaN, or for texts None or NaN according to `dtype`."""
    categories: tuple[Any, ...] = ()
    """All categories of the estimator, in its order."""
    unknown: Literal["", "refused", "answered"] = ""
    """What the estimator does with another category."""
    dtype: str = ""
    """Of the data frame's column that the estimator takes; empty for the usual one of the kind."""
    minimum: float | None = None
    maximum: float | None = None
    bins: Mapping[str, Any] | None = None
    """Bins of the training rows with the share of each, for drift; see `model_store.contract.bins`."""
    usual: tuple[float, ...] = field(default=(), compare=False)
    """Values that the estimator knows of; for making rows, not part of the contract."""
    texts: tuple[str, ...] = field(default=(), compare=False)
    """Texts of words that the estimator knows; not part of the contract."""
    given_gap: Literal["", "None", "NaN"] = field(default="", compare=False)
    """The gap among categories that an encoder was given, or in a sample; not part of the contract."""

    def to_dict(self) -> dict[str, Any]:
        """As the manifest's feature schema has it."""
        found: dict[str, Any] = {"name": self.name, "type": self.kind}
        if self.gaps is not None:
            found["gaps"] = self.gaps
        for key in ("written", "unknown", "dtype", "minimum", "maximum", "bins"):
            if (value := getattr(self, key)) not in (None, ""):
                found[key] = str(value) if isinstance(value, float) and math.isinf(value) else value
        if self.categories:
            found["categories"] = list(self.categories)
        return found

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Feature":
        """Reads a feature of a manifest, or of a description beside a model file.

        Raises:
            InvalidInput: it has no name, or a type that is not one.
        """
        name, kind = values.get("name"), values.get("type", "number")
        if not isinstance(name, str) or not name:
            raise InvalidInput(f"a feature has the name {name!r}; allowed: a text")
        if kind not in KINDS:
            raise InvalidInput(f"feature {name!r} has the type {kind!r}; allowed: {', '.join(KINDS)}")
        _require_values(name, values)
        more = {
            key: values[key]
            for key in ("gaps", "written", "unknown", "dtype", "minimum", "maximum", "bins")
            if values.get(key) is not None
        }
        if kind in ("number", "integer") and more.get("written") in ("inf", "-inf"):
            more["written"] = float(more["written"])
        return cls(name=name, kind=kind, categories=tuple(values.get("categories") or ()), **more)

    @property
    def is_numeric(self) -> bool:
        """Whether its values are numbers in JSON."""
        if self.kind == "category":
            return not any(isinstance(each, str) for each in self.categories)
        return self.kind in ("number", "integer")


def _require_values(name: str, values: Mapping[str, Any]) -> None:
    """Raises InvalidInput when a feature of a description or a manifest has values of other kinds."""
    for key in ("minimum", "maximum"):
        if not isinstance(values.get(key), int | float | None) or isinstance(values.get(key), bool):
            raise InvalidInput(f"feature {name!r} has the {key} {values[key]!r}; allowed: a number")
    if not isinstance(values.get("gaps"), bool | None):
        raise InvalidInput(f"feature {name!r} has gaps {values['gaps']!r}; allowed: true and false")
    if not isinstance(values.get("written"), int | float | str | None):
        raise InvalidInput(f"feature {name!r} writes gaps as {values['written']!r}; allowed: a number or a text")
    if not isinstance(values.get("categories"), Sequence | None) or isinstance(values.get("categories"), str):
        raise InvalidInput(f"feature {name!r} has categories that are not a list; allowed: a list")
    if not all(isinstance(each, str | int | float | None) for each in values.get("categories") or ()):
        raise InvalidInput(f"feature {name!r} has a category that is not a text, a number or a truth value")
    if values.get("bins") is not None:
        require_bins(name, values["bins"])


def read_feature_names(model: Any) -> tuple[list[str], bool]:
    """The features' names, and whether the model takes a data frame with them.

    Raises:
        InvalidInput: the model neither names nor counts its features, or names one twice.
    """
    names = own_names(model)
    if names is not None:
        found, framed = [str(name) for name in names], True
        # LightGBM names columns itself when it was given none.
        if type(model).__module__.startswith("lightgbm.") and found == [f"Column_{n}" for n in range(len(found))]:
            framed = False
    else:
        count = 1 if takes_texts(model) else _feature_count(model)
        if count is None and type(list(_members(model))[-1]).__name__ in _DICTIONARY_READERS:
            raise InvalidInput(
                f"{type(list(_members(model))[-1]).__name__} takes a dictionary for a row, which is not served; use a "
                "ColumnTransformer over named columns"
            )
        if count is None:
            raise InvalidInput(f"{type(model).__name__} does not say how many features it takes; is it fitted?")
        found = ["text"] if takes_texts(model) else list(default_names(count))
        framed = False
    require_unique(found)
    return found, framed


def default_names(count: int) -> tuple[str, ...]:
    """The names of features that a model does not name."""
    return tuple(f"feature_{number}" for number in range(count))


def takes_texts(model: Any) -> bool:
    """Whether a model takes a row of texts: its first step reads texts by itself, without a table around them."""
    if own_names(model) is not None or _feature_count(model) is not None:
        return False
    *_, first = _members(model)
    return type(first).__name__ in _TEXT_READERS


def require_unique(names: Sequence[str]) -> None:
    """Raises InvalidInput when a name is empty or appears twice."""
    if not all(names):
        raise InvalidInput("the model takes a feature without a name; a caller could not send it")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInput(f"the model takes two features of the name {twice[0]!r}; a caller could not tell them apart")


def own_names(model: Any) -> Any:
    """The names that an estimator, or the first of its steps, has for its features; None when it has none."""
    for each in _members(model):
        names = getattr(each, "feature_names_in_", None)
        if names is not None:
            return names
    return getattr(model, "feature_names", None)


def _feature_count(model: Any) -> int | None:
    for each in _members(model):
        count = getattr(each, "n_features_in_", None)
        if isinstance(count, int | np.integer):
            return int(count)
    return None


def _members(model: Any) -> Iterable[Any]:
    """The model and the first estimators inside it, which may know the features when the model does not."""
    yield model
    for attribute in ("best_estimator_", "estimator_"):
        if (inner := getattr(model, attribute, None)) is not None:
            yield from _members(inner)
    if steps := getattr(model, "steps", None):
        for _, step in steps:
            if step is not None and step != "passthrough":
                yield from _members(step)
                return
