"""Every way a file comes in refuses every mechanism: `inspect`, `register`, `convert`, `import`, a load; none runs.

`inspect` and a load see every mechanism. The others start a process that imports the model libraries: they take turns
from mechanism to mechanism; with `DOORS=all` each mechanism tries all.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from model_store import Keyring, ModelRegistry, SecureModelPersistence
from model_store.contract.preparing import Prepared
from model_store.errors import ModelStoreError, UnreadableModel, UntrustedType
from model_store.registry.exchange.bundles import export_model, import_model
from model_store.registry.outside import inspect_file, register_file
from model_store.registry.request import RegistrationRequest
from model_store.serialization.formats import SerializationFormat, SerializedModel
from model_store.serialization.model_files import load_model_file
from tests.unit.model_store.serialization.file_mechanism import SERIALIZERS, FileMechanism
from tests.unit.model_store.serialization.file_mechanisms import FILES
from tests.unit.model_store.serialization.mechanisms import MECHANISMS, Mechanism
from tests.unit.model_store.serialization.number_mechanisms import NUMBERS, Numbers, content_of

KEY = SecureModelPersistence.generate_encryption_key()


def _registry(directory: Path) -> ModelRegistry:
    return ModelRegistry(directory, keys=Keyring.of(KEY))


def _inspect(path: Path, _: Path) -> None:
    refused = inspect_file(path)["refused"]
    assert refused is None, refused["rule"]


def _register(path: Path, directory: Path) -> None:
    register_file(
        _registry(directory / "registry"), path, RegistrationRequest(model_name="hostile", registry_only=True)
    )


def _convert(path: Path, directory: Path) -> None:
    SecureModelPersistence().convert_model_format(path, directory / "converted.artifact", "joblib")


def _load(path: Path, _: Path) -> None:
    load_model_file(path)


def _import(path: Path, directory: Path) -> None:
    """As the payload of an artifact that is encrypted and intact: its maker has the key, too."""
    serializer = SERIALIZERS.get(path.suffix, SerializationFormat.PICKLE)
    model_class = "xgboost.sklearn.XGBClassifier" if serializer is SerializationFormat.XGBOOST else "made.up"
    model = SerializedModel(io.BytesIO(path.read_bytes()), serializer, model_class)
    theirs, ours = _registry(directory / "theirs"), _registry(directory / "ours")
    model_id = theirs.register_prepared(
        Prepared(model, "Made", serializer, None, {}, [], {}, {}),
        RegistrationRequest(model_name="hostile", author="mallory"),
    )
    export_model(theirs, model_id, directory / "a.bundle")
    try:
        import_model(ours, directory / "a.bundle")
    finally:
        assert ours.list_models() == []


_ALL = os.environ.get("DOORS") == "all"
DOORS: dict[str, Callable[[Path, Path], None]] = {
    "register": _register,
    "convert": _convert,
    "import": _import,
}
_EVERY: list[object] = [*MECHANISMS, *NUMBERS, *FILES]


def _doors(mechanism: object) -> dict[str, Callable[[Path, Path], None]]:
    chosen = [*DOORS][_EVERY.index(mechanism) % len(DOORS)]
    return {name: door for name, door in DOORS.items() if _ALL or name == chosen}


def _refused_everywhere(mechanism: object, path: Path, directory: Path, rule: str) -> None:
    found = inspect_file(path)
    assert found["refused"] is not None or found["untrusted"]
    if found["refused"] is not None:
        assert found["refused"]["rule"] == rule, found["refused"]["message"]
    for name, door in _doors(mechanism).items():
        with pytest.raises(UntrustedType) as refused:
            door(path, directory)
        assert refused.value.rule == rule, f"{name}: {refused.value}"
    with pytest.raises(UntrustedType) as refused:
        load_model_file(path)
    assert refused.value.rule == rule
    assert not (directory / "converted.artifact").exists()
    assert _registry(directory / "registry").list_models() == []


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda each: each.name)
def test_a_pickle_is_refused_at_every_door(mechanism: Mechanism, tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "model.pkl"
    path.write_bytes(mechanism.bad(f"touch {canary}"))
    _refused_everywhere(mechanism, path, tmp_path, mechanism.rule)
    assert not canary.exists()


@pytest.mark.parametrize("numbers", NUMBERS, ids=lambda each: each.name)
def test_numbers_that_are_places_are_looked_at_at_every_door(numbers: Numbers, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(content_of(numbers))
    _refused_everywhere(numbers, path, tmp_path, numbers.rule)


@pytest.mark.parametrize("file", FILES, ids=lambda each: each.name)
def test_a_file_of_another_format_is_refused_at_every_door(file: FileMechanism, tmp_path: Path) -> None:
    path = tmp_path / f"model{file.suffix}"
    path.write_bytes(file.bad())
    if file.rule in ("", "onnx", "xgboost", "lightgbm"):
        if file.rule:
            assert inspect_file(path)["refused"]["rule"] == file.rule
        else:
            with pytest.raises(UnreadableModel):
                inspect_file(path)
        for door in (*_doors(file).values(), _load):
            with pytest.raises(ModelStoreError) as refused:
                door(path, tmp_path)
            assert refused.value.exit_code == (4 if door is not _import or not file.rule else 5), refused.value
    else:
        _refused_everywhere(file, path, tmp_path, file.rule)


@pytest.mark.parametrize("file", FILES, ids=lambda each: each.name)
def test_its_near_twin_loads(file: FileMechanism, tmp_path: Path) -> None:
    path = tmp_path / f"model{file.suffix}"
    path.write_bytes(file.good())
    load_model_file(path)
    found = inspect_file(path)
    assert found["refused"] is None
    assert not found["untrusted"]
