#!/usr/bin/env python3
"""Writes model_store/serialization/trusted_globals.json: what a model's pickle may name.

    python scripts/list_trusted_globals.py

Every estimator of scikit-learn that fits on a small data set, and the models of `scripts/ordinary_models.py`, are
fitted and pickled by pickle and by joblib. What those pickles name goes onto the list when it is a class of one of the
libraries, or one of the functions reviewed below; functions that a model holds without making anything go onto it as
names only (`serialization/allow_list.py` tells the three parts). Nothing else does, whatever the pickles name: the list
is made of exact names, read by people, and changed in a commit of its own.
"""

import importlib
import inspect
import io
import json
import pickle
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

from model_store.serialization.allow_list import TRUSTED_GLOBALS_FILE, Global, present_name  # noqa: E402
from model_store.serialization.held_functions import PURE_FUNCTIONS, PURE_SCIPY_FUNCTIONS  # noqa: E402
from scripts.ordinary_models import ordinary_models  # noqa: E402

_LIBRARIES = ("imblearn", "joblib.numpy_pickle", "lightgbm", "numpy", "pandas", "scipy", "sklearn", "xgboost")
_REVIEWED = {
    # Builds an instance without running its class's own code beyond `__new__`; the class is looked up on this list.
    "copyreg": {"_reconstructor", "__newobj__"},
    # Plain containers and values.
    "builtins": {
        "bytearray",
        "bytes",
        "complex",
        "dict",
        "float",
        "frozenset",
        "int",
        "list",
        "object",
        "range",
        "set",
        "slice",
        "str",
        "tuple",
    },
    "collections": {"OrderedDict", "defaultdict"},
    "_codecs": {"encode"},
    # Arrays and random generators of numpy: make empty objects that a state then fills.
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy.ma.core": {"_mareconstruct"},
    "numpy.random.bit_generator": {"__pyx_unpickle_SeedSequence"},
    "numpy.random._pickle": {"__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor"},
    # scikit-learn: make empty objects of a class that is looked up here.
    "sklearn.metrics._dist_metrics": {"newObj"},
    "sklearn.neighbors._ball_tree": {"newObj"},
    "sklearn.neighbors._kd_tree": {"newObj"},
    # Names of columns: both functions are replaced by ones that look at their arguments (checked_constructors.py).
    "pandas": {"NA"},
    "pandas.core.indexes.base": {"_new_Index", "Index"},
    "pandas.core.indexes.range": {"RangeIndex"},
    "pandas.core.indexes.category": {"CategoricalIndex"},
    "pandas.core.arrays.categorical": {"Categorical"},
    "pandas.core.arrays.string_": {"StringDtype"},
    "pandas.core.dtypes.dtypes": {"CategoricalDtype"},
    "pandas._libs.arrays": {"__pyx_unpickle_NDArrayBacked"},
    "pyarrow.lib": {"_restore_array", "py_buffer", "type_for_alias"},
    # Stand-ins, when a model that holds some is saved again. They make inert objects of names on this list.
    "model_store.stand_ins": {"named_function", "revived", "stand_in_class"},
}
_FOR_TRAINING = (
    # Scorers and distributions of searches, callbacks, caches: nothing that answers a request calls one.
    "joblib.memory.",
    "joblib._store_backends.",
    "scipy.stats.",
    "sklearn.metrics._scorer.",
    "xgboost.callback.",
)
_MADE_INERT = {"builtins.getattr", "functools.partial", "numpy.vectorize"}
"""Would read an attribute, or make something to call: what a pickle gets only keeps the arguments."""
_FUNCTIONS_AS_NAMES = {
    "scipy._lib.array_api_compat.numpy._aliases.asarray",
    "sklearn.cluster._kmeans._kmeans_single_lloyd",
    "sklearn.utils.validation.check_array",
    "xgboost.collective.communicator_print",
}
_NEVER = {"sklearn.metrics._dist_metrics.PyFuncDistance", "sklearn.metrics._dist_metrics.PyFuncDistance32"}
"""Call what they hold."""


def main() -> int:
    """Writes the list and says what was left out."""
    parts: dict[str, set[Global]] = {
        "loaded": {(module, name) for module, names in _REVIEWED.items() for name in names} | set(_distances()),
        "stand_in_classes": set(),
        "stand_in_functions": set(_named_functions()),
    }
    left_out: dict[str, set[str]] = defaultdict(set)
    for label, model in _fitted_models():
        for found in _names_in(model):
            part = _part_of(*found)
            if part is None:
                left_out[".".join(found)].add(label)
            else:
                parts[part].add(found)
    parts["stand_in_functions"] -= parts["loaded"]
    content = {part: _by_module(names) for part, names in parts.items()}
    TRUSTED_GLOBALS_FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    counts = ", ".join(f"{len(names)} {part.replace('_', ' ')}" for part, names in parts.items())
    print(f"{counts}: {TRUSTED_GLOBALS_FILE.relative_to(CHECKOUT)}")
    for name, labels in sorted(left_out.items()):
        print(f"left out: {name} (named by {', '.join(sorted(labels))})")
    return 0


def _by_module(names: set[Global]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for module, name in sorted(names):
        found[module].append(name)
    return dict(found)


def _part_of(module: str, name: str) -> str | None:
    full_name = f"{module}.{name}"
    if name in _REVIEWED.get(module, ()):
        return "loaded"
    if full_name in _NEVER:
        return None
    if full_name in _MADE_INERT:
        return "stand_in_classes"
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    if full_name.startswith(_FOR_TRAINING) and inspect.isclass(found):
        return "stand_in_classes"
    if full_name in _FUNCTIONS_AS_NAMES or (module, name) in _named_functions():
        return "stand_in_functions"
    from_library = any(module == library or module.startswith(f"{library}.") for library in _LIBRARIES)
    compiled_constructor = name.startswith("__pyx_unpickle_") and module.startswith("sklearn.")
    return "loaded" if from_library and (inspect.isclass(found) or compiled_constructor) else None


@cache
def _named_functions() -> frozenset[Global]:
    """Functions that a model may hold: numpy's universal ones and the reviewed ones, metrics, scores of features."""
    import numpy as np
    import sklearn.feature_selection
    import sklearn.metrics
    from sklearn.metrics import pairwise

    found = [("numpy", name) for name in dir(np) if isinstance(getattr(np, name), np.ufunc)]
    found = [(module, name) for module, name in found if getattr(np, name).__name__ == name]
    found += [("numpy", name) for name in PURE_FUNCTIONS]
    for name in PURE_SCIPY_FUNCTIONS:
        defined = [
            module for module in ("_ufuncs", "_special_ufuncs") if hasattr(_private(f"scipy.special.{module}"), name)
        ]
        found += [(f"scipy.special.{module}", name) for module in defined]
    for package in (sklearn.metrics, sklearn.feature_selection):
        for name in package.__all__:
            if inspect.isfunction(function := getattr(package, name)):
                found.append((function.__module__, function.__name__))
    for name in ("positive_likelihood_ratio", "negative_likelihood_ratio"):
        found.append(("sklearn.metrics._scorer", name))
    found += [(function.__module__, function.__name__) for function in pairwise.PAIRWISE_KERNEL_FUNCTIONS.values()]
    return frozenset(found)


def _private(module: str) -> Any:
    return importlib.import_module(module)


def _distances() -> Iterator[Global]:
    """The classes of the metrics that neighbours are measured by, in both precisions."""
    module = "sklearn.metrics._dist_metrics"
    for name, found in vars(importlib.import_module(module)).items():
        distance = inspect.isclass(found) and name.endswith(("Distance", "Distance32", "Distance64"))
        if distance and f"{module}.{name}".removesuffix("64") not in _NEVER:
            yield module, name


def _names_in(model: Any) -> set[Global]:
    """Every global that a pickle of the model names, seen by really loading it."""
    import joblib
    from joblib.numpy_pickle import NumpyUnpickler

    seen: set[Global] = set()

    class Watching(NumpyUnpickler):  # type: ignore[misc]
        def find_class(self, module: str, name: str) -> Any:
            seen.add(present_name(module, name))
            return super().find_class(module, name)

    class WatchingPlain(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            seen.add(present_name(module, name))
            return super().find_class(module, name)

    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    Watching("", buffer, ensure_native_byte_order=True).load()
    for protocol in (0, 2, pickle.HIGHEST_PROTOCOL):  # Those between name the same as one of these.
        WatchingPlain(io.BytesIO(pickle.dumps(model, protocol=protocol))).load()
    return seen


def _fitted_models() -> Iterator[tuple[str, Any]]:
    from sklearn.datasets import load_iris

    warnings.simplefilter("ignore")
    data, target = load_iris(return_X_y=True)
    # Three classes, and two, as in fraud: some estimators name other helpers for each.
    for rows, classes in ((data, target), (data[:100], target[:100])):
        for label, model in candidates():
            try:
                model.fit(abs(rows), classes)
            except Exception as error:
                print(f"not fitted: {label} ({type(error).__name__})")
                continue
            yield label, model
    for ordinary in ordinary_models():
        try:
            yield ordinary.label, ordinary.fit()
        except ValueError as error:
            print(f"not fitted: {ordinary.label} ({error})")


def candidates() -> Iterator[tuple[str, Any]]:
    """Unfitted estimators with their labels: alone, in pipelines, and of the usual compositions."""
    from lightgbm import LGBMClassifier, LGBMRegressor
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestClassifier, StackingClassifier, VotingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import FeatureUnion, make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.utils import all_estimators
    from xgboost import XGBClassifier, XGBRegressor, XGBRFClassifier, XGBRFRegressor

    for label, estimator in all_estimators():
        if (model := _default(estimator)) is not None:
            yield label, model
    members = [("a", LogisticRegression()), ("b", RandomForestClassifier(n_estimators=3))]
    yield "voting", VotingClassifier(members)
    yield "stacking", StackingClassifier(members)
    yield "calibrated", CalibratedClassifierCV(LogisticRegression())
    yield "search", GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=StratifiedKFold(3))
    yield "union", FeatureUnion([("a", StandardScaler())])
    columns = ColumnTransformer([("a", StandardScaler(), [0, 1]), ("b", OneHotEncoder(), [2])], remainder="passthrough")
    yield "columns", make_pipeline(columns, LogisticRegression())
    yield "selector", ColumnTransformer([("a", "passthrough", slice(0, 2))])
    for xgboost_class in (XGBClassifier, XGBRegressor, XGBRFClassifier, XGBRFRegressor):
        yield xgboost_class.__name__, xgboost_class(n_estimators=3)
    for lightgbm_class in (LGBMClassifier, LGBMRegressor):
        yield lightgbm_class.__name__, lightgbm_class(n_estimators=3, verbose=-1)


def _default(estimator: Any) -> Any:
    """An instance with default arguments; meta-estimators get a simple one inside."""
    from sklearn.linear_model import LogisticRegression

    parameters = inspect.signature(estimator).parameters
    required = [name for name, item in parameters.items() if item.default is inspect.Parameter.empty]
    if not required:
        return estimator()
    if required in (["estimator"], ["base_estimator"]):
        return estimator(LogisticRegression())
    if required == ["estimators"]:
        return estimator([("a", LogisticRegression())])
    return None


if __name__ == "__main__":
    sys.exit(main())
