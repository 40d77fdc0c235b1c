"""What the catalogue is made of: a kind of model, trained on small data, with its own answers.

A kind's answers are always those of the estimator or of its library, in 64 bits, never of this project's code:

    @kinds.add("threshold 0.1 of FixedThresholdClassifier")
    def fixed_threshold(directory: Path) -> Trained:
        data = numbers()
        model = FixedThresholdClassifier(LogisticRegression(), threshold=0.1).fit(data.train, data.target)
        return trained(model, data.rows, threshold=0.1)
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

Rows: TypeAlias = np.ndarray | pd.DataFrame
Scores = Callable[[Any], np.ndarray]
"""From rows to one score a row, 64 bits; raises what the estimator raises."""


@dataclass(frozen=True)
class Trained:
    """A model of a kind, ready to be registered and asked."""

    model: Any
    """The fitted estimator, or the path of the file that its library wrote."""
    rows: Rows
    """What it is asked, as the estimator takes it."""
    scores: Scores
    """The model's own answers."""
    threshold: float | None = 0.5
    """What the contract has to say; None for detectors, whose own decisions count."""
    registration: Mapping[str, Any] = field(default_factory=dict)
    """Options of `register_model`, such as `positive_class`."""
    frauds: Callable[[Any], np.ndarray] | None = None
    """A detector's own decisions; its scores are then compared by their order."""
    decisions: Callable[[Any], np.ndarray] | None = None
    """The model's own decisions, where no threshold on its score makes them."""
    refused: Rows | None = None
    """Rows that the estimator refuses; a caller who sends one gets 422."""

    @property
    def is_detector(self) -> bool:
        """Whether only order and own decisions are compared."""
        return self.frauds is not None


@dataclass(frozen=True)
class Kind:
    """A kind of model that is registered and served."""

    name: str
    group: str
    train: Callable[[Path], Trained]
    """Given a directory that it may write into."""
    cheap: bool = False
    """Whether the property test draws it."""


@dataclass(frozen=True)
class Refused:
    """What registration refuses, and how."""

    name: str
    make: Callable[[Path], tuple[Path, list[str]]]
    """Writes a file into a directory; returns its path and the command line's further arguments."""
    message: str
    """A regular expression that the message matches."""


class Group:
    """Kinds under one heading of the table."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kinds: list[Kind] = []

    def add(
        self, name: str, *, cheap: bool = False
    ) -> Callable[[Callable[[Path], Trained]], Callable[[Path], Trained]]:
        """Makes a kind of a function that trains."""

        def added(train: Callable[[Path], Trained]) -> Callable[[Path], Trained]:
            self.kinds.append(Kind(name, self.name, train, cheap))
            return train

        return added


def trained(model: Any, rows: Rows, positive: Any = 1, **more: Any) -> Trained:
    """A fitted estimator whose own answer is `predict_proba`, or `decision_function` where it has no other.

    Args:
        model: fitted.
        rows: what it is asked.
        positive: the class that is fraud.
        more: further fields.
    """
    scores = probability(model, positive) if hasattr(model, "predict_proba") else margin(model, positive)
    return Trained(model, rows, scores, **more)


def probability(model: Any, positive: Any = 1) -> Scores:
    """The estimator's own probability of a class."""

    def scores(rows: Any) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers = np.asarray(model.predict_proba(rows), dtype=np.float64)
        return answers[:, list(model.classes_).index(positive)]

    return scores


def margin(model: Any, positive: Any = 1) -> Scores:
    """The estimator's own distance from its decision boundary, as the contract maps it to 0..1."""
    towards = 1.0 if list(model.classes_).index(positive) == 1 else -1.0

    def scores(rows: Any) -> np.ndarray:
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            warnings.simplefilter("ignore")
            distances = towards * np.asarray(model.decision_function(rows), dtype=np.float64)
            return 1 / (1 + np.exp(-distances))

    return scores
