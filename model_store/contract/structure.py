"""The structure of a model: a pipeline's column program and the last step's trees."""

from dataclasses import dataclass
from typing import Any

from model_store.contract.columns import Columns
from model_store.contract.contract import Contract
from model_store.contract.pipeline_steps import read_columns
from model_store.errors import InvalidInput
from model_store.serialization.trees import Trees, read_trees


@dataclass(frozen=True)
class Structure:
    """The structure of a model: a pipeline's column program and the last step's trees."""

    columns: Columns | None
    """The program of the columns; None where the steps before the last have no exact one."""
    sparse: bool
    trees: Trees | None
    final: Any
    steps: tuple[Any, ...]
    reason: str
    """Why there are no columns or no trees; empty when there are both."""


def read_structure(model: Any, contract: Contract) -> Structure:
    """Reads the structure of a fitted model."""
    steps, final = _split(model)
    columns, sparse, trees, reasons = None, False, None, []
    try:
        columns, sparse = read_columns(steps, len(contract.features))
    except InvalidInput as error:
        reasons.append(str(error))
    except Exception as error:
        reasons.append(f"its steps cannot be read ({type(error).__name__}: {error})")
    try:
        trees = read_trees(final, contract.positive_index)
    except InvalidInput as error:
        reasons.append(str(error))
    return Structure(columns, sparse, trees, final, tuple(steps), "; ".join(reasons))


def _split(model: Any) -> tuple[list[Any], Any]:
    steps: list[Any] = []
    while True:
        name = type(model).__name__
        if name == "Pipeline" and getattr(model, "steps", None):
            inner = [step for _, step in model.steps]
            # A sampler of imbalanced-learn works in training only.
            steps += [each for each in inner[:-1] if not (hasattr(each, "fit_resample"))]
            model = inner[-1]
        elif name in ("FixedThresholdClassifier", "TunedThresholdClassifierCV"):
            model = model.estimator_
        elif hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        else:
            return steps, model
