"""Checks which functions a loaded model may call, in its object graph, before the first prediction.

An unpickler gets the names of functions (`NamedFunction` of `stand_ins`). Here the pure ones take the place of their
names; the others stay names, which cannot be called. Objects that call a function on every prediction
are refused unless the function is known.
"""

import sys
from collections.abc import Collection, Mapping
from functools import cache, partial
from typing import Any

from model_store.errors import UntrustedType
from model_store.serialization import allow_list
from model_store.serialization.object_graph import walk_objects
from model_store.serialization.stand_ins import NamedFunction, StandIn, StandInClass, real_function
from model_store.serialization.structure.values import Made, Named, qualified_name

PURE_FUNCTIONS = [
    "abs",
    "around",
    "asarray",
    "ascontiguousarray",
    "atleast_2d",
    "clip",
    "column_stack",
    "cumsum",
    "diff",
    "fix",
    "hstack",
    "imag",
    "log1p",
    "max",
    "mean",
    "median",
    "min",
    "nan_to_num",
    "ones_like",
    "prod",
    "ravel",
    "real",
    "real_if_close",
    "reshape",
    "round",
    "sinc",
    "sort",
    "squeeze",
    "std",
    "sum",
    "transpose",
    "unwrap",
    "var",
    "vstack",
    "where",
    "zeros_like",
]
"""Pure functions of numpy beside its universal functions."""
PURE_SCIPY_FUNCTIONS = [
    "boxcox",
    "boxcox1p",
    "cbrt",
    "erf",
    "erfinv",
    "exp10",
    "exp2",
    "expit",
    "expm1",
    "inv_boxcox",
    "inv_boxcox1p",
    "log1p",
    "log_expit",
    "logit",
    "ndtr",
    "ndtri",
    "xlog1py",
    "xlogy",
]
"""Universal functions of scipy.special."""
PURE_OTHERS = frozenset(
    {
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        "sklearn.feature_extraction.text.strip_accents_ascii",
        "sklearn.feature_extraction.text.strip_accents_unicode",
        "sklearn.feature_extraction.text.strip_tags",
        "sklearn.utils.validation.check_array",
    }
)
_NAMED_ARGUMENTS = frozenset(
    {
        "a_max", "a_min", "accept_sparse", "axis", "axes", "copy", "ddof", "decimals", "discont", "ensure_2d",
        "ensure_all_finite", "ensure_min_features", "ensure_min_samples", "estimator", "force_all_finite", "input_name",
        "keepdims", "kind", "max", "min", "n", "nan", "neginf", "posinf", "period", "stable", "tol", "x1", "x2",
    }
)  # fmt: skip
"""Of pure functions. Not among them: where results are put, of what type and shape they are, and which are left out
(`out`, `dtype`, `shape`, `where`): with those an answer can be other memory, or larger than any memory."""
_NUMBER_TYPES = frozenset({"numpy.float64", "numpy.float32"})
"""Types that a function may be told to make of what it gets; of others an array can be of any size."""
_SIZED_BY_ARGUMENT = frozenset({"numpy.ones_like", "numpy.zeros_like", "numpy.asarray", "numpy.ascontiguousarray"})
"""Functions whose second argument is a type or a shape."""
_PARTIAL_STATE = 4
"""Function, arguments, named arguments, attributes."""
_CALLED = {"func": "kw_args", "inverse_func": "inv_kw_args"}
"""Functions of a transformer, each with the named arguments that it gets."""
_READ_FILES = ("filename", "file")


def settle(model: Any, trusted: Collection[str] = (), granted: Collection[Any] = ()) -> Any:
    """Replaces the names of pure functions in a model by the functions.

    Args:
        model: as read from a file.
        trusted: full names that the caller trusts.
        granted: the functions and classes of those names that the file brought in.

    Raises:
        UntrustedType: it would call a function that is neither pure nor trusted, or read files.
    """
    if isinstance(model, NamedFunction | StandIn | StandInClass):
        raise UntrustedType(model.full_name, "instead of a model")
    # What no file has brought in cannot be in the model: then scikit-learn need not be there.
    function_transformers = _loaded("sklearn.preprocessing", "FunctionTransformer")
    vectorizers = _loaded("sklearn.feature_extraction.text", "CountVectorizer", "HashingVectorizer")
    for item in walk_objects(model):
        _put_back(item)
        if isinstance(item, function_transformers):
            _require_known_calls(vars(item), granted)
        if isinstance(item, vectorizers):
            _require_no_files(_qualified_name(item), vars(item), trusted)
    return model


def require_known_calls(model: Any, trusted: Collection[str] = ()) -> None:
    """Raises UntrustedType as `settle` does, for a model that an inspection has read.

    Args:
        model: what an inspection holds in its place.
        trusted: full names that the caller trusts.
    """
    for item in walk_objects(model):
        if type(item) is not Made:
            continue
        kind, state = item.name.rpartition(".")[2], item.about.get("state", {})
        if kind == "FunctionTransformer":
            _require_known_calls(state, (), trusted)
        elif kind in ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer"):
            _require_no_files(item.name, state, trusted)


def _require_known_calls(state: Mapping[str, Any], granted: Collection[Any], trusted: Collection[str] = ()) -> None:
    for attribute, arguments in _CALLED.items():
        function = state.get(attribute)
        if function is not None and not any(function is known or type(function) is known for known in granted):
            _require_known(function, state.get(arguments), trusted)


def _require_no_files(kind: str, state: Mapping[str, Any], trusted: Collection[str]) -> None:
    told = state.get("input", "content")
    name = f"{kind}(input={told!r})" if type(told) is str else kind
    if (type(told) is not str or told in _READ_FILES) and name not in trusted:
        raise UntrustedType(name, "which reads the files that requests name")


def _loaded(module: str, *names: str) -> tuple[Any, ...]:
    """Classes of a module; empty when the module is not imported."""
    found = sys.modules.get(module)
    return tuple(getattr(found, name) for name in names) if found else ()


def _put_back(item: Any) -> None:
    """Replaces names of pure functions by the functions, in an object's attributes, dictionaries and lists."""
    holder = item if isinstance(item, dict | list) else getattr(item, "__dict__", None)
    if not isinstance(holder, dict | list):
        return
    for place, value in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
        if type(value) is NamedFunction and _is_pure_name(value.full_name):
            holder[place] = real_function(value.full_name)
        elif isinstance(value, StandIn) and value.full_name == "functools.partial":
            holder[place] = _partial(value)


def _partial(inert: StandIn) -> Any:
    """A pure function with some of its arguments, where they are harmless; else the stand-in itself."""
    function, given, named = _split_partial(inert)
    if type(function) is not NamedFunction or not _is_pure_name(function.full_name):
        return inert
    if _unknown_arguments(named) or (given and function.full_name in _SIZED_BY_ARGUMENT):
        return inert
    return partial(real_function(function.full_name), *given, **named)


def _split_partial(function: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """A function, and the arguments that it is given beforehand."""
    if type(function) is partial:
        return function.func, function.args, function.keywords
    kept = function.about.get("kept") if type(function) is Made else getattr(function, "state", None)
    if isinstance(function, StandIn | Made) and isinstance(kept, tuple) and len(kept) == _PARTIAL_STATE:
        inner, given, named, _ = kept
        return inner, given if type(given) is tuple else (), named if type(named) is dict else {}
    return function, (), {}


def _require_known(function: Any, arguments: Any, trusted: Collection[str] = ()) -> None:
    """Raises UntrustedType unless a transformer calls a pure function harmlessly."""
    function, given, named = _split_partial(function)
    by_name = type(function) in (NamedFunction, Named)
    name = (
        str(getattr(function, "full_name", None) or getattr(function, "name", ""))
        if by_name
        else _qualified_name(function)
    )
    if name in trusted:
        return
    if not (_is_pure_name(name) if by_name else _is_pure(function)):
        raise UntrustedType(name, "which a FunctionTransformer calls on every prediction")
    unknown = _unknown_arguments({**named, **(arguments or {})})
    if unknown or (given and name in _SIZED_BY_ARGUMENT):
        raise UntrustedType(name, f"which a FunctionTransformer calls with {', '.join(unknown) or 'a type or a shape'}")


def _unknown_arguments(named: Mapping[str, Any]) -> list[str]:
    """Names of harmful arguments, sorted."""
    kinds = named.get("dtype")
    listed = list(kinds) if isinstance(kinds, list | tuple) else [kinds]
    harmless = _NAMED_ARGUMENTS | ({"dtype"} if listed and set(map(qualified_name, listed)) <= _NUMBER_TYPES else set())
    return sorted(str(name) for name in named if name not in harmless)


def _qualified_name(value: Any) -> str:
    named = value if hasattr(value, "__name__") else type(value)
    name = getattr(named, "__qualname__", named.__name__)
    return f"{getattr(named, '__module__', None) or type(named).__module__}.{name}"


def _is_pure(function: Any) -> bool:
    """Whether an object is one of the pure functions itself; its name proves nothing."""
    return any(function is known for known in _pure_functions())


def _is_pure_name(full_name: str) -> bool:
    module, _, name = full_name.rpartition(".")
    if module == "numpy":
        return (module, name) in allow_list.stand_in_functions()
    return full_name in PURE_OTHERS or (module.startswith("scipy.special.") and name in PURE_SCIPY_FUNCTIONS)


@cache
def _pure_functions() -> list[Any]:
    names = (f"{module}.{name}" for module, name in allow_list.stand_in_functions())
    return [function for name in names if _is_pure_name(name) and (function := _find_function(name)) is not None]


def _find_function(full_name: str) -> Any:
    try:
        return real_function(full_name)
    except (ImportError, AttributeError):
        return None  # Of another version of its library.
