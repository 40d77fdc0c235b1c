"""Forms of scikit-learn, XGBoost, LightGBM, pandas and pyarrow: objects with compiled code behind them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from model_store.serialization.structure import numbers
from model_store.serialization.structure.boosters import require_lightgbm, require_xgboost, xgboost_document
from model_store.serialization.structure.forms import (
    MOST_IN_RANGE,
    CompiledObjectForm,
    Form,
    ObjectForm,
    is_named,
    require_attributes,
)
from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.rule import Rule
from model_store.serialization.structure.values import Made, Named

_TREE_STATE = {"max_depth", "node_count", "nodes", "values"}
_NEIGHBOURS_STATE = 13
_MOST_OUTPUTS = 10_000
_TEXT_BUFFERS = 3
_RANGE = {"start": 0, "stop": 0, "step": 1}


def _looked_at(m: Machine, rule: Rule, look: Any, *arguments: Any, **named: Any) -> Any:
    """What a look at numbers finds; its ValueError becomes a refusal."""
    try:
        return look(*arguments, **named)
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        return m.refuse("numbers", f"{rule.name}: {error}", rule.name)


class TreeForm(Form):
    """`sklearn.tree._tree.Tree`."""

    called = True
    needs_state = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """An empty tree."""
        fits = len(arguments) == 3 and isinstance(arguments[1], np.ndarray) and arguments[1].dtype.kind in "iu"
        if not fits or not all(isinstance(each, int) and each > 0 for each in arguments[::2]):
            m.refuse("call", "a tree is not begun as scikit-learn writes it", rule.name)
        features, classes, outputs = arguments
        if outputs > _MOST_OUTPUTS or classes.shape != (outputs,):
            m.refuse("numbers", "a tree does not have a number of classes for each answer", rule.name)
        if classes.min() < 1 or classes.max() > numbers.MOST_CLASSES:
            m.refuse("numbers", "a tree does not have a number of classes for each answer", rule.name)
        about = {"features": features, "outputs": outputs, "classes": int(classes.max())}
        made = self.named(rule)(*arguments) if m.real else Made(rule.name)
        m.note(made, about)
        return m.remember(made, rule)

    def fill(self, m: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets nodes and values that make one tree."""
        if type(state) is not dict or set(state) != _TREE_STATE:
            m.refuse("state", "a tree's state is not what scikit-learn writes", rule.name)
        nodes, values, about = state["nodes"], state["values"], m.noted(instance)
        _looked_at(m, rule, numbers.require_sklearn_tree, nodes, values, **about)
        count, depth = state["node_count"], state["max_depth"]
        if not isinstance(count, int | np.integer) or count != len(nodes) or not isinstance(depth, int | np.integer):
            m.refuse("numbers", "a tree does not have as many nodes as it tells of", rule.name)
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

    def fill(self, m: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets arrays that belong together."""
        if type(state) is not tuple or len(state) != _NEIGHBOURS_STATE:
            m.refuse("state", f"the state of a {rule.name} is not what scikit-learn writes", rule.name)
        _looked_at(m, rule, numbers.require_neighbours_tree, state, bounds=self._bounds)
        metric, weights = state[11], state[12]
        self._require_metric(m, rule, metric, state[0].shape[1])
        if ".metrics._dist_metrics." not in f".{_class_name(metric)}.".replace("sklearn.", ".", 1):
            m.refuse("numbers", f"a {rule.name} has no distance", rule.name)
        if weights is not None and (not isinstance(weights, np.ndarray) or weights.shape != (len(state[0]),)):
            m.refuse("numbers", f"a {rule.name} does not have a weight for each row", rule.name)
        if type(instance) is not Made:
            instance.__setstate__(state)

    @staticmethod
    def _require_metric(m: Machine, rule: Rule, metric: Any, features: int) -> None:
        """Raises StructureRefused unless a distance has a weight for each feature, where it weighs them."""
        get_state = getattr(metric, "__getstate__", None)
        state = metric.about.get("state") if type(metric) is Made else get_state() if get_state else None
        if type(state) is not tuple or len(state) != 3:
            m.refuse("numbers", f"a {rule.name} has no distance", rule.name)
        _, vector, matrix = state
        name = _class_name(metric).rpartition(".")[2]
        sizes = (features,) if name.startswith("SEuclidean") else (0, 1, features)
        if len(vector) not in sizes or (name.startswith("Mahalanobis") and matrix.shape != (features, features)):
            m.refuse("numbers", f"the distance of a {rule.name} does not fit its features", rule.name)


def _class_name(value: Any) -> str:
    return value.name if type(value) is Made else f"{type(value).__module__}.{type(value).__qualname__}"


class MetricForm(Form):
    """A distance of scikit-learn."""

    called = True

    def fill(self, m: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets its numbers."""
        fits = type(state) is tuple and len(state) == 3 and isinstance(state[0], float | int)
        if not fits or not all(isinstance(each, np.ndarray) and each.dtype == np.float64 for each in state[1:]):
            m.refuse("state", "a distance's state is not what scikit-learn writes", rule.name)
        _, vector, matrix = state
        square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
        if vector.ndim != 1 or not square or (matrix.size > 1 and vector.size > 1 and len(vector) != len(matrix)):
            m.refuse("numbers", "a distance's matrix does not fit its vector", rule.name)
        if type(instance) is Made:
            instance.about["state"] = state
        else:
            instance.__setstate__(state)


class XGBoostForm(ObjectForm):
    """`xgboost.core.Booster`: its model in UBJSON or JSON."""

    needs_state = True

    def look(self, m: Machine, rule: Rule, instance: Any, state: dict[str, Any]) -> None:
        """Looks at the model's numbers."""
        handle = state.get("handle")
        if type(handle) is not bytearray:
            m.refuse("state", "a booster of XGBoost has no model", rule.name)
        version = _looked_at(m, rule, require_xgboost, _looked_at(m, rule, xgboost_document, handle))
        if version:
            m.versions["xgboost"] = version


class LightGBMForm(ObjectForm):
    """`lightgbm.basic.Booster`: its model as a text."""

    needs_state = True

    def look(self, m: Machine, rule: Rule, instance: Any, state: dict[str, Any]) -> None:
        """Looks at the model's numbers."""
        found = [state[name] for name in ("_handle", "handle") if name in state]
        if len(found) != 1 or type(found[0]) is not str:
            m.refuse("state", "a booster of LightGBM has no model", rule.name)
        _looked_at(m, rule, require_lightgbm, found[0])


class SparseForm(ObjectForm):
    """A sparse matrix in compressed rows or columns."""

    needs_state = True

    def __init__(self, *, by_column: bool) -> None:
        self._by_column = by_column

    def look(self, m: Machine, rule: Rule, instance: Any, state: dict[str, Any]) -> None:
        """Looks at its places."""
        _looked_at(m, rule, numbers.require_sparse, state, by_column=self._by_column)


class SplineForm(ObjectForm):
    """`scipy.interpolate.BSpline`."""

    needs_state = True

    def look(self, m: Machine, rule: Rule, instance: Any, state: dict[str, Any]) -> None:
        """Looks at its knots."""
        knots, coefficients = (state.get(f"_{name}", state.get(name)) for name in "tc")
        _looked_at(m, rule, numbers.require_spline, knots, coefficients, state.get("k"))


class IndexForm(Form):
    """pandas' `_new_Index`: names of columns."""

    called = True
    takes_globals = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The index."""
        kinds = ("pandas.Index", "pandas.RangeIndex", "pandas.CategoricalIndex", "pandas.core.indexes.base.Index",
                 "pandas.core.indexes.range.RangeIndex", "pandas.core.indexes.category.CategoricalIndex")  # fmt: skip
        if len(arguments) != 2 or type(arguments[1]) is not dict or not any(is_named(arguments[0], k) for k in kinds):
            m.refuse("call", f"{rule.name} makes something else than an index", rule.name)
        if not all(_fits_index(key, value) for key, value in arguments[1].items()):
            m.refuse("call", "an index of columns is not made from an array or a range", rule.name)
        first, last, step = (arguments[1].get(name, default) for name, default in _RANGE.items())
        if step == 0 or range(first, last, step)[MOST_IN_RANGE:]:
            m.refuse("size", "an index of columns is longer than a model has columns", rule.name)
        return self.named(rule)(*arguments) if m.real else Made("pandas.Index")


def _fits_index(key: Any, value: Any) -> bool:
    """Whether pandas writes it so; of lists and ranges it would make an array, however large."""
    if key == "data":
        return isinstance(value, np.ndarray) or type(value) is Made or type(value).__module__.startswith("pandas.")
    return key == "name" or (key in ("start", "stop", "step") and type(value) is int)


class TextTypeForm(Form):
    """`pandas.StringDtype`."""

    called = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The type."""
        if not arguments or len(arguments) > 2 or arguments[0] not in ("python", "pyarrow", "pyarrow_numpy"):
            m.refuse("call", "a type of texts is not written as pandas writes it", rule.name)
        return self.named(rule)(*arguments) if m.real else Made(rule.name)


class PandasArrayForm(CompiledObjectForm):
    """An array of pandas around one of numpy."""

    needs_state = True

    def made_by(self, rule: Rule) -> bool:
        """Whether it is the class above that makes it."""
        return rule.attribute == "__pyx_unpickle_NDArrayBacked"

    def new(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """An empty one."""
        if arguments:
            m.refuse("make", f"an object of {rule.name} is made from arguments", rule.name)
        return m.remember(_empty(self, m, rule), rule)

    def fill(self, m: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets type and array."""
        if type(state) is not tuple or not 2 <= len(state) <= 3 or not any(isinstance(x, np.ndarray) for x in state):
            m.refuse("state", f"the state of a {rule.name} is not what pandas writes", rule.name)
        for kind in state:
            categories = getattr(kind, "categories", None)
            if categories is not None:
                codes = next(each for each in state if isinstance(each, np.ndarray))
                _looked_at(m, rule, numbers.require_within, codes, len(categories), "a code of a category", low=-1)
        if type(instance) is not Made:
            instance.__setstate__(state)


def _empty(form: Form, m: Machine, rule: Rule) -> Any:
    if not m.real:
        return Made(rule.name)
    kind = form.named(rule)
    return kind.__new__(kind)


class ArrowTextsForm(Form):
    """pyarrow's `_restore_array`, which believes what it is told of its buffers: for texts only."""

    called = True

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The array, after a look at its buffers."""
        if len(arguments) != 1 or type(arguments[0]) is not tuple or len(arguments[0]) != 7:
            m.refuse("call", "an Arrow array is not written as pyarrow writes it", rule.name)
        if not m.real:
            return Made("pyarrow.Array")
        return _looked_at(m, rule, _arrow_texts, arguments[0])


def _arrow_texts(data: tuple[Any, ...]) -> Any:
    import pyarrow

    kind, length, gaps, offset, buffers, children, dictionary = data
    if kind not in (pyarrow.string(), pyarrow.large_string()) or children or dictionary is not None:
        raise TypeError(f"an Arrow array of {kind}; only arrays of text are read")
    if not all(type(number) is int and number >= 0 for number in (length, offset)) or len(buffers) != _TEXT_BUFFERS:
        raise ValueError("an Arrow array whose length, offset or buffers are not those of text")
    array = pyarrow.Array.from_buffers(kind, length, list(buffers), gaps, offset)
    array.validate(full=True)
    return array


class ArrowPartForm(Form):
    """A buffer or a type of pyarrow."""

    called = True

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def call(self, m: Machine, rule: Rule, arguments: tuple[Any, ...]) -> Any:
        """The part."""
        if len(arguments) != 1 or type(arguments[0]) is not self._kind:
            m.refuse("call", f"{rule.name} is called with other arguments than pyarrow writes", rule.name)
        return self.named(rule)(*arguments) if m.real else Made(rule.name)


class PlainObjectForm(ObjectForm):
    """An object of pandas whose state is a dictionary with names of its own."""

    def fill(self, m: Machine, rule: Rule, instance: Any, state: Any) -> Any:
        """Sets the attributes."""
        require_attributes(m, rule, None, state)
        if type(instance) is not Made:
            instance.__setstate__(state) if hasattr(instance, "__setstate__") else vars(instance).update(state)


FORMS: Mapping[str, Form] = {
    "tree": TreeForm(),
    "KD-tree": NeighboursForm(2),
    "ball tree": NeighboursForm(1),
    "distance": MetricForm(),
    "XGBoost": XGBoostForm(),
    "LightGBM": LightGBMForm(),
    "sparse rows": SparseForm(by_column=False),
    "sparse columns": SparseForm(by_column=True),
    "spline": SplineForm(),
    "index": IndexForm(),
    "text type": TextTypeForm(),
    "pandas array": PandasArrayForm(),
    "pandas object": PlainObjectForm(),
    "Arrow texts": ArrowTextsForm(),
    "Arrow buffer": ArrowPartForm(bytearray),
    "Arrow type": ArrowPartForm(str),
}
__all__ = ("FORMS", "Named")
