"""What moved an answer: each feature's exact contribution to the margin that the answer is made of.

    Contributions.of(model, contract).calculate(rows)

The numbers are the libraries' own: XGBoost's `pred_contribs`, LightGBM's `pred_contrib`, and for linear models weight
times value. Contributions and base of a row add up to its margin: the log-odds of a booster or a logistic regression,
the decision function of other linear models. Columns that a pipeline makes of one feature are summed over that feature.
"""

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_store.contract.columns import Column
from model_store.contract.contract import Contract
from model_store.contract.own import OwnModel, RowRefused, one_line
from model_store.contract.structure import Structure, read_structure
from model_store.errors import InvalidInput
from model_store.serialization.native_models import LightGBMModel

_LARGEST_DIFFERENCE = 1e-4
"""Between a margin and the sum of its contributions, relative to the largest of them: boosters sum in 32 bits."""

_LINEAR = ("LinearSVC", "LinearDiscriminantAnalysis")
"""Linear models outside `sklearn.linear_model`."""
Ask = Callable[[Any], "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]"]
"""From a prepared table: contributions with the base in the last column, and margins; of the class that is fraud."""


@dataclass(frozen=True)
class Explained:
    """Contributions to the margins of rows.

    Attributes:
        contributions: shape (rows, features), in the contract's order; above 0 towards fraud.
        bases: the margin without any feature, shape (rows,).
        margins: the library's own, shape (rows,).
    """

    contributions: "np.ndarray[Any, Any]"
    bases: "np.ndarray[Any, Any]"
    margins: "np.ndarray[Any, Any]"


class Contributions:
    """Calculates contributions for one model.

    Args:
        own: the model with its contract.
        structure: of the model.
        ask: the library's own call.
        sources: the feature of each column that the last step takes.
    """

    def __init__(self, own: OwnModel, structure: Structure, ask: Ask, sources: Sequence[int]) -> None:
        self._own, self._steps, self._ask = own, structure.steps, ask
        self._sources = np.asarray(sources, dtype=np.int64)

    @classmethod
    def of(cls, model: Any, contract: Contract) -> "Contributions":
        """Prepares the calculation for a model.

        Raises:
            InvalidInput: the model has no exact contributions; says why.
        """
        if contract.output == "anomaly_score":
            raise InvalidInput("an anomaly detector has no exact contributions of features")
        structure = read_structure(model, contract)
        ask = _library_call(structure.final, contract)
        if structure.columns is None:
            raise InvalidInput(f"the features' shares in its columns are not exact: {structure.reason}")
        sources = [
            part.source
            for part in structure.columns.parts
            for _ in range(1 if isinstance(part, Column) else part.width)
        ]
        return cls(contract.own(model), structure, ask, sources)

    def calculate(self, rows: Sequence[Sequence[Any]]) -> Explained:
        """The contributions to the margins of rows.

        Args:
            rows: as the model takes them.

        Raises:
            InvalidInput: the library gives no contributions, or such that do not add up to its margin.
            RowRefused: the library does not answer a row.
        """
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                table = self._own.table(rows)
                for step in self._steps:
                    if step is not None and not isinstance(step, str):
                        table = step.transform(table)
            except Exception as error:
                raise RowRefused(one_line(error)) from None
            try:
                found, margins = self._ask(table)
            except Exception as error:
                raise InvalidInput(f"its library gives no contributions: {one_line(error)}") from None
        if found.shape != (len(rows), len(self._sources) + 1):
            raise InvalidInput("its library gives contributions of other columns than its steps make")
        scale = np.maximum(1.0, np.abs(found).max(axis=1))
        if not (np.abs(found.sum(axis=1) - margins) <= _LARGEST_DIFFERENCE * scale).all():
            raise InvalidInput("its library gives contributions that do not add up to its answer")
        by_feature = np.zeros((len(self._own.features), len(rows)))
        np.add.at(by_feature, self._sources, found[:, :-1].T)
        return Explained(by_feature.T, found[:, -1], margins)


def _library_call(final: Any, contract: Contract) -> Ask:
    """The call of the last step's library.

    Raises:
        InvalidInput: the library has none.
    """
    package, name = type(final).__module__.split(".")[0], type(final).__name__
    if package == "xgboost" and hasattr(final, "get_booster"):
        return _signed(_of_xgboost(final), contract)
    if package == "lightgbm" and hasattr(final, "booster_"):
        return _signed(_of_lightgbm(final.predict_proba), contract)
    if isinstance(final, LightGBMModel):
        return _signed(_of_lightgbm(final.booster.predict), contract)
    linear = type(final).__module__.startswith("sklearn.linear_model.") or name in _LINEAR
    if linear and hasattr(final, "coef_") and hasattr(final, "decision_function"):
        return _signed(_of_linear(final), contract)
    raise InvalidInput(
        f"the library of {name} gives no exact contributions; XGBoost, LightGBM and linear models of scikit-learn do"
    )


def _signed(ask: Callable[[Any], "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]"], contract: Contract) -> Ask:
    """The call for the class that is fraud.

    Args:
        ask: gives contributions and margins; of shapes (rows, columns + 1) and (rows,) where there are two classes,
            else (rows, classes, columns + 1) and (rows, classes).
        contract: says which class is fraud.
    """
    index, several = contract.positive_index, len(contract.classes) > 2

    def asked(table: Any) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
        found, margins = ask(table)
        found, margins = np.asarray(found, dtype=np.float64), np.asarray(margins, dtype=np.float64)
        if several:
            return found[:, index, :], margins[:, index]
        margins = margins.reshape(len(found))
        return (found, margins) if index == 1 else (-found, -margins)

    return asked


def _of_xgboost(final: Any) -> Callable[[Any], Any]:
    import xgboost

    booster, rounds = final.get_booster(), (0, 0)
    with suppress(AttributeError):
        # Only after early stopping.
        rounds = (0, int(final.best_iteration) + 1)

    def ask(table: Any) -> Any:
        matrix = xgboost.DMatrix(table, missing=final.missing, enable_categorical=True, nthread=1)
        arguments = {"iteration_range": rounds, "validate_features": False}
        found = booster.predict(matrix, pred_contribs=True, strict_shape=True, **arguments)
        margins = booster.predict(matrix, output_margin=True, strict_shape=True, **arguments)
        return (found, margins) if found.shape[1] > 1 else (found[:, 0, :], margins[:, 0])

    return ask


def _of_lightgbm(predict: Callable[..., Any]) -> Callable[[Any], Any]:
    def ask(table: Any) -> Any:
        found = predict(table, pred_contrib=True)
        if isinstance(found, list):
            found = np.stack([_dense(each) for each in found], axis=1)
        margins = np.asarray(predict(table, raw_score=True))
        found = _dense(found)
        if margins.ndim == 2 and margins.shape[1] > 1 and found.ndim == 2:
            found = found.reshape(len(found), margins.shape[1], -1)
        return found, margins

    return ask


def _of_linear(final: Any) -> Callable[[Any], Any]:
    weights = np.atleast_2d(np.asarray(final.coef_, dtype=np.float64))
    intercepts = np.broadcast_to(np.asarray(final.intercept_, dtype=np.float64).reshape(-1), (len(weights),))

    def ask(table: Any) -> Any:
        values = np.asarray(_dense(table), dtype=np.float64)
        margins = np.asarray(final.decision_function(table), dtype=np.float64)
        terms = values[:, None, :] * weights[None, :, :]
        bases = np.broadcast_to(intercepts[None, :, None], (*terms.shape[:2], 1))
        found = np.concatenate([terms, bases], axis=2)
        return (found, margins) if len(weights) > 1 else (found[:, 0, :], margins)

    return ask


def _dense(table: Any) -> Any:
    return table.toarray() if hasattr(table, "toarray") else table
