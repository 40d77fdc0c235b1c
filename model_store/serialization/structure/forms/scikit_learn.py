"""Forms of scikit-learn's compiled trees and distances: their numbers are checked before compiled code reads them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from model_store.serialization.structure import numbers
from model_store.serialization.structure.forms.objects import run_check
from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.rule import Form, Rule
from model_store.serialization.structure.values import Made

_TREE_STATE = {"max_depth", "node_count", "nodes", "values"}
_NEIGHBOURS_STATE = 13
_MOST_OUTPUTS = 10_000


class TreeForm(Form):
    """`sklearn.tree._tree.Tree`."""

    called = True
    needs_state = True

    def call(self, machine: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """An empty tree."""
        fits = len(arguments) == 3 and isinstance(arguments[1], np.ndarray) and arguments[1].dtype.kind in "iu"
        if not fits or not all(isinstance(each, int) and each > 0 for each in arguments[::2]):
            machine.refuse("call", "a tree is made with arguments that scikit-learn does not write", rule.name)
        features, classes, outputs = arguments
        if outputs > _MOST_OUTPUTS or classes.shape != (outputs,):
            machine.refuse("numbers", "a tree does not have the number of classes of each output", rule.name)
        if classes.min() < 1 or classes.max() > numbers.MOST_CLASSES:
            machine.refuse("numbers", "a tree has an output with too few or too many classes", rule.name)
        about = {"features": features, "outputs": outputs, "classes": int(classes.max())}
        made = self.named(rule)(*arguments) if machine.real else Made(rule.name)
        machine.note(made, about)
        return machine.remember(made, rule)

    def fill(self, machine: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets nodes and values that make one tree."""
        if type(state) is not dict or set(state) != _TREE_STATE:
            machine.refuse("state", "a tree's state is not what scikit-learn writes", rule.name)
        nodes, values, about = state["nodes"], state["values"], machine.noted(instance)
        run_check(machine, rule, numbers.require_sklearn_tree, nodes, values, **about)
        count, depth = state["node_count"], state["max_depth"]
        if not isinstance(count, int | np.integer) or count != len(nodes) or not isinstance(depth, int | np.integer):
            machine.refuse("numbers", "a tree has another number of nodes than it declares", rule.name)
        if type(instance) is Made:
            instance.about["features"] = about["features"]
        else:
            instance.__setstate__(state)


class NeighboursForm(Form):
    """A KD-tree or a ball tree."""

    called = True
    needs_state = True

    def __init__(self, bounds: int) -> None:
        self._bounds = bounds

    def fill(self, machine: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets arrays that belong together."""
        if type(state) is not tuple or len(state) != _NEIGHBOURS_STATE:
            machine.refuse("state", f"the state of a {rule.name} is not what scikit-learn writes", rule.name)
        run_check(machine, rule, numbers.require_neighbours_tree, state, bounds=self._bounds)
        metric, weights = state[11], state[12]
        self._require_metric(machine, rule, metric, state[0].shape[1])
        if ".metrics._dist_metrics." not in f".{_class_name(metric)}.".replace("sklearn.", ".", 1):
            machine.refuse("numbers", f"a {rule.name} has no distance", rule.name)
        if weights is not None and (not isinstance(weights, np.ndarray) or weights.shape != (len(state[0]),)):
            machine.refuse("numbers", f"a {rule.name} does not have a weight for each row", rule.name)
        if type(instance) is not Made:
            instance.__setstate__(state)

    @staticmethod
    def _require_metric(machine: Machine, rule: Rule, metric: Any, features: int) -> None:
        """Raises StructureRefused unless a distance has a weight for each feature, where it weighs them."""
        get_state = getattr(metric, "__getstate__", None)
        state = metric.about.get("state") if type(metric) is Made else get_state() if get_state else None
        if type(state) is not tuple or len(state) != 3:
            machine.refuse("numbers", f"a {rule.name} has no distance", rule.name)
        _, vector, matrix = state
        name = _class_name(metric).rpartition(".")[2]
        sizes = (features,) if name.startswith("SEuclidean") else (0, 1, features)
        if len(vector) not in sizes or (name.startswith("Mahalanobis") and matrix.shape != (features, features)):
            machine.refuse("numbers", f"the distance of a {rule.name} does not fit its features", rule.name)


def _class_name(value: Any) -> str:
    return value.name if type(value) is Made else f"{type(value).__module__}.{type(value).__qualname__}"


class MetricForm(Form):
    """A distance of scikit-learn."""

    called = True

    def fill(self, machine: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets its numbers."""
        fits = type(state) is tuple and len(state) == 3 and isinstance(state[0], float | int)
        if not fits or not all(isinstance(each, np.ndarray) and each.dtype == np.float64 for each in state[1:]):
            machine.refuse("state", "a distance's state is not what scikit-learn writes", rule.name)
        _, vector, matrix = state
        square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
        if vector.ndim != 1 or not square or (matrix.size > 1 and vector.size > 1 and len(vector) != len(matrix)):
            machine.refuse("numbers", "a distance's matrix does not fit its vector", rule.name)
        if type(instance) is Made:
            instance.about["state"] = state
        else:
            instance.__setstate__(state)


FORMS: Mapping[str, Form] = {
    "tree": TreeForm(),
    "KD-tree": NeighboursForm(2),
    "ball tree": NeighboursForm(1),
    "distance": MetricForm(),
}
