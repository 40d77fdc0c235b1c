"""Writes inputs to begin with: hand-written pickles, and small models as the libraries save them.

python -m tests.fuzz.seeds seeds                       # one directory a target below `seeds`
python -m tests.fuzz.doors onnx -merge=1 tests/fuzz/corpus/onnx seeds/onnx
"""

import argparse
import hashlib
import io
import json
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from model_store.confinement import jobs
from model_store.serialization import native_models
from tests.fuzz.checks import SEPARATOR
from tests.unit.model_store.serialization.mechanisms import MECHANISMS

_MOST_BYTES = 12_000
_RANDOM = np.random.default_rng(0)
_ROWS = _RANDOM.normal(size=(24, 2))
_ANSWERS = (_ROWS[:, 0] > 0).astype(int)


def _models() -> Iterator[Any]:
    import pandas as pd
    from imblearn.pipeline import make_pipeline as make_resampling_pipeline
    from imblearn.under_sampling import RandomUnderSampler
    from lightgbm import LGBMClassifier
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, SGDClassifier
    from sklearn.model_selection import GridSearchCV
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer, StandardScaler
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier
    from xgboost import XGBClassifier

    yield LogisticRegression().fit(_ROWS, _ANSWERS)
    yield make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), SGDClassifier()).fit(abs(_ROWS), _ANSWERS)
    yield DecisionTreeClassifier(max_depth=2, random_state=0).fit(_ROWS, _ANSWERS)
    yield RandomForestClassifier(1, max_depth=2, random_state=0).fit(_ROWS, _ANSWERS)
    yield HistGradientBoostingClassifier(max_iter=1, max_bins=4, min_samples_leaf=4).fit(_ROWS, _ANSWERS)
    yield KNeighborsClassifier(2, algorithm="kd_tree").fit(_ROWS, _ANSWERS)
    yield KNeighborsClassifier(2, algorithm="ball_tree").fit(_ROWS, _ANSWERS)
    yield SVC().fit(_ROWS, _ANSWERS)
    yield IsolationForest(n_estimators=1, max_samples=4, random_state=0).fit(_ROWS)
    yield CalibratedClassifierCV(LogisticRegression(), cv=2).fit(_ROWS, _ANSWERS)
    yield GridSearchCV(LogisticRegression(), {"C": [1]}, scoring="f1", cv=2).fit(_ROWS, _ANSWERS)
    yield SplineTransformer(n_knots=3).fit(_ROWS)
    yield TfidfVectorizer().fit(["card sold", "card stolen"])
    yield OneHotEncoder().fit([["a"], ["b"]])
    yield XGBClassifier(n_estimators=1, max_depth=1).fit(_ROWS, _ANSWERS)
    yield LGBMClassifier(n_estimators=1, min_child_samples=2, num_leaves=3, verbose=-1).fit(_ROWS, _ANSWERS)
    yield make_resampling_pipeline(RandomUnderSampler(random_state=0), LogisticRegression()).fit(_ROWS, _ANSWERS)
    frame = pd.DataFrame({"kind": pd.Categorical(["a", "b"] * 12), "amount": _ROWS[:, 0]})
    yield ColumnTransformer([("kind", OneHotEncoder(), ["kind"])], remainder="passthrough").fit(frame)
    yield [np.random.RandomState(0), np.random.default_rng(0), frame.columns, frame["kind"].dtype, frame["kind"].array]
    yield [np.array(["a", 1], object), np.ma.array([1.0, 2.0], mask=[0, 1]), np.array(["2026-01-01"], "M8[D]")]


def _pickles() -> Iterator[bytes]:
    for mechanism in MECHANISMS:
        yield mechanism.bad("true")
        yield mechanism.good
    for model in _models():
        for protocol in (0, 2, 4, 5):
            yield pickle.dumps(model, protocol=protocol)
        yield _joblib(model)


def _joblib(model: Any, compress: Any = 0) -> bytes:
    file = io.BytesIO()
    joblib.dump(model, file, compress=compress)
    return file.getvalue()


def _skops() -> Iterator[bytes]:
    import zipfile

    import skops.io

    for model in _models():
        try:
            content = skops.io.dumps(model)
        except Exception:
            continue
        yield content
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            schema = archive.read("schema.json")
            files = [name for name in archive.namelist() if name != "schema.json"][:2]
            parts = [schema]
            for name, member in zip(files, (b"0.npy", b"1.bin"), strict=False):
                parts[0] = parts[0].replace(name.encode(), member)
                parts.append(archive.read(name))
            yield SEPARATOR.join(parts)


def _native() -> Iterator[tuple[str, bytes]]:
    import lightgbm
    import xgboost

    for parameters in ({}, {"booster": "gblinear"}, {"booster": "dart"}, {"max_cat_to_onehot": 1}):
        kinds = ["q" if "booster" in parameters else "c", "q"]
        data = xgboost.DMatrix(abs(_ROWS).round(), _ANSWERS, feature_types=kinds, enable_categorical=True)
        booster = xgboost.train({"max_depth": 2, "objective": "binary:logistic", **parameters}, data, 1)
        yield "ubjson", bytes(booster.save_raw("ubj"))
        yield "ubjson", bytes(booster.save_raw("json"))
    more: dict[str, Any]
    for more in ({}, {"linear_tree": True}, {"categorical_feature": [0]}):
        data_set = lightgbm.Dataset(abs(_ROWS).round(), _ANSWERS)
        usual = {"objective": "binary", "verbose": -1, "min_data_in_leaf": 1, "num_leaves": 4, "min_data_per_group": 1}
        text = lightgbm.train({**usual, **more}, data_set, 2).model_to_string()
        yield "lightgbm", text.encode()
        yield "lightgbm", text.partition("\nparameters:")[0].encode()
    for model in _models():
        if type(model).__name__ in ("LogisticRegression", "DecisionTreeClassifier", "LGBMClassifier", "SVC"):
            yield "onnx", native_models.onnx_bytes(model)


def _answers() -> Iterator[bytes]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.tree import DecisionTreeClassifier

    for model in (LogisticRegression(), DecisionTreeClassifier(max_depth=1, random_state=0)):
        for name in ("joblib", "skops", "pickle"):
            with tempfile.NamedTemporaryFile(suffix=".joblib") as file:
                joblib.dump(model.fit(_ROWS, _ANSWERS), file.name)
                about = {"path": file.name, "trusted": (), "paths": {}, "wanted": {"format_type": name}}
                values, parts = jobs.JOBS["register"](about, {"model": Path(file.name).open("rb")})  # noqa: SIM115
            contents = []
            for _, write in parts:
                target = io.BytesIO()
                target.write(write) if isinstance(write, bytes) else write(target)
                contents.append(target.getvalue())
            message = {"values": values, "parts": [each for each, _ in parts], "walls": []}
            yield SEPARATOR.join([json.dumps(message).encode(), *contents])
    yield json.dumps({"failed": {"error": "SizeLimit", "message": "x", "fields": {"name": "os.system"}}}).encode()
    yield b"\x00" + (2).to_bytes(8, "little") + b"{}"


def _compressed() -> Iterator[bytes]:
    for method in ("zlib", "gzip", "bz2", "xz", "lzma", "lz4"):
        for value in ([1, 2], {"a": np.arange(40.0)}):
            yield _joblib(value, (method, 3))


def _bundles() -> Iterator[bytes]:
    import tarfile

    from model_store.registry.files.manifest import _manifest_fields

    members = {"manifest.json": "0" * 64, "artifact": "0" * 64}
    described = {"format": "fraud-detection-bundle/1", "model_id": "a_XGBoost_20261009_123456", "members": members}
    manifest: dict[str, Any] = dict.fromkeys(_manifest_fields(), "")
    manifest |= {key: {} for key in ("performance_metrics", "library_versions", "lineage")}
    manifest["runtime"] = {"digest": "sha256:" + "0" * 64, "payload_bytes": 1}
    manifest["contract"] = {"golden": {"digest": "sha256:" + "0" * 64, "payload_bytes": 1}}
    manifest |= {"model_id": described["model_id"], "model_name": "a", "version": 1, "tags": [], "feature_schema": []}
    contents = [json.dumps(each).encode() for each in (described, manifest)]
    yield SEPARATOR.join(contents)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in zip(("bundle.json", "manifest.json"), contents, strict=True):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    yield file.getvalue()


def _mlmodels() -> Iterator[bytes]:
    import yaml

    flavours: dict[str, Any] = {
        "sklearn": {"pickled_model": "model.pkl", "serialization_format": "cloudpickle", "code": None},
        "xgboost": {"data": "model.ubj", "model_class": "xgboost.sklearn.XGBClassifier", "model_format": "ubj"},
        "lightgbm": {"data": "model.lgb", "model_class": "lightgbm.basic.Booster", "lgb_version": "4.6.0"},
    }
    columns = [{"type": kind, "name": kind, "required": True} for kind in ("double", "long", "string", "datetime")]
    tensor = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 3]}}]
    for name, flavour in flavours.items():
        for inputs in (columns, tensor):
            about = {"run_id": "0" * 32, "mlflow_version": "3.1.0", "metadata": {"a": [1.5, True, None]}}
            signature = {"inputs": json.dumps(inputs), "outputs": None}
            yield yaml.safe_dump({**about, "flavors": {name: flavour}, "signature": signature}).encode()
    yield b"a: &a [b]\nflavors: !!python/name:os.system {c: *a}\n---\n"


def _archives() -> Iterator[bytes]:
    import tarfile
    import zipfile

    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.writestr(zipfile.ZipInfo("m/MLmodel"), b"flavors: {}")
        yield file.getvalue()
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode) as packed:  # type: ignore[call-overload]
            for name, kind in (("./MLmodel", tarfile.REGTYPE), ("link", tarfile.SYMTYPE), ("m", tarfile.DIRTYPE)):
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = kind, "/etc/passwd" if kind == tarfile.SYMTYPE else ""
                packed.addfile(entry)
        yield file.getvalue()


def _all() -> Iterator[tuple[str, bytes]]:
    for content in _pickles():
        yield "pickle-inspected", content
        yield "pickle-loaded", content
    yield from _native()
    for target, contents in (
        ("skops", _skops()), ("answer", _answers()), ("compressed", _compressed()), ("bundle", _bundles()),
        ("mlmodel", _mlmodels()), ("archive", _archives()),
    ):  # fmt: skip
        yield from ((target, content) for content in contents)


def main() -> None:
    """Writes the inputs into the directory that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.seeds",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="where the inputs go")
    root = parser.parse_args().directory
    for target, content in _all():
        if len(content) <= _MOST_BYTES or target in ("bundle", "onnx"):
            (root / target).mkdir(parents=True, exist_ok=True)
            (root / target / hashlib.sha1(content).hexdigest()).write_bytes(content)


if __name__ == "__main__":
    main()
