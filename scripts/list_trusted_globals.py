#!/usr/bin/env python3
"""Writes model_store/trusted_globals.json: what a model's pickle may name.

    python scripts/list_trusted_globals.py

Every estimator of scikit-learn that fits on a small data set, the estimators of XGBoost and pipelines of them are
fitted and pickled with both serializers. What those pickles name goes onto the list when it is a class of one of the
libraries, or one of the functions reviewed below. Nothing else does, whatever the pickles name: the list is made of
exact names, read by people, and changed in a commit of its own.
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
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

from model_store.trust import REFUSED  # noqa: E402

_LIBRARIES = ("numpy", "scipy", "sklearn", "xgboost", "lightgbm", "joblib.numpy_pickle")
_REVIEWED = {
    # Builds an instance without running its class's own code beyond `__new__`; the class is looked up on this list.
    "copyreg._reconstructor",
    "copyreg.__newobj__",
    # Plain containers and values.
    "builtins.bytearray",
    "builtins.complex",
    "builtins.dict",
    "builtins.float",
    "builtins.frozenset",
    "builtins.int",
    "builtins.list",
    "builtins.object",
    "builtins.range",
    "builtins.set",
    "builtins.slice",
    "builtins.str",
    "builtins.tuple",
    "collections.OrderedDict",
    "collections.defaultdict",
    "_codecs.encode",
    # Arrays and random generators of numpy: make empty objects that a state then fills.
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.numeric._frombuffer",
    "numpy.ma.core._mareconstruct",
    "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
    "numpy.random._pickle.__bit_generator_ctor",
    "numpy.random._pickle.__generator_ctor",
    "numpy.random._pickle.__randomstate_ctor",
    # scikit-learn: make empty objects of a class that is looked up here, or compute figures from arrays.
    "sklearn.cluster._kmeans._kmeans_single_lloyd",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.metrics._dist_metrics.newObj",
    "sklearn.neighbors._ball_tree.newObj",
    "sklearn.neighbors._kd_tree.newObj",
}
_TARGET = CHECKOUT / "model_store" / "trusted_globals.json"


def main() -> int:
    """Writes the list and says what was left out."""
    by_module: dict[str, set[str]] = defaultdict(set)
    left_out: dict[str, set[str]] = defaultdict(set)
    for name in _REVIEWED:
        module, _, attribute = name.rpartition(".")
        by_module[module].add(attribute)
    for label, model in _fitted_models():
        for module, attribute in _names_in(model):
            if _is_trusted(module, attribute):
                by_module[module].add(attribute)
            else:
                left_out[f"{module}.{attribute}"].add(label)
    content = {module: sorted(names) for module, names in sorted(by_module.items())}
    _TARGET.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{sum(map(len, content.values()))} names in {len(content)} modules: {_TARGET.relative_to(CHECKOUT)}")
    for name, labels in sorted(left_out.items()):
        print(f"left out: {name} (named by {', '.join(sorted(labels))})")
    return 0


def _is_trusted(module: str, attribute: str) -> bool:
    name = f"{module}.{attribute}"
    if name in REFUSED:
        return False
    if name in _REVIEWED:
        return True
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    from_library = any(module == library or module.startswith(f"{library}.") for library in _LIBRARIES)
    compiled_constructor = attribute.startswith("__pyx_unpickle_") and module.startswith("sklearn.")
    return from_library and (inspect.isclass(found) or compiled_constructor)


def _names_in(model: Any) -> set[tuple[str, str]]:
    """Every global that a pickle of the model names, seen by really loading it."""
    import joblib
    from joblib.numpy_pickle import NumpyUnpickler

    seen: set[tuple[str, str]] = set()

    class Watching(NumpyUnpickler):  # type: ignore[misc]
        def find_class(self, module: str, name: str) -> Any:
            seen.add((module, name))
            return super().find_class(module, name)

    class WatchingPlain(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            seen.add((module, name))
            return super().find_class(module, name)

    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    Watching("", buffer, ensure_native_byte_order=True).load()
    WatchingPlain(io.BytesIO(pickle.dumps(model, protocol=pickle.HIGHEST_PROTOCOL))).load()
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
            yield f"pipeline of {label}", make_pipeline(StandardScaler(), _default(estimator))
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
        yield f"pipeline of {xgboost_class.__name__}", make_pipeline(StandardScaler(), xgboost_class(n_estimators=3))
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
