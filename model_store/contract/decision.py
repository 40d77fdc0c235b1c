"""The class that is fraud, and the score from which a transaction is fraud."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from model_store.errors import InvalidInput

DEFAULT_THRESHOLD = 0.5
FRAUD_WORDS = ("fraud", "fraudulent", "is_fraud", "isfraud", "fraudster", "scam", "true", "yes", "y", "1", "1.0")
"""Labels of fraud, in lower case; used when exactly one class has one of them."""


def list_classes(model: Any) -> list[Any]:
    """The classes of a classifier, in the order of its probabilities, as plain values.

    Raises:
        InvalidInput: it does not tell them, or they are not texts, numbers or booleans.
    """
    found = getattr(model, "classes_", None)
    if found is None:
        raise InvalidInput(f"{type(model).__name__} does not say which classes it tells apart; is it fitted?")
    if isinstance(found, list) and found and isinstance(found[0], np.ndarray):
        raise InvalidInput(f"{type(model).__name__} answers several questions at once; register one per question")
    values: list[Any] = np.asarray(found).tolist()
    for value in values:
        if not isinstance(value, str | int | float | bool):
            raise InvalidInput(f"class {value!r} is not allowed; allowed: texts, numbers, true and false")
    if len(values) < 2:
        raise InvalidInput(f"the model knows one class, {values[0] if values else None!r}; it cannot tell fraud apart")
    return values


def positive_index(classes: Sequence[Any], wanted: Any | None) -> int:
    """Which of the classes is fraud.

    Args:
        classes: of the model.
        wanted: the class that is fraud, as its value or as text; None to recognize it by its label.

    Raises:
        InvalidInput: no class has this value, or no class is recognized as fraud by its label.
    """
    shown = ", ".join(_text(each) for each in classes)
    if wanted is not None:
        matches = [number for number, each in enumerate(classes) if each == wanted and type(each) is type(wanted)]
        matches = matches or [number for number, each in enumerate(classes) if _text(each) == _text(wanted)]
        if not matches:
            raise InvalidInput(f"positive class {wanted!r} is not one of the model's classes: {shown}")
        return matches[0]
    if len(classes) == 2 or any(isinstance(each, str) for each in classes):
        found = [number for number, each in enumerate(classes) if _text(each).lower() in FRAUD_WORDS]
        others = [_text(each).lower() for number, each in enumerate(classes) if number not in found]
        by_word = len(classes) == 2 or _text(classes[found[0]]).lower().startswith(("fraud", "is")) if found else False
        # 1 means fraud beside 0 or -1; beside 2, both can.
        plain = (
            not found or _text(classes[found[0]]) not in ("1", "1.0") or others in (["0"], ["0.0"], ["-1"], ["-1.0"])
        )
        if len(found) == 1 and by_word and plain:
            return found[0]
    raise InvalidInput(f"the classes are {shown}; say which one is fraud with --positive-class (positive_class=)")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    return f"{value:g}" if isinstance(value, float) and value.is_integer() else str(value)


def own_threshold(model: Any, positive: Any) -> tuple[float, bool] | None:
    """The estimator's own threshold; None when it has none.

    Returns:
        The threshold, and whether the score of the positive class decides by it. Where another score does (the other
        class's, or the decision function beside probabilities), only the estimator's own `predict` decides.
    """
    final = _final(model)
    name = type(final).__name__
    if name == "FixedThresholdClassifier":
        found, method = final.threshold, final.response_method
        if found == "auto":
            return None
    elif name == "TunedThresholdClassifierCV":
        found, method = final.best_threshold_, final.response_method
    else:
        return None
    pos_label = next(
        (each for each in (getattr(final, "pos_label", None), getattr(final, "_pos_label", None)) if each is not None),
        np.asarray(final.classes_).tolist()[-1],
    )
    probabilities = hasattr(final.estimator_, "predict_proba")
    by_decision = method == "decision_function" or (method == "auto" and not probabilities)
    chosen = float(found)
    if by_decision:
        # The score of a decision function is 1 / (1 + exp(-decision)).
        chosen = 1 / (1 + math.exp(-chosen)) if abs(chosen) < 700 else float(chosen > 0)
    if pos_label != positive:
        chosen = 1 - chosen
    return chosen, pos_label == positive and by_decision != probabilities


def require_one_answer_a_class(model: Any, classes: Sequence[Any]) -> None:
    """Raises InvalidInput for a decision function that compares pairs of classes, of which none is a class's own."""
    final = _final(model)
    if len(classes) > 2 and getattr(final, "decision_function_shape", None) == "ovo":
        raise InvalidInput(
            f"{type(final).__name__} compares pairs of classes (decision_function_shape='ovo'), which is not a score "
            "of one class; train it with 'ovr', or with probability=True"
        )


def _final(model: Any) -> Any:
    while True:
        if steps := getattr(model, "steps", None):
            model = steps[-1][1]
        elif (best := getattr(model, "best_estimator_", None)) is not None:
            model = best
        else:
            return model


def require_threshold(value: Any) -> float:
    """A threshold that was given.

    Raises:
        InvalidInput: it is not a number from 0 to 1.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= float(value) <= 1:
        raise InvalidInput(f"threshold {value!r} is not allowed; allowed: a number from 0 to 1")
    return float(value)
