"""A registry is named by its place, or by the environment whose bucket it is."""

import shutil
from pathlib import Path

import pytest

from model_store.errors import ModelNotFound
from stacks.registry_names import named_registry
from tests.checkout import SOURCE


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for stack in ("dev", "staging", "production"):
        shutil.copyfile(SOURCE / f"Pulumi.{stack}.yaml", tmp_path / f"Pulumi.{stack}.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODEL_REGISTRY_URL", raising=False)
    return tmp_path


def test_an_environment_stands_for_the_bucket_that_its_file_names(checkout: Path) -> None:
    assert named_registry(checkout, "staging") == "s3://fraud-detection-registry-staging"
    assert named_registry(checkout, "production") == "s3://fraud-detection-registry-production"
    for name in ("development", "dev"):
        assert named_registry(checkout, name) == str(checkout / "registry")


def test_a_place_is_taken_as_it_is_and_comes_before_an_environment(checkout: Path) -> None:
    (checkout / "staging").mkdir()
    for name in ("staging", "s3://other/prefix", "made/by/the/first/write", "elsewhere"):
        assert named_registry(checkout, name) == name


@pytest.mark.parametrize(
    ("name", "meant"),
    [("prodution", "production"), ("prod", "production"), ("Staging", "staging"), ("stagin", "staging")],
)
def test_a_mistyped_environment_makes_no_new_registry(checkout: Path, name: str, meant: str) -> None:
    with pytest.raises(ModelNotFound, match=rf"{name}: no such environment; is it {meant}\? .*write \./{name}"):
        named_registry(checkout, name)
    assert named_registry(checkout, f"./{name}") == f"./{name}"
    (checkout / name).mkdir()
    assert named_registry(checkout, name) == name


def test_a_source_that_is_not_there_is_named(checkout: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"stagin: no such directory, bucket .* or environment"):
        named_registry(checkout, "stagin", is_source=True)
