"""What a file may name: nothing runs that is not on the allow-list."""

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from model_store import SecureModelPersistence, SerializationFormat
from model_store.errors import ModelStoreError, StructureRefused, UnreadableModel, UntrustedType
from model_store.serialization.formats import dump_model, load_model
from model_store.serialization.model_files import inspect_model_file, load_model_file
from model_store.serialization.trust import load_pickle
from tests.checkout import SOURCE


def _reduce(function: Any, *arguments: Any) -> bytes:
    class Gadget:
        def __reduce__(self) -> Any:
            return function, arguments

    return pickle.dumps(Gadget())


def _gadgets(sign: Path) -> dict[str, bytes]:
    import functools
    import operator

    command = f"touch {sign}"
    return {
        "os.system": _reduce(os.system, command),
        "builtins.eval": _reduce(eval, f"__import__('os').system('{command}')"),
        "builtins.exec": _reduce(exec, f"import os; os.system('{command}')"),
        "functools.partial": _reduce(functools.partial, os.system, command),
        "operator.attrgetter": _reduce(operator.attrgetter, "system"),
        "subprocess.Popen": _reduce(subprocess.Popen, ["touch", str(sign)]),
        "importlib.import_module": b"cimportlib\nimport_module\n(S'os'\ntR.",
        "numpy.f2py.crackfortran.myeval": b"cnumpy.f2py.crackfortran\nmyeval\n(S'1'\ntR.",
        "builtins.getattr": _reduce(getattr, "os", "system"),
    }


NAMES = sorted(_gadgets(Path("x")))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", [".pkl", ".joblib"])
def test_a_file_made_to_run_code_is_refused_by_name_and_runs_nothing(tmp_path: Path, name: str, suffix: str) -> None:
    sign = tmp_path / "it_ran"
    file = tmp_path / f"model{suffix}"
    file.write_bytes(_gadgets(sign)[name])
    with pytest.raises(UntrustedType) as refused:
        load_model_file(file)
    assert refused.value.name in (name, name.replace("os.", "posix."), "posix.system")
    assert not sign.exists()


def test_a_gadget_inside_an_object_array_of_joblib_is_refused(tmp_path: Path) -> None:
    class Gadget:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'it_ran'}",)

    array = np.empty(1, dtype=object)
    array[0] = Gadget()
    joblib.dump({"array": array}, tmp_path / "model.joblib")
    with pytest.raises(UntrustedType, match=r"posix\.system"):
        load_model_file(tmp_path / "model.joblib")
    assert not (tmp_path / "it_ran").exists()


def test_an_authentic_artifact_with_a_gadget_is_refused_too(tmp_path: Path) -> None:
    class Gadget:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'it_ran'}",)

    persistence = SecureModelPersistence(SecureModelPersistence.generate_encryption_key())
    persistence.save_model_secure(Gadget(), tmp_path / "a")
    with pytest.raises(UntrustedType):
        persistence.load_model_secure(tmp_path / "a")
    assert not (tmp_path / "it_ran").exists()


def test_only_the_caller_can_trust_more_and_only_by_exact_name(tmp_path: Path) -> None:
    from fractions import Fraction

    persistence = SecureModelPersistence()
    persistence.save_model_secure(Fraction(1, 3), tmp_path / "a")
    with pytest.raises(UntrustedType, match=r"fractions\.Fraction"):
        persistence.load_model_secure(tmp_path / "a", trusted=["fractions"])
    assert persistence.load_model_secure(tmp_path / "a", trusted=["fractions.Fraction"])[0] == Fraction(1, 3)


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_joblib_files_are_read_with_every_compression_of_joblib(tmp_path: Path, compress: Any) -> None:
    joblib.dump({"a": np.arange(5000.0)}, tmp_path / "model.joblib", compress=compress)
    assert load_model_file(tmp_path / "model.joblib")["a"][-1] == 4999


@pytest.mark.parametrize("content", [b"", b"\x80", b"not a pickle", b"\x1f\x8b\x08broken", b"\x78\x9c\x00"])
def test_a_file_that_holds_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.joblib").write_bytes(content)
    with pytest.raises(ModelStoreError):
        load_model_file(tmp_path / "model.joblib")


def test_bytes_after_the_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps([1]) + b"more")
    with pytest.raises(ModelStoreError, match="after the end"):
        load_model_file(tmp_path / "model.pkl")


def test_a_truncated_model_is_refused_as_unreadable() -> None:
    buffer = io.BytesIO()
    dump_model([1, 2, 3], buffer, SerializationFormat.JOBLIB)
    with pytest.raises(UnreadableModel):
        load_model(io.BufferedReader(io.BytesIO(buffer.getvalue()[:-3])), SerializationFormat.JOBLIB)


def test_inspect_shows_what_a_file_names_without_loading_it(tmp_path: Path) -> None:
    sign = tmp_path / "it_ran"
    (tmp_path / "model.pkl").write_bytes(_gadgets(sign)["os.system"])
    found = inspect_model_file(tmp_path / "model.pkl")
    assert found["untrusted"] == ["posix.system"]
    assert not sign.exists()


def test_models_saved_where_dill_is_imported_name_nothing_of_dill() -> None:
    program = """
import dill, io, sys
import numpy as np
from xgboost import XGBClassifier
from model_store import SerializationFormat
from model_store.serialization.formats import dump_model, load_model
from model_store.serialization.trust import load_pickle
model = XGBClassifier(n_estimators=2).fit(np.random.rand(20, 2), np.arange(20) % 2)
for serializer in (SerializationFormat.JOBLIB, SerializationFormat.PICKLE):
    buffer = io.BytesIO()
    dump_model(model, buffer, serializer)
    assert b"dill" not in buffer.getvalue(), serializer
    buffer.seek(0)
    load_model(io.BufferedReader(buffer), serializer)
"""
    subprocess.run([sys.executable, "-c", program], cwd=SOURCE, check=True, timeout=120)


@pytest.mark.parametrize("package", ["model_store", "stacks"])
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    heavy = ["numpy", "sklearn", "xgboost", "joblib", "cryptography", "pulumi", "grpc", "pydantic", "httpx"]
    program = f"import sys, {package}; print([name for name in {heavy} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", program], cwd=SOURCE, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "[]"


def test_listing_a_registry_loads_nothing_heavy(tmp_path: Path) -> None:
    heavy = ["numpy", "sklearn", "xgboost", "joblib", "cryptography", "pulumi", "pydantic", "httpx", "rich", "boto3"]
    program = (
        "import sys; from scripts.manage_models import main; main(['list', '--json']); "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    environment = {"PATH": os.environ["PATH"], "MODEL_REGISTRY_URL": str(tmp_path)}
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, cwd=SOURCE, env=environment, capture_output=True, text=True, check=True)
    assert output.stdout.splitlines() == ["[]", "[]"]


def _rows_and_target() -> tuple[Any, Any]:
    rows = np.abs(np.random.default_rng(0).normal(size=(60, 3)))
    return rows, (rows[:, 0] > 0.7).astype(int)


def _with_function(tmp_path: Path, suffix: str, **held: Any) -> Path:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    model = make_pipeline(FunctionTransformer(), LogisticRegression()).fit(*_rows_and_target())
    model[0].set_params(**held)
    file = tmp_path / f"model{suffix}"
    if suffix == ".joblib":
        joblib.dump(model, file)
    else:
        file.write_bytes(pickle.dumps(model))
    return file


@pytest.mark.parametrize("suffix", [".pkl", ".joblib"])
@pytest.mark.parametrize("function", [None, np.log1p, np.nan_to_num])
def test_a_function_transformer_of_a_pure_function_loads_and_answers(
    tmp_path: Path, suffix: str, function: Any
) -> None:
    file = _with_function(tmp_path, suffix, func=function)
    rows, _ = _rows_and_target()
    model = load_model_file(file)
    assert model[0].func is function
    assert np.array_equal(
        model.predict_proba(rows), joblib.load(_with_function(tmp_path, ".joblib", func=function)).predict_proba(rows)
    )
    again = io.BytesIO(pickle.dumps(model))
    assert np.array_equal(load_pickle(again).predict_proba(rows), model.predict_proba(rows))


@pytest.mark.parametrize("suffix", [".pkl", ".joblib"])
@pytest.mark.parametrize("place", ["func", "inverse_func"])
@pytest.mark.parametrize("function", [os.system, eval, print, accuracy_score, joblib.load])
def test_a_function_transformer_of_any_other_function_is_refused_by_name(
    tmp_path: Path, suffix: str, place: str, function: Any
) -> None:
    with pytest.raises(UntrustedType) as refused:
        load_model_file(_with_function(tmp_path, suffix, **{place: function}))
    assert refused.value.name.endswith(f".{function.__name__}")


def test_a_function_transformer_hidden_in_the_model_is_found(tmp_path: Path) -> None:
    from sklearn.preprocessing import FunctionTransformer

    array = np.empty(1, dtype=object)
    array[0] = FunctionTransformer(accuracy_score)
    for hidden in ([{"a": (array,)}], {"a": {(1,): [FunctionTransformer(accuracy_score)]}}):
        joblib.dump(hidden, tmp_path / "model.joblib")
        with pytest.raises(UntrustedType, match="accuracy_score"):
            load_model_file(tmp_path / "model.joblib")


def test_a_caller_can_trust_a_function_by_name(tmp_path: Path) -> None:
    file = _with_function(tmp_path, ".pkl", func=accuracy_score)
    name = f"{accuracy_score.__module__}.accuracy_score"
    assert load_model_file(file, trusted=[name])[0].func is accuracy_score


@pytest.mark.parametrize("call", ["R", "o"])
def test_a_file_cannot_call_a_function_of_the_list(call: str) -> None:
    name = b"sklearn.metrics._classification\naccuracy_score\n"
    content = b"c" + name + b"(I1\nI1\ntR." if call == "R" else b"(c" + name + b"I1\nI1\no."
    with pytest.raises(UntrustedType, match=r"accuracy_score|instruction"):
        load_pickle(io.BytesIO(content))


@pytest.mark.parametrize("scoring", ["roc_auc", "average_precision", "neg_log_loss", "f1"])
def test_a_search_with_a_named_scorer_answers_and_its_scorer_is_inert(tmp_path: Path, scoring: str) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import get_scorer
    from sklearn.model_selection import GridSearchCV

    rows, target = _rows_and_target()
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, scoring=get_scorer(scoring), cv=2).fit(rows, target)
    joblib.dump(search, tmp_path / "model.joblib")
    model = load_model_file(tmp_path / "model.joblib")
    again = load_pickle(io.BytesIO(pickle.dumps(model)))
    for loaded in (model, again):
        assert np.array_equal(loaded.predict_proba(rows), search.predict_proba(rows))
        with pytest.raises(TypeError):
            loaded.score(rows, target)


def test_a_tuned_threshold_decides_after_loading_as_before(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import TunedThresholdClassifierCV

    rows, target = _rows_and_target()
    tuned = TunedThresholdClassifierCV(LogisticRegression(), scoring="f1", cv=3).fit(rows, target)
    joblib.dump(tuned, tmp_path / "model.joblib")
    loaded = load_model_file(tmp_path / "model.joblib")
    assert np.array_equal(loaded.predict(rows), tuned.predict(rows))


@pytest.mark.parametrize("source", ["filename", "file"])
def test_a_vectorizer_that_reads_files_is_refused_by_name(tmp_path: Path, source: str) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer().fit(["card sold", "card stolen"]).set_params(input=source)
    joblib.dump(vectorizer, tmp_path / "model.joblib")
    with pytest.raises(UntrustedType, match=rf"TfidfVectorizer\(input='{source}'\)"):
        load_model_file(tmp_path / "model.joblib")


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_of_pickle_is_read(tmp_path: Path, protocol: int) -> None:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.linear_model import LogisticRegression

    rows, target = _rows_and_target()
    model = CalibratedClassifierCV(LogisticRegression(), method="isotonic", cv=3).fit(rows, target)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model, protocol=protocol))
    assert inspect_model_file(tmp_path / "model.pkl")["untrusted"] == []
    assert np.array_equal(load_model_file(tmp_path / "model.pkl").predict_proba(rows), model.predict_proba(rows))


def test_pandas_index_constructor_makes_indexes_only() -> None:
    content = b"cpandas.core.indexes.base\n_new_Index\n(cbuiltins\ndict\n}tR."
    with pytest.raises(StructureRefused, match="an object that is not an index"):
        load_pickle(io.BytesIO(content))


def test_a_partial_is_put_back_for_a_pure_function_only(tmp_path: Path) -> None:
    from functools import partial

    rows, _ = _rows_and_target()
    file = _with_function(tmp_path, ".pkl", func=partial(np.clip, a_min=0.5, a_max=1))
    assert load_model_file(file)[0].transform(rows).min() == 0.5
    for function in (accuracy_score, os.system):
        with pytest.raises(UntrustedType, match=function.__name__):
            load_model_file(_with_function(tmp_path, ".pkl", func=partial(function, "true")))
