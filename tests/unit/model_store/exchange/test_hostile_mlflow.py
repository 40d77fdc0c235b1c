"""An MLflow directory comes from outside: its YAML, paths, links, archives and pickles may have been made to harm."""

import io
import json
import os
import pickle
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from lightgbm import LGBMClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from model_store import Keyring, ModelRegistry
from model_store.errors import (
    AccessDenied,
    InvalidInput,
    ModelStoreError,
    StorageFailed,
    UnreadableModel,
    UntrustedType,
    VersionConflict,
)
from model_store.keys.keyring import generate_key
from model_store.registry.access import AccessPolicy, Rights, Role
from model_store.registry.exchange.exporting import export_mlflow
from model_store.registry.exchange.importing import import_mlflow, is_mlflow
from model_store.registry.exchange.mlmodel import mlmodel_of, model_file
from model_store.registry.exchange.runs import Run, run_of
from model_store.registry.exchange.signature import features_of_signature
from model_store.registry.request import RegistrationRequest
from model_store.serialization.plain_yaml import read_yaml
from tests.unit.model_store.making import KEY

ROWS = np.random.default_rng(0).normal(size=(60, 2))
FRAUD = (ROWS[:, 0] > 0).astype(int)
ASKED = RegistrationRequest(model_name="fraud", positive_class=1, runtime=False)
MLMODEL: dict[str, Any] = {
    "flavors": {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "pickle", "code": None}},
    "mlflow_version": "3.17.2",
    "model_uuid": "0" * 32,
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A sound model's pickle."""
    return pickle.dumps(LogisticRegression().fit(ROWS, FRAUD))


@pytest.fixture
def directory(tmp_path: Path, sound: bytes) -> Path:
    """A sound MLflow model in a directory; each test spoils it."""
    made = tmp_path / "outside" / "model"
    made.mkdir(parents=True)
    (made / "model.pkl").write_bytes(sound)
    (made / "MLmodel").write_text(yaml.safe_dump(MLMODEL))
    (tmp_path / "model.key").write_text("a secret")
    return made


def refused(registry: ModelRegistry, path: Path, request: RegistrationRequest = ASKED) -> str:
    """The one line that an import is refused with; it leaves nothing in the registry."""
    started = time.monotonic()
    with pytest.raises(ModelStoreError) as caught:
        import_mlflow(registry, path, request)
    assert time.monotonic() - started < 20
    assert not registry.list_models()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1500, message
    assert "a secret" not in message
    return message


def _with(directory: Path, **fields: Any) -> None:
    (directory / "MLmodel").write_text(yaml.safe_dump({**MLMODEL, **fields}))


def _flavour(directory: Path, name: str, **fields: Any) -> None:
    _with(directory, flavors={name: fields})


def test_a_sound_directory_is_taken(registry: ModelRegistry, directory: Path) -> None:
    model_id, _ = import_mlflow(registry, directory, ASKED)
    assert registry.get_metadata(model_id).lineage["mlflow"]["model_uuid"] == "0" * 32


_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}, *{before}, *{before}, *{before}, *{before}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (_BOMB.encode(), "an anchor or an alias"),
        (b"flavors: &x [*x]\n", "an anchor or an alias"),
        (b"flavors: !!python/object/apply:os.system ['touch /tmp/ran']\n", "a tag"),
        (b"flavors: !!binary aGVsbG8=\n", "a tag"),
        (b"a: " + b"[" * 200 + b"]" * 200, "nested more than"),
        (b"a: " + b"[" * 200_000, "nested more than"),
        (b"a: " + b"{a: " * 40 + b"}" * 40, "nested more than"),
        (b"[" + b"1," * 200_000 + b"]", "more than 100000 values"),
        (b"flavors: {}\nflavors: {}\n", "'flavors' twice"),
        (b"? [a, b]\n: 1\n", "a key that is not a text"),
        (b"a: 1\n---\nb: 2\n", "several documents"),
        (b"", "is empty"),
        (b"# nothing\n", "is empty"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"a: [1, 2\n", "is not YAML (line"),
        (b"a: b: c\n", "is not YAML (line 1)"),
        (b"a: \x00", "is not YAML"),
        (b"x" * (5 << 20), "more than 4 MiB"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value[:30],
)
def test_yaml_that_grows_makes_objects_or_is_none_is_refused(content: bytes, reason: str) -> None:
    started = time.monotonic()
    with pytest.raises(ModelStoreError) as caught:
        read_yaml(content, "MLmodel")
    assert reason in str(caught.value)
    assert time.monotonic() - started < 5


def test_plain_values_are_read_as_mlflow_writes_them() -> None:
    values = {
        "text": "a: b", "version": "1.10", "number": 1.5, "whole": -3, "none": None, "yes": True, "list": [1, "2"],
        "date": "2026-11-26 21:13:15.25", "empty": {}, "lines": "one\ntwo\n", "uuid": "1e10", "digits": "0123",
    }  # fmt: skip
    assert read_yaml(yaml.safe_dump(values).encode(), "MLmodel") == values


@pytest.mark.parametrize(
    "spoil",
    [
        lambda directory: (directory / "MLmodel").write_text(_BOMB),
        lambda directory: (directory / "MLmodel").write_text("[]"),
        lambda directory: _with(directory, flavors={}),
        lambda directory: _with(directory, flavors={"python_function": {"loader_module": "os"}}),
        lambda directory: _with(directory, flavors=[1]),
        lambda directory: _flavour(directory, "sklearn"),
        lambda directory: _flavour(directory, "sklearn", pickled_model=5),
        lambda directory: _flavour(directory, "sklearn", pickled_model="../../model.key"),
        lambda directory: _flavour(directory, "sklearn", pickled_model="x/../../../model.key"),
        lambda directory: _flavour(directory, "sklearn", pickled_model=str(directory.parents[1] / "model.key")),
        lambda directory: _flavour(directory, "sklearn", pickled_model="."),
        lambda directory: _flavour(directory, "sklearn", pickled_model="a\\..\\b"),
        lambda directory: _flavour(directory, "sklearn", pickled_model="model\u202e.pkl"),
        lambda directory: _flavour(directory, "sklearn", pickled_model="nothing.pkl"),
        lambda directory: _flavour(directory, "sklearn", pickled_model="MLmodel"),
        lambda directory: _flavour(directory, "sklearn", pickled_model="model.pkl", serialization_format="exec"),
        lambda directory: _flavour(directory, "xgboost", data="model.pkl", model_class="os.system"),
        lambda directory: _flavour(directory, "lightgbm", data="model.pkl"),
        lambda directory: _with(directory, metadata={"a": "x" * 100_000}),
        lambda directory: _with(directory, metadata=[1]),
        lambda directory: _with(directory, signature={"inputs": 5}),
        lambda directory: _with(directory, signature={"inputs": "[" * 100_000}),
        lambda directory: _with(directory, signature={"inputs": '[{"type": "binary", "name": "a"}]'}),
        lambda directory: _with(directory, signature={"inputs": '[{"type": "double", "name": "a"}]'}),
        lambda directory: _with(
            directory, signature={"inputs": '[{"type": "double", "name": "a"}, {"type": "double", "name": "a"}]'}
        ),
        lambda directory: _link(directory / "model.pkl", directory.parents[1] / "model.key"),
        lambda directory: _link(directory / "MLmodel", directory.parents[1] / "model.key"),
        lambda directory: _pipe(directory / "model.pkl"),
        lambda directory: _pipe(directory / "MLmodel"),
        lambda directory: _pipe(directory / "registered_model_meta"),
        lambda directory: _linked_directory(directory),
        lambda directory: (directory / "MLmodel").unlink(),
        lambda directory: (directory / "model.pkl").write_bytes(b""),
        lambda directory: os.truncate(directory / "model.pkl", 300 << 30),
    ],
)  # fmt: skip
def test_a_spoiled_directory_is_one_line(
    registry: ModelRegistry, directory: Path, spoil: Callable[[Path], object]
) -> None:
    spoil(directory)
    refused(registry, directory)


def _link(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


def _pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _linked_directory(directory: Path) -> None:
    (directory / "data").symlink_to(directory.parents[1])
    _flavour(directory, "sklearn", pickled_model="data/model.key")


class _Calls:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran-by-a-pickle",)


def test_a_pickle_that_calls_is_refused_and_not_run(
    registry: ModelRegistry, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory)
    (directory / "model.pkl").write_bytes(pickle.dumps(_Calls()))
    with pytest.raises(UntrustedType, match="log the model with steps of the libraries only") as caught:
        import_mlflow(registry, directory, ASKED)
    assert caught.value.name == "posix.system"
    assert not list(directory.glob("ran*"))
    # Nor does a list of trusted types help that the file itself brings.
    _flavour(directory, "sklearn", pickled_model="model.pkl", skops_trusted_types=["posix.system"])
    refused(registry, directory)


def test_a_regressor_says_why_it_is_not_served(registry: ModelRegistry, directory: Path) -> None:
    (directory / "model.pkl").write_bytes(pickle.dumps(StandardScaler().fit(ROWS)))
    assert "StandardScaler" in refused(registry, directory)


def test_columns_that_the_estimator_contradicts_are_named(registry: ModelRegistry, directory: Path) -> None:
    columns = [{"type": kind, "name": name} for name, kind in (("amount", "double"), ("hour", "string"))]
    _with(directory, signature={"inputs": json.dumps(columns)})
    assert "'hour' (text)" in refused(registry, directory)
    _with(directory, signature={"inputs": json.dumps(columns[:1])})
    assert "its signature contradicts the model: the description has 1 features" in refused(registry, directory)


def test_lightgbm_gets_its_columns_names_with_spaces_back(registry: ModelRegistry, directory: Path) -> None:
    model = LGBMClassifier(n_estimators=2, verbose=-1).fit(pd.DataFrame(ROWS, columns=["amount", "hour of day"]), FRAUD)
    (directory / "model.pkl").write_bytes(pickle.dumps(model))
    columns = [{"type": "double", "name": name} for name in ("amount", "hour of day")]
    _with(directory, signature={"inputs": json.dumps(columns)})
    model_id, _ = import_mlflow(registry, directory, ASKED)
    assert registry.get_metadata(model_id).feature_names == ("amount", "hour of day")


def test_names_that_are_none_need_another(registry: ModelRegistry, directory: Path) -> None:
    nameless = RegistrationRequest(model_name="", runtime=False)
    assert "--name NAME" in refused(registry, directory, nameless)
    for name, proposed in (("../../etc", "etc"), ("card fraud", "card_fraud"), ("\x1b[31m", "m")):
        (directory / "registered_model_meta").write_text(yaml.safe_dump({"model_name": name, "model_version": "1"}))
        assert f"--name {proposed}" in refused(registry, directory, nameless)


def _recorded(directory: Path, run_id: str = "a" * 32) -> Path:
    """A run of the file store around a model."""
    run = directory.parent / "mlruns" / "1" / run_id
    for below in ("metrics", "params", "tags", "artifacts"):
        (run / below).mkdir(parents=True)
    directory.rename(run / "artifacts" / "model")
    (run / "meta.yaml").write_text(yaml.safe_dump({"run_id": run_id, "run_name": "fraud", "experiment_id": "1"}))
    return run


def _documents(contents: Any) -> Any:
    return {name: read_yaml(content, name) for name, content in contents.items()}


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("metrics/auc", b"1 x 0\n", "metrics/auc, line 1: not a metric"),
        ("metrics/auc", b"", "holds no value"),
        ("metrics/auc", b"1 0.5 " + b"9" * 5000, "not a metric"),
        ("metrics/auc", b"\x00\xff 0.5 1", "not a metric"),
        ("metrics/auc", b"1 0.5 0\n" * 3_000_000, "more than"),
        ("params/a", b"\xff\xfe", "not UTF-8"),
        ("params/a", b"x" * (1 << 20), "more than"),
        ("tags/a", b"x" * (1 << 20), "more than"),
        ("meta.yaml", b"run_id: [1]\n", "`run_id`"),
        ("meta.yaml", _BOMB.encode(), "an anchor"),
    ],
)
def test_a_run_of_other_kinds_is_refused_by_its_file(directory: Path, file: str, content: bytes, reason: str) -> None:
    run = _recorded(directory)
    (run / file).write_bytes(content)
    with pytest.raises(ModelStoreError) as caught:
        run_of(run / "artifacts" / "model", None, _documents)
    assert reason in str(caught.value)


def test_links_and_pipes_in_a_run_are_not_followed(directory: Path) -> None:
    run = _recorded(directory)
    model = run / "artifacts" / "model"
    (run / "params" / "key").symlink_to(directory.parents[1] / "model.key")
    with pytest.raises(InvalidInput, match="links in a directory from outside are not followed"):
        run_of(model, None, _documents)
    (run / "params" / "key").unlink()
    os.mkfifo(run / "tags" / "wait")
    with pytest.raises(InvalidInput, match="a pipe"):
        run_of(model, None, _documents)
    (run / "tags" / "wait").unlink()
    (run / "metrics").rmdir()
    (run / "metrics").symlink_to("/etc")
    with pytest.raises(InvalidInput, match="a link"):
        run_of(model, None, _documents)


def test_a_run_of_another_model_is_left_alone(directory: Path) -> None:
    run = _recorded(directory)
    (run / "params" / "depth").write_text("3")
    model = run / "artifacts" / "model"
    assert run_of(model, "a" * 32, _documents).parameters == {"depth": "3"}
    assert run_of(model, "b" * 32, _documents) == Run()
    many = run / "params"
    for number in range(1001):
        (many / str(number)).write_text("x")
    with pytest.raises(ModelStoreError, match="more than 1000 files"):
        run_of(model, None, _documents)


def test_the_last_metric_is_the_one_of_the_highest_step(directory: Path) -> None:
    run = _recorded(directory)
    (run / "metrics" / "auc").write_text("3 0.9 0\n1 0.7 2\n2 0.8 2\n9 0.1 1\n")
    (run / "metrics" / "lost").write_text("1 nan 0\n")
    (run / "metrics" / "system").mkdir()
    (run / "metrics" / "system" / "cpu").write_text("1 55 0\n")
    found = run_of(run / "artifacts" / "model", None, _documents)
    assert (found.metrics, found.left_out) == ({"auc": 0.8}, ("lost",))


def _zip(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def test_archives_from_outside(registry: ModelRegistry, directory: Path, sound: bytes) -> None:
    mlmodel = (directory / "MLmodel").read_bytes()
    place = directory.parent
    assert "no MLflow model" in refused(registry, _zip(place / "empty.zip", ("a", b"b")))
    assert "links are not read" in refused(registry, _zip(place / "lacks.zip", ("MLmodel", mlmodel)))
    for name in ("../MLmodel", "/MLmodel"):
        assert "lies outside" in refused(registry, _zip(place / "up.zip", (name, mlmodel), ("model.pkl", sound)))
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = _zip(place / "twice.zip", ("MLmodel", mlmodel), ("MLmodel", mlmodel))
    assert "twice" in refused(registry, twice)
    bomb = _zip(place / "bomb.zip", ("MLmodel", b"a: " + b" " * (64 << 20)))
    assert "too large" in refused(registry, bomb)
    two = _zip(place / "two.zip", ("a/MLmodel", mlmodel), ("b/MLmodel", mlmodel))
    assert "holds 2 MLflow models" in refused(registry, two)
    (place / "torn.zip").write_bytes(two.read_bytes()[:-30])
    refused(registry, place / "torn.zip")
    link = zipfile.ZipInfo("model.pkl")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(place / "link.zip", "w") as archive:
        archive.writestr("MLmodel", mlmodel)
        archive.writestr(link, "../model.key")
    assert "links are not read" in refused(registry, place / "link.zip")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_tar_file_with_more_than_plain_files(registry: ModelRegistry, directory: Path, kind: bytes) -> None:
    path = directory.parent / "model.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(directory / "MLmodel", "m/MLmodel")
        entry = tarfile.TarInfo("m/model.pkl")
        entry.type, entry.linkname = kind, "/etc/passwd"
        archive.addfile(entry)
    assert "links are not read" in refused(registry, path)
    path.write_bytes(path.read_bytes()[:-20])
    refused(registry, path)


def test_a_bundle_stays_a_bundle(tmp_path: Path) -> None:
    for name, first in (("model.bundle", "bundle.json"), ("moved.tar", "bundle.json"), ("other.tar", "MLmodel")):
        with tarfile.open(tmp_path / name, "w") as archive:
            archive.addfile(tarfile.TarInfo(first), io.BytesIO())
    assert [is_mlflow(tmp_path / each) for each in ("model.bundle", "moved.tar", "other.tar")] == [False, False, True]
    os.mkfifo(tmp_path / "pipe")
    assert not is_mlflow(tmp_path / "pipe")


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = ("run_id", "signature", "metadata", "utc_time_created", "mlflow_version", "saved_input_example_info")
_OF_A_FLAVOUR = ("pickled_model", "data", "serialization_format", "model_class", "code", "xgb_version")
_FLAVOURS = st.dictionaries(
    st.sampled_from(("sklearn", "xgboost", "lightgbm", "python_function")),
    st.dictionaries(st.sampled_from(_OF_A_FLAVOUR), _PLAIN | st.just("model.pkl"), max_size=5) | _PLAIN,
    max_size=3,
)


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries({"flavors": _FLAVOURS | _PLAIN}, optional=dict.fromkeys(_FIELDS, _PLAIN)))
def test_wrong_kinds_in_every_field_are_errors_of_this_package(document: Any) -> None:
    try:
        found = mlmodel_of(document)
        model_file(found)
        features_of_signature(found.signature)
    except ModelStoreError:
        return


@settings(max_examples=300, deadline=None)
@given(_PLAIN, st.sampled_from(("type", "name", "tensor-spec")))
def test_wrong_kinds_in_a_signature_are_errors_of_this_package(value: Any, key: str) -> None:
    for inputs in (value, [value], [{"type": "double", "name": "a", key: value}]):
        try:
            features_of_signature({"inputs": json.dumps(inputs)})
        except UnreadableModel:
            continue


def test_an_import_needs_the_right_before_a_file_is_read(tmp_path: Path, directory: Path) -> None:
    policy = AccessPolicy(default=Rights(Role.READER))
    registry = ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), policy=policy)
    _pipe(directory / "MLmodel")
    with pytest.raises(AccessDenied):
        import_mlflow(registry, directory, ASKED)
    assert [each.action for each in registry.audit.records()] == ["refused"]


@pytest.fixture
def exported(tmp_path: Path) -> tuple[ModelRegistry, str]:
    registry = ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY))
    model = XGBClassifier(n_estimators=2).fit(ROWS, FRAUD)
    return registry, registry.register_model(model, "fraud", runtime=False)


def test_an_export_is_whole_or_not_there(exported: tuple[ModelRegistry, str], tmp_path: Path) -> None:
    registry, model_id = exported
    out = tmp_path / "out"
    left = tmp_path / ".out.partial"
    left.mkdir(mode=0o755)
    (left / "model.ubj").write_text("what a killed export has left, not encrypted")
    export_mlflow(registry, model_id, out)
    assert not left.exists()
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    with pytest.raises(VersionConflict, match="is there already"):
        export_mlflow(registry, model_id, out)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(VersionConflict, match="is there already"):
        export_mlflow(registry, model_id, tmp_path / "link")
    (tmp_path / ".linked.partial").symlink_to(tmp_path / "out")
    with pytest.raises(StorageFailed):
        export_mlflow(registry, model_id, tmp_path / "linked")
    assert (out / "MLmodel").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed):
        export_mlflow(registry, model_id, tmp_path / "file" / "out")
    assert len(list(out.parent.glob("*partial*"))) == 1
    (tmp_path / "there").mkdir()
    assert "MLmodel" in export_mlflow(registry, model_id, tmp_path / "there")
    assert (tmp_path / "there" / model_id / "MLmodel").is_file()


def test_an_export_needs_the_right_and_the_key(exported: tuple[ModelRegistry, str], tmp_path: Path) -> None:
    registry, model_id = exported
    other = ModelRegistry(tmp_path / "registry", keys=Keyring.of(generate_key()))
    with pytest.raises(ModelStoreError, match="key"):
        export_mlflow(other, model_id, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    artifact = registry.artifact_path(model_id)
    artifact.chmod(0o600)
    content = bytearray(artifact.read_bytes())
    content[-100] ^= 1
    artifact.write_bytes(content)
    with pytest.raises(ModelStoreError):
        export_mlflow(registry, model_id, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_no_flavour_holds_is_not_exported(registry: ModelRegistry, tmp_path: Path) -> None:
    model_id = registry.register_model({"not": "a model"}, "plain", model_type="T", registry_only=True)
    with pytest.raises(InvalidInput, match="export a bundle: without --format"):
        export_mlflow(registry, model_id, tmp_path / "out")
    assert not (tmp_path / "out").exists()
