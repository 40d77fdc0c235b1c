"""The files beside an artifact are verified and rotated as it is, and damage is named where programs read it."""

import json
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression

from model_store import Keyring, ModelRegistry
from model_store.artifact.reader import open_artifact
from model_store.errors import IntegrityError, KeyNotFound
from model_store.keys.keyring import generate_key
from model_store.registry.upkeep.key_rotation import rotate_keys
from model_store.registry.upkeep.maintenance import verify_everything
from scripts.manage_models import main
from tests.unit.model_store.making import KEY, intact, register

_FILES = ("artifact", "golden", "runtime")


@pytest.fixture
def served(tmp_path: Path) -> tuple[ModelRegistry, str]:
    registry = ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), actor="tester")
    model = LogisticRegression().fit([[0.0], [1.0]] * 20, [0, 1] * 20)
    return registry, registry.register_model(model, "m", model_type="LR")


@pytest.mark.parametrize("file", _FILES)
def test_a_changed_byte_of_any_file_is_found(served: tuple[ModelRegistry, str], file: str) -> None:
    registry, model_id = served
    assert intact(registry)
    path = registry.artifact_path(model_id).with_name(file)
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    (found,) = [each for each in verify_everything(registry) if not each.intact]
    assert f"the {file} is not" in found.detail


@pytest.mark.parametrize("file", ["artifact", "manifest.json"])
def test_a_rotation_leaves_out_what_is_damaged_and_names_it(served: tuple[ModelRegistry, str], file: str) -> None:
    registry, first = served
    others = [register(registry, number) for number in range(2)]
    path = registry.artifact_path(first).with_name(file)
    path.chmod(0o600)
    path.write_bytes(b"xx")
    new = Keyring.of(generate_key())
    with pytest.raises(IntegrityError, match=rf"{first}: .*2 rotated\. Keep the keys of before"):
        rotate_keys(registry, [], new.providers)
    names = tuple(key.key_id for key in new.providers)
    assert [registry.key_ids(each) for each in others] == [names, names]
    assert [registry.state(each)["key_ids"] for each in others] == [list(names), list(names)]


def test_a_rotation_gives_every_file_the_new_key_alone(served: tuple[ModelRegistry, str]) -> None:
    registry, model_id = served
    new = generate_key()
    rotate_keys(registry, [], Keyring.of(new).providers)
    for file in _FILES:
        with open_artifact(registry.artifact_path(model_id).with_name(file)) as artifact:
            artifact.require_key(Keyring.of(new))
            with pytest.raises(KeyNotFound):
                artifact.require_key(Keyring.of(KEY))
    assert intact(registry)


def test_damaged_versions_are_named_where_a_program_reads_them(
    served: tuple[ModelRegistry, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registry, model_id = served
    whole = register(registry, name="whole")
    monkeypatch.setenv("MODEL_REGISTRY_URL", registry.storage.location)
    monkeypatch.setenv("MODEL_KEY", KEY.decode())
    assert main(["list", "--damaged", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    registry.manifest_path(model_id).unlink()
    assert main(["list", "--json"]) == 0
    said = capsys.readouterr()
    assert [row["model_id"] for row in json.loads(said.out)] == [whole]
    assert said.err.startswith(f"damaged: {model_id}: ")
    assert main(["list", "--damaged", "--json"]) == 0
    said = capsys.readouterr()
    (row,) = json.loads(said.out)
    assert row["model_id"] == model_id
    assert "manifest.json is missing" in row["reason"]
    assert said.err == ""
    assert main(["list", "--damaged", "--name", "whole", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["stats", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["damaged"]) == [model_id]
