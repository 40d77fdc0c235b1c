"""Reads the features that a fitted estimator takes: kinds, categories, gaps, usual values.

The reader looks at attributes and asks for no predictions: encoders know their categories, imputers their gap value,
trees their splits.
What an estimator does not know (the range of a column that is only scaled, which columns are whole numbers) comes from
a sample of training rows, see `sample`.
"""

import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from model_store.contract.features import ANY, Feature, read_feature_names
from model_store.errors import InvalidInput

_MOST_TEXTS = 24
_MOST_USUAL = 9
_CENTERS = ("theta_", "means_", "centroids_", "cluster_centers_", "support_vectors_", "_fit_X", "location_")
"""Attributes of estimators that hold values of each column."""


def read_features(model: Any) -> tuple[list[Feature], bool]:
    """The features of a fitted model, and whether it takes a data frame.

    Raises:
        InvalidInput: as for `read_feature_names`.
    """
    names, framed = read_feature_names(model)
    reader = _Reader([Feature(name) for name in names])
    try:
        reader.visit(model, list(range(len(names))))
    except InvalidInput:
        raise
    except Exception:
        # An unknown estimator: its own library answers, and a sample completes the contract.
        return [Feature(name) for name in names], framed
    return reader.features, framed


class _Reader:
    """Walks through an estimator and collects what each part knows of its features."""

    def __init__(self, features: list[Feature]) -> None:
        self.features = features
        self._as_sent = True
        """Whether no step before this one changed the callers' values."""

    def visit(self, part: Any, columns: list[int]) -> list[int] | None:
        """Reads one part.

        Args:
            part: an estimator or transformer.
            columns: which feature each column is that the part takes.

        Returns:
            The same for what comes out of it; None when its columns are no longer features.
        """
        name = type(part).__name__
        if part is None or isinstance(part, str):
            return columns
        taken = getattr(part, "n_features_in_", None)
        if isinstance(taken, int | np.integer) and int(taken) != len(columns):
            return None
        if steps := getattr(part, "steps", None):
            return self._pipeline([step for _, step in steps], columns)
        if hasattr(part, "transformers_"):
            return self._column_transformer(part)
        if name == "FeatureUnion":
            for _, transformer in part.transformer_list:
                self.visit(transformer, columns)
            return None
        if reader := _READERS.get(name):
            return reader(self, part, columns)
        if type(part).__module__.startswith("lightgbm.") or name == "LightGBMModel":
            self._lightgbm(part, columns)
            return None
        for inner in _inner_estimators(part):
            self.visit(inner, columns)
        self._numbers(part, columns)
        return None

    def _pipeline(self, steps: list[Any], columns: list[int]) -> list[int] | None:
        reached: list[int] | None = columns
        before = self._as_sent
        for step in steps:
            if hasattr(step, "fit_resample") and not hasattr(step, "transform"):
                continue
            if reached is None:
                break
            reached = self.visit(step, reached)
            self._as_sent &= (
                step is None or isinstance(step, str) or _READERS.get(type(step).__name__) is _Reader._selector
            )
        self._as_sent = before
        return reached

    def _column_transformer(self, part: Any) -> list[int] | None:
        found, complete = list[int](), True
        used, dropped = set[int](), set[int]()
        for name, transformer, _ in part.transformers_:
            (dropped if transformer == "drop" else used).update(part._transformer_to_input_indices[name])
        for column in dropped - used if self._as_sent else ():
            self._change(column, dtype=ANY)
        for name, transformer, chosen in part.transformers_:
            if transformer == "drop":
                continue
            columns = part._transformer_to_input_indices[name]
            if isinstance(chosen, str) and type(transformer).__module__.startswith("sklearn.feature_extraction.text"):
                self._change(columns[0], kind="text")
            more = self.visit(None if transformer == "passthrough" else transformer, list(columns))
            complete &= more is not None
            found += more or []
        return found if complete else None

    def _encoder(self, part: Any, columns: list[int]) -> list[int] | None:
        for column, categories in zip(columns, part.categories_, strict=True):
            known = [each for each in categories.tolist() if each is not None and not _is_missing(each)]
            self._categories(column, known)
            if len(known) < len(categories) and not self.features[column].is_numeric:
                gap = next(each for each in categories.tolist() if each is None or _is_missing(each))
                self._gap(column, gap, learned=isinstance(part.categories, str))
        return columns if type(part).__name__ == "OrdinalEncoder" else None

    def _gap(self, column: int, gap: Any, *, learned: bool) -> None:
        """Takes the gap of an encoder: a learned one was in the training rows, a given one need not have been."""
        if not learned:
            self._change(column, given_gap="None" if gap is None else "NaN")
        elif gap is None:
            self._change(column, dtype="object")
        elif not self.features[column].dtype and self.features[column].kind != "boolean":
            self._change(column, dtype="str")

    def _categories(self, column: int, known: list[Any], dtype: str = "") -> None:
        if known and all(isinstance(each, bool) for each in known):
            self._change(column, kind="boolean", **({"categories": tuple(known), "dtype": dtype} if dtype else {}))
        elif known:
            usual = tuple(float(each) for each in known if isinstance(each, int | float))
            dtype = dtype or self.features[column].dtype
            self._change(column, kind="category", categories=tuple(known), dtype=dtype, usual=usual)

    def _imputer(self, part: Any, columns: list[int]) -> list[int] | None:
        missing, statistics = part.missing_values, np.asarray(part.statistics_).tolist()
        for column, value in zip(columns, statistics, strict=True):
            if isinstance(value, str):
                self._change(column, kind="text")
            elif isinstance(value, int | float) and value == value:
                self._usual(column, [value])
            if not self._as_sent:
                continue
            if missing is None:
                self._change(column, dtype="object")
            elif type(missing).__name__ == "NAType":
                self._change(column, dtype="string" if isinstance(value, str) else self.features[column].dtype)
            elif _is_missing(missing):
                self._change(column, given_gap="NaN")
            elif isinstance(missing, str) or missing == missing:
                self._change(column, written=missing if isinstance(missing, str) else float(missing))
        dropped = {column for column, value in zip(columns, statistics, strict=True) if _is_missing(value)}
        if part.add_indicator:
            return None
        return columns if part.keep_empty_features else [column for column in columns if column not in dropped]

    def _scaler(self, part: Any, columns: list[int]) -> list[int] | None:
        center = next((getattr(part, key) for key in ("mean_", "center_", "data_min_") if hasattr(part, key)), None)
        scale = getattr(part, "scale_", None)
        if hasattr(part, "data_max_") and center is not None:
            for column, low, high in zip(columns, center, part.data_max_, strict=True):
                self._usual(column, np.linspace(float(low), float(high), 5))
        elif center is not None and scale is not None:
            for column, middle, step in zip(columns, center, scale, strict=True):
                self._usual(column, [float(middle) + factor * float(step) for factor in (-2, -1, 0, 1, 2)])
        return columns

    def _binner(self, part: Any, columns: list[int]) -> None:
        for column, edges in zip(columns, part.bin_edges_, strict=True):
            self._usual(column, edges)

    def _knots(self, part: Any, columns: list[int]) -> None:
        for column, spline in zip(columns, part.bsplines_, strict=False):
            self._usual(column, np.unique(spline.t))

    def _quantiles(self, part: Any, columns: list[int]) -> list[int] | None:
        for column, values in zip(columns, np.asarray(part.quantiles_).T, strict=True):
            self._usual(column, values)
        return columns

    def _vectorizer(self, part: Any, columns: list[int]) -> None:
        words = [str(each) for each in sorted(getattr(part, "vocabulary_", None) or ())]
        for column in columns:
            self._change(column, kind="text", texts=_example_texts(words))

    def _selector(self, part: Any, columns: list[int]) -> list[int] | None:
        chosen = [column for column, kept in zip(columns, part.get_support(), strict=True) if kept]
        for inner in _inner_estimators(part):
            self.visit(inner, chosen if hasattr(part, "ranking_") else columns)
        return chosen

    def _onnx(self, part: Any, columns: list[int]) -> None:
        for column, kind in zip(columns, part.feature_kinds, strict=True):
            if kind == "object":
                self._change(column, kind="text")
            elif kind == "bool":
                self._change(column, kind="boolean")
            elif kind.startswith("int"):
                self._change(column, kind="integer", dtype=kind)

    def _histogram(self, part: Any, columns: list[int]) -> None:
        categorical = part.is_categorical_
        if categorical is not None and part._preprocessor is not None:
            encoder = part._preprocessor.named_transformers_["encoder"]
            chosen = np.flatnonzero(categorical)
            by_dtype = isinstance(part.categorical_features, str)
            for column, categories in zip(chosen, encoder.categories_, strict=True):
                known = [each for each in categories.tolist() if each is not None and each == each]
                self._categories(columns[int(column)], known, "category" if by_dtype else "")
        self._trees(part, columns)

    def _xgboost(self, part: Any, columns: list[int]) -> None:
        booster = part.get_booster()
        document = json.loads(bytes(booster.save_raw("json")))["learner"]
        kinds = booster.feature_types or []
        encodings = (document["gradient_booster"].get("model") or {}).get("cats", {}).get("enc") or []
        for number, (column, kind) in enumerate(zip(columns, kinds, strict=False)):
            if kind == "c":
                known = _xgboost_categories(encodings[number] if number < len(encodings) else {})
                self._change(column, kind="category", categories=tuple(known), dtype="category" if known else "")
            elif kind == "int":
                self._change(column, kind="integer")
            elif kind == "i":
                self._change(column, kind="boolean", dtype="boolean")
        missing = part.missing
        if missing is not None and missing == missing and self._as_sent:
            for column in columns:
                self._change(column, written=float(missing))
        self._trees(part, columns)

    def _lightgbm(self, part: Any, columns: list[int]) -> None:
        booster = getattr(part, "booster_", None) or part.booster
        frame_categories = list(getattr(booster, "pandas_categorical", None) or [])
        text = str(booster.model_to_string())
        line = next((each for each in text.splitlines() if each.startswith("[categorical_feature:")), "")
        chosen = [int(each) for each in line[len("[categorical_feature:") : -1].split(",") if each.strip().isdigit()]
        infos = next((each[14:].split(" ") for each in text.splitlines() if each.startswith("feature_infos=")), [])
        for number, column in enumerate(columns):
            info = infos[number] if number < len(infos) else ""
            if info.startswith("["):
                low, _, high = info.strip("[]").partition(":")
                self._usual(column, np.linspace(float(low), float(high), 5))
                self._change(column, minimum=float(low), maximum=float(high))
            elif ":" in info and not frame_categories:
                known = sorted(int(each) for each in info.split(":") if int(each) >= 0)
                self._change(column, kind="category", categories=tuple(known), usual=tuple(map(float, known)))
        for number, categories in zip(chosen, frame_categories, strict=False):
            self._categories(columns[number], list(categories), "category")
        self._trees(part, columns)

    def _trees(self, part: Any, columns: list[int]) -> None:
        from model_store.serialization.trees import LEAF, read_trees

        try:
            trees = read_trees(part, 0)
        except InvalidInput:
            return
        inner = trees.left != LEAF
        for number, column in enumerate(columns):
            self._usual(column, trees.threshold[inner & (trees.feature == number)])

    def _numbers(self, part: Any, columns: list[int]) -> None:
        """Usual values from estimators that store some: quantiles of each column, never a row."""
        if hasattr(part, "tree_"):
            self._trees(part, columns)
        for attribute in _CENTERS:
            kept = getattr(part, attribute, None)
            if isinstance(kept, np.ndarray) and kept.size and kept.shape[-1] == len(columns):
                for column, values in zip(columns, np.atleast_2d(kept).T, strict=True):
                    self._usual(column, np.quantile(values, [0, 0.1, 0.5, 0.9, 1]))

    def _usual(self, column: int, values: Iterable[float]) -> None:
        finite = sorted({float(each) for each in values if math.isfinite(float(each))})
        if len(finite) > _MOST_USUAL:
            finite = [float(each) for each in np.quantile(finite, np.linspace(0, 1, _MOST_USUAL))]
        if not self.features[column].usual or len(finite) > 1:
            self.features[column] = replace(self.features[column], usual=tuple(finite))

    def _change(self, column: int, **changes: Any) -> None:
        present = self.features[column]
        if changes.get("kind") == "text" and present.kind == "category":
            del changes["kind"]
        self.features[column] = replace(present, **changes)


def _xgboost_categories(encoding: Mapping[str, Any]) -> list[Any]:
    values = encoding.get("values") or []
    if "offsets" not in encoding:
        return list(values)
    content = bytes(each & 0xFF for each in values)
    if not content.isascii():
        raise InvalidInput(
            "XGBoost cuts the names of categories that are not ASCII, so it cannot be told which it means; give them "
            "ASCII names or numbers, and train again"
        )
    offsets = encoding["offsets"]
    return [content[start:end].decode("utf-8", "replace") for start, end in itertools.pairwise(offsets)]


def _is_missing(value: Any) -> bool:
    """Whether a value stands for a gap: NaN, or one of pandas' own."""
    return type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)


def _example_texts(words: Sequence[str]) -> tuple[str, ...]:
    """Texts of known words: each alone, one of them often, and several together."""
    step = max(1, len(words) // _MOST_TEXTS)
    some = list(words[::step][:_MOST_TEXTS])
    if not some:
        return ()
    together = [" ".join(some[number::3]) for number in range(3)]
    often = [" ".join([some[0]] * 3 + some[-1:]), " ".join(some[:2] * 2)]
    return tuple(dict.fromkeys([*some, *together, *often]))


def _inner_estimators(part: Any) -> Iterable[Any]:
    """Estimators inside another one that take the same columns."""
    for attribute in ("best_estimator_", "estimator_"):
        if (inner := getattr(part, attribute, None)) is not None:
            yield inner
            return
    if calibrated := getattr(part, "calibrated_classifiers_", None):
        yield calibrated[0].estimator
        return
    members = getattr(part, "estimators_", None)
    if isinstance(members, list) and members and getattr(part, "estimators_features_", None) is None:
        yield from members[:20]


_READERS: Mapping[str, Callable[[_Reader, Any, list[int]], list[int] | None]] = {
    **dict.fromkeys(("OneHotEncoder", "OrdinalEncoder", "TargetEncoder"), _Reader._encoder),
    "SimpleImputer": _Reader._imputer,
    **dict.fromkeys(("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler"), _Reader._scaler),
    "KBinsDiscretizer": _Reader._binner,
    "SplineTransformer": _Reader._knots,
    "QuantileTransformer": _Reader._quantiles,
    **dict.fromkeys(("CountVectorizer", "TfidfVectorizer", "HashingVectorizer"), _Reader._vectorizer),
    "HistGradientBoostingClassifier": _Reader._histogram,
    "OnnxModel": _Reader._onnx,
    **dict.fromkeys(
        (
            "RFE",
            "RFECV",
            "SelectFromModel",
            "SelectKBest",
            "SelectPercentile",
            "SelectFpr",
            "SelectFdr",
            "SelectFwe",
            "VarianceThreshold",
            "GenericUnivariateSelect",
            "SequentialFeatureSelector",
        ),
        _Reader._selector,
    ),
    **dict.fromkeys(("XGBClassifier", "XGBRFClassifier"), _Reader._xgboost),
    **dict.fromkeys(("RandomForestClassifier", "ExtraTreesClassifier", "GradientBoostingClassifier"), _Reader._trees),
}
