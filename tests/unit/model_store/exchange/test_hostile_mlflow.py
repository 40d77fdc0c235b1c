"""An MLflow directory or archive comes from outside: paths, links, columns and pickles may have been made to harm."""

import io
import json
import os
import pickle
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from lightgbm import LGBMClassifier
from sklearn.preprocessing import StandardScaler

from model_store import Keyring, ModelRegistry
from model_store.errors import (
    AccessDenied,
    UntrustedType,
)
from model_store.registry.access import AccessPolicy, Rights, Role
from model_store.registry.exchange.importing import import_mlflow, is_mlflow
from model_store.registry.request import RegistrationRequest
from tests.unit.model_store.exchange.spoiled import ASKED, BOMB, FRAUD, MLMODEL, ROWS, refused
from tests.unit.model_store.making import KEY


def _with(directory: Path, **fields: Any) -> None:
    (directory / "MLmodel").write_text(yaml.safe_dump({**MLMODEL, **fields}))


def _flavour(directory: Path, name: str, **fields: Any) -> None:
    _with(directory, flavors={name: fields})


def test_a_sound_directory_is_taken(registry: ModelRegistry, directory: Path) -> None:
    model_id, _ = import_mlflow(registry, directory, ASKED)
    assert registry.get_metadata(model_id).lineage["mlflow"]["model_uuid"] == "0" * 32


@pytest.mark.parametrize(
    "spoil",
    [
        lambda directory: (directory / "MLmodel").write_text(BOMB),
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


def test_an_invalid_mlflow_name_asks_for_another_one(registry: ModelRegistry, directory: Path) -> None:
    nameless = RegistrationRequest(model_name="", runtime=False)
    assert "--name NAME" in refused(registry, directory, nameless)
    for name, proposed in (("../../etc", "etc"), ("card fraud", "card_fraud"), ("\x1b[31m", "m")):
        (directory / "registered_model_meta").write_text(yaml.safe_dump({"model_name": name, "model_version": "1"}))
        assert f"--name {proposed}" in refused(registry, directory, nameless)


def _zip(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def test_archives_from_outside(registry: ModelRegistry, directory: Path, sound: bytes) -> None:
    mlmodel = (directory / "MLmodel").read_bytes()
    place = directory.parent
    assert "not an MLflow model" in refused(registry, _zip(place / "empty.zip", ("a", b"b")))
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


def test_a_bundle_is_not_taken_for_an_mlflow_archive(tmp_path: Path) -> None:
    for name, first in (("model.bundle", "bundle.json"), ("moved.tar", "bundle.json"), ("other.tar", "MLmodel")):
        with tarfile.open(tmp_path / name, "w") as archive:
            archive.addfile(tarfile.TarInfo(first), io.BytesIO())
    assert [is_mlflow(tmp_path / each) for each in ("model.bundle", "moved.tar", "other.tar")] == [False, False, True]
    os.mkfifo(tmp_path / "pipe")
    assert not is_mlflow(tmp_path / "pipe")


def test_an_import_needs_the_right_before_a_file_is_read(tmp_path: Path, directory: Path) -> None:
    policy = AccessPolicy(default=Rights(Role.READER))
    registry = ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), policy=policy)
    _pipe(directory / "MLmodel")
    with pytest.raises(AccessDenied):
        import_mlflow(registry, directory, ASKED)
    assert [each.action for each in registry.audit.records()] == ["refused"]
