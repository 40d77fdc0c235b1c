"""What each package shows to others: a name that goes, or one more room at the top, is a decision."""

from importlib import import_module
from pkgutil import iter_modules

import pytest

NAMES = {
    "model_store": {
        "CompressionType",
        "Keyring",
        "ModelMetadata",
        "ModelRegistry",
        "ModelStatus",
        "ModelStoreError",
        "SecureModelPersistence",
        "SerializationFormat",
    },
    "stacks": {"Deployment", "DeploymentEnvironment", "ModelDeployment", "ModelDeploymentConfig", "Rollouts"},
}
"""What `import` gives by the package's own name."""

ROOMS = {
    "conventions": "artifact_files config_keys environments exit_codes latency metric_names run_files",
    "model_store": "artifact backup contract errors keys persistence registry serialization storage",
    "serving": "__main__ errors front healthcheck http inference observability process settings supervisor",
    "stacks": "checks deployment development engine environments errors history "
    "model_deployment registry_access rollout",
}
"""Sub-packages and modules at the top."""

COMMANDS = (
    "serving.__main__",
    "serving.front",
    "serving.healthcheck",
    "serving.supervisor",
    "model_store.backup",
)
"""What images, jobs and components run with `python -m`."""


@pytest.mark.parametrize("package", NAMES)
def test_a_package_exports_these_names_and_no_others(package: str) -> None:
    module = import_module(package)
    assert set(module.__all__) == NAMES[package]
    for name in NAMES[package]:
        assert getattr(module, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        module.nothing  # noqa: B018 - asked for


@pytest.mark.parametrize("package", ROOMS)
def test_a_package_has_these_rooms_and_no_others(package: str) -> None:
    assert {found.name for found in iter_modules(import_module(package).__path__)} == set(ROOMS[package].split())


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_run_by_name_is_there(name: str) -> None:
    assert callable(import_module(name).main)


def test_model_files_are_loaded_by_the_name_that_their_module_had() -> None:
    from model_store.model_files import load_model_file

    from model_store.serialization import model_files

    assert load_model_file is model_files.load_model_file


def test_manifests_know_the_classes_of_this_package_by_their_first_names() -> None:
    from model_store.serialization.native_models import LightGBMModel, OnnxModel

    for kind in (LightGBMModel, OnnxModel):
        assert f"{kind.__module__}.{kind.__qualname__}" == f"model_store.native_models.{kind.__name__}"
