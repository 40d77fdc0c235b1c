#!/usr/bin/env python3
"""Writes model_store/serialization/structure/rules.json: what a pickle may name, and how each name may be used.

    python scripts/list_rules.py

Every estimator of scikit-learn that fits on a small data set, and the models of `scripts/ordinary_models.py`, are
fitted and pickled by pickle and by joblib. What those pickles name gets a rule when it is a class of one of the
libraries, or when it stands below with a form. Classes get the form `object`: made without arguments, filled with
attributes. Nothing else gets a rule, whatever the pickles name. Names are exact; a change of the file is a commit.
"""

import argparse
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

from model_store.serialization.allow_list import RULES_FILE  # noqa: E402
from model_store.serialization.held_functions import PURE_FUNCTIONS, PURE_SCIPY_FUNCTIONS  # noqa: E402
from model_store.serialization.names import Global, present_name  # noqa: E402
from scripts.ordinary_models import ordinary_models  # noqa: E402

_LIBRARIES = ("imblearn", "joblib.numpy_pickle", "lightgbm", "numpy", "pandas", "scipy", "sklearn", "xgboost")
_FORMS: dict[str, dict[str, tuple[str, ...]]] = {
    "held": {
        "builtins": ("object", "int", "float", "str", "bool", "dict", "list", "tuple"),
        "numpy": (
            "ndarray",
            *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
            "float16",
            "float32",
            "float64",
            "longdouble",
            "number",
            "integer",
            "floating",
            "generic",
            "inexact",
            "bool",
            "bool_",
            "str_",
            "object_",
            "intp",
        ),
        "numpy.random._mt19937": ("MT19937",),
        "numpy.random._pcg64": ("PCG64",),
        "numpy.random.bit_generator": ("SeedSequence",),
        "numpy.ma": ("MaskedArray",),
        "numpy.ma.core": ("MaskedArray",),
        "pandas": ("NA", "Index", "RangeIndex", "CategoricalIndex"),
        "pandas.core.indexes.base": ("Index",),
        "pandas.core.indexes.range": ("RangeIndex",),
        "pandas.core.indexes.category": ("CategoricalIndex",),
    },
    "object, held": {"sklearn.model_selection._split": ("KFold", "StratifiedKFold")},
    "reconstructor": {"copyreg": ("_reconstructor",)},
    "newobj": {"copyreg": ("__newobj__",)},
    "bytearray": {"builtins": ("bytearray",)},
    "bytes": {"builtins": ("bytes",)},
    "set": {"builtins": ("set", "frozenset")},
    "slice": {"builtins": ("slice",)},
    "range": {"builtins": ("range",)},
    "complex": {"builtins": ("complex",)},
    "encode": {"_codecs": ("encode",)},
    "mapping": {"collections": ("OrderedDict",), "sklearn.utils._bunch": ("Bunch",)},
    "defaultdict": {"collections": ("defaultdict",)},
    "dtype": {"numpy": ("dtype",)},
    "array": {"numpy._core.multiarray": ("_reconstruct",), "numpy.core.multiarray": ("_reconstruct",)},
    "scalar": {"numpy._core.multiarray": ("scalar",), "numpy.core.multiarray": ("scalar",)},
    "buffer": {"numpy._core.numeric": ("_frombuffer",), "numpy.core.numeric": ("_frombuffer",)},
    "masked array": {"numpy.ma.core": ("_mareconstruct",)},
    "bit generator": {"numpy.random._pickle": ("__bit_generator_ctor",)},
    "random generator": {"numpy.random._pickle": ("__randomstate_ctor", "__generator_ctor")},
    "seed": {"numpy.random.bit_generator": ("__pyx_unpickle_SeedSequence",)},
    "joblib array": {"joblib.numpy_pickle": ("NumpyArrayWrapper",)},
    "tree": {"sklearn.tree._tree": ("Tree",)},
    "KD-tree": {"sklearn.neighbors._kd_tree": ("KDTree", "KDTree64", "KDTree32")},
    "ball tree": {"sklearn.neighbors._ball_tree": ("BallTree", "BallTree64", "BallTree32")},
    "empty object": {
        "sklearn.metrics._dist_metrics": ("newObj",),
        "sklearn.neighbors._ball_tree": ("newObj",),
        "sklearn.neighbors._kd_tree": ("newObj",),
    },
    "XGBoost": {"xgboost.core": ("Booster",)},
    "LightGBM": {"lightgbm.basic": ("Booster",)},
    "sparse rows": {"scipy.sparse._csr": ("csr_matrix", "csr_array")},
    "sparse columns": {"scipy.sparse._csc": ("csc_matrix", "csc_array")},
    "spline": {"scipy.interpolate._bsplines": ("BSpline",)},
    "tuple": {"sklearn.impute._iterative": ("_ImputerTriplet",)},
    "index": {"pandas.core.indexes.base": ("_new_Index",)},
    "text type": {"pandas": ("StringDtype",), "pandas.core.arrays.string_": ("StringDtype",)},
    "pandas array": {
        "pandas": ("Categorical",),
        "pandas.arrays": ("StringArray", "NumpyExtensionArray"),
        "pandas.core.arrays.categorical": ("Categorical",),
        "pandas.core.arrays.string_": ("StringArray",),
    },
    "compiled": {"pandas._libs.arrays": ("__pyx_unpickle_NDArrayBacked",)},
    "pandas object": {
        "pandas": ("CategoricalDtype",),
        "pandas.arrays": ("ArrowStringArray",),
        "pandas.core.dtypes.dtypes": ("CategoricalDtype",),
    },
    "Arrow texts": {"pyarrow.lib": ("_restore_array",)},
    "Arrow buffer": {"pyarrow.lib": ("py_buffer",)},
    "Arrow type": {"pyarrow.lib": ("type_for_alias",)},
    "stand-in": {"model_store.stand_ins": ("named_function", "revived", "stand_in_class")},
}
"""Reviewed one by one: each form looks at arguments and state."""
_BECAUSE = {
    "held": "types of columns, and bases that arrays begin from; a model holds them and never calls them",
    "object, held": "repeated splits of a search hold the class of what they repeat",
    "reconstructor": "how protocols 0 and 1 make an object; the class has a rule of its own",
    "newobj": "how protocol 2 makes an object; the class has a rule of its own",
    "bytearray": "bytes, in protocols 0 to 4", "bytes": "no bytes, in protocols 0 to 2",
    "set": "a set, in protocols 0 to 3; its items are plain", "slice": "a range of columns",
    "range": "whole numbers in a row; takes no memory", "complex": "a complex number, made from two others",
    "encode": "bytes, in protocols 0 to 2, as a text in latin1",
    "mapping": "dictionaries of classes of their own; keys are plain",
    "defaultdict": "a dictionary that makes empty values",
    "dtype": "made again from its parts and compared with its state", "array": "as many bytes as shape and type need",
    "scalar": "as many bytes as its type needs", "buffer": "as many bytes as shape and type need",
    "masked array": "results of a search", "bit generator": "a place within the generator's words",
    "random generator": "a place within the generator's words", "seed": "made again: nothing that answers asks for it",
    "joblib array": "as many bytes of the stream as shape and type need",
    "tree": "children, features and values lie within their arrays",
    "KD-tree": "rows and nodes lie within their arrays", "ball tree": "rows and nodes lie within their arrays",
    "empty object": "makes a tree of neighbours or a distance, which a state fills",
    "distance": "numbers only", "XGBoost": "trees lie within their arrays; parsed before the library sees them",
    "LightGBM": "trees lie within their arrays; parsed before the library sees them",
    "sparse rows": "columns lie within the shape", "sparse columns": "rows lie within the shape",
    "spline": "as many coefficients as its knots need", "tuple": "a named tuple with its fields",
    "index": "names of columns", "text type": "a type of texts", "pandas array": "codes lie within the categories",
    "compiled": "Cython's way to make the class that the function is named after",
    "compiled object": "a compiled class without a state", "numbers": "a loss, made from numbers",
    "pandas object": "types and texts of columns", "Arrow texts": "buffers are validated before use",
    "Arrow buffer": "bytes of texts", "Arrow type": "the name of a type",
    "stand-in": "inert objects of names that have a rule", "object": "made without arguments, filled with attributes",
    "function": "held by a model as data; a file gets its name, which it cannot call",
    "inert": "needed for training, never for an answer: a file gets a stand-in",
}  # fmt: skip
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
_OF_NUMBERS = ("sklearn._loss._loss", "sklearn.linear_model._sgd_fast")
_WITHOUT_NUMBERS = {"CyHalfMultinomialLoss"}
_NEVER = {"sklearn.metrics._dist_metrics.PyFuncDistance", "sklearn.metrics._dist_metrics.PyFuncDistance32"}
"""Call what they hold."""


def main() -> int:
    """Writes the rules and says what was left out."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    found: dict[str, set[Global]] = defaultdict(set)
    for form, modules in _FORMS.items():
        found[form] |= {(module, name) for module, names in modules.items() for name in names}
    found["distance"] |= set(_distances())
    found["function"] |= set(_named_functions())
    known = {each for names in found.values() for each in names}
    left_out: dict[str, set[str]] = defaultdict(set)
    for label, model in _fitted_models():
        for each in _names_in(model) - known:
            of = _form_of(*each)
            if of is None:
                left_out[".".join(each)].add(label)
            else:
                found[of].add(each)
    content = {
        form: {
            "because": _BECAUSE[form],
            "held": form in ("held", "object, held", "function", "inert"),
            "names": _by_module(names),
        }
        for form, names in sorted(found.items())
    }
    RULES_FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{sum(map(len, found.values()))} rules in {len(found)} forms: {RULES_FILE.relative_to(CHECKOUT)}")
    for name, labels in sorted(left_out.items()):
        print(f"left out: {name} (named by {', '.join(sorted(labels))})")
    return 0


def _by_module(names: set[Global]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for module, name in sorted(names):
        found[module].append(name)
    return dict(found)


def _form_of(module: str, name: str) -> str | None:
    full_name = f"{module}.{name}"
    if full_name in _NEVER:
        return None
    if full_name in _MADE_INERT:
        return "inert"
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    if full_name.startswith(_FOR_TRAINING) and inspect.isclass(found):
        return "inert"
    if full_name in _FUNCTIONS_AS_NAMES or (module, name) in _named_functions():
        return "function"
    if name.startswith("__pyx_unpickle_") and module.startswith("sklearn."):
        return "compiled"
    if not any(module == library or module.startswith(f"{library}.") for library in _LIBRARIES):
        return None
    if not inspect.isclass(found):
        return None
    if module.startswith(_OF_NUMBERS):
        return "compiled object" if name in _WITHOUT_NUMBERS else "numbers"
    return "object"


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
