"""What each package shows to others: a name that goes, or one more room at the top, is a decision."""

from importlib import import_module
from pathlib import Path
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
    "conventions": "alert_rules artifact_files config_keys endpoint_tls environments exit_codes latency libraries "
    "metric_names moments regular_files run_files variables",
    "model_store": "artifact backup confinement contract decisions errors keys persistence registry serialization "
    "storage",
    "serving": "__main__ errors front healthcheck http inference observability process settings supervisor "
    "traffic_splitter",
    "stacks": "checks decisions deployment deployment_checks deployment_history deployment_updates development doctor "
    "engine environments errors history model_deployment outcomes overrides periods provenance recorded_actors records "
    "registry_access registry_names requirements rollout story",
}
"""Sub-packages and modules at the top."""

COMMANDS = (
    "serving.__main__",
    "serving.front",
    "serving.traffic_splitter",
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
def test_each_module_run_by_name_has_a_main(name: str) -> None:
    assert callable(import_module(name).main)


def test_model_files_are_loaded_by_the_name_that_their_module_had() -> None:
    from model_store.model_files import load_model_file

    from model_store.serialization import model_files

    assert load_model_file is model_files.load_model_file


def test_manifests_know_the_classes_of_this_package_by_their_first_names() -> None:
    from model_store.serialization.native_models import LightGBMModel, OnnxModel

    for kind in (LightGBMModel, OnnxModel):
        assert f"{kind.__module__}.{kind.__qualname__}" == f"model_store.native_models.{kind.__name__}"


def test_a_model_with_stand_ins_of_the_time_before_is_loaded_and_saved_again_under_the_same_names() -> None:
    import io
    import pickle
    import pickletools

    from model_store import SecureModelPersistence
    from model_store.serialization.trust import load_pickle

    file = Path(__file__).parent / "model_store" / "serialization" / "saved_before_the_rooms.artifact"
    model, _metadata = SecureModelPersistence().load_model_secure(file)
    again = pickle.dumps(model)
    named = {text for _code, text, _at in pickletools.genops(again) if isinstance(text, str)}
    assert "model_store.stand_ins" in named
    assert "model_store.serialization.stand_ins" not in named
    for loaded in (model, load_pickle(io.BytesIO(again))):
        assert repr(loaded.scorer_) == "<stand-in for a sklearn.metrics._scorer._Scorer>"
        assert loaded.predict_proba([[0.2, 0.3], [0.9, 0.9]])[:, 1] == pytest.approx([0.29712307, 0.71968118])


def test_models_in_native_formats_can_be_pickled_as_before() -> None:
    import pickle

    import lightgbm

    from model_store.serialization.native_models import LightGBMModel

    rows = [[0.0], [1.0]] * 40
    trained = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(rows, [0, 1] * 40)
    model = LightGBMModel(trained.booster_.model_to_string())
    again = pickle.loads(pickle.dumps(model))
    assert (again.predict_proba(rows) == model.predict_proba(rows)).all()
