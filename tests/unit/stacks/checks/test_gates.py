"""Gates: what a candidate has to pass, and that each one that it does not is named."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression

from infra.deployment_config import GatesConfig
from model_store import Keyring, ModelMetadata, ModelRegistry
from model_store.keys.keyring import generate_key
from stacks.checks.gates import failed_gates, image_versions, require_gates, with_proofs
from stacks.errors import GatesFailed
from tests.checkout import SOURCE

SCHEMA = [{"name": name, "type": "number"} for name in ("amount", "hour")]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> ModelMetadata:
    registry = ModelRegistry(tmp_path_factory.mktemp("gates") / "registry", keys=Keyring.of(generate_key()))
    model = LogisticRegression().fit([[0.0, 1.0], [1.0, 0.0]], [0, 1])
    metrics = {"accuracy": 0.95, "recall": 0.8}
    return registry.get_metadata(
        registry.register_model(model, "m", performance_metrics=metrics, feature_schema=SCHEMA)
    )


def _candidate(deployed: ModelMetadata, **changes: Any) -> ModelMetadata:
    return replace(deployed, model_id="m_LogisticRegression_20990101_000000", **changes)


def test_an_equal_version_passes(deployed: ModelMetadata) -> None:
    gates = GatesConfig(metric_floors={"accuracy": 0.9}, allowed_loss={"accuracy": 0.0, "recall": 0})
    require_gates(_candidate(deployed), deployed, gates, dict(deployed.library_versions))


@pytest.mark.parametrize(
    ("metrics", "details"),
    [
        ({"accuracy": 0.85, "recall": 0.8}, ["accuracy is 0.85, at least 0.9", "accuracy is 0.85, that of"]),
        ({"accuracy": 0.93, "recall": 0.8}, ["accuracy is 0.93, that of"]),
        ({"recall": 0.8}, ["accuracy is not in the manifest", "accuracy is missing, that of"]),
        ({"accuracy": 0.945, "recall": 0.1}, []),
    ],
)
def test_floors_and_losses_are_compared_by_metric(
    deployed: ModelMetadata, metrics: dict[str, float], details: list[str]
) -> None:
    gates = GatesConfig(metric_floors={"accuracy": 0.9}, allowed_loss={"accuracy": 0.01})
    found = failed_gates(_candidate(deployed, performance_metrics=metrics), deployed, gates, {})
    assert len(found) == len(details)
    assert all(words in gate.detail for gate, words in zip(found, details, strict=True))


def test_features_that_callers_send_have_to_be_those_that_it_takes(deployed: ModelMetadata) -> None:
    candidate = _candidate(deployed, feature_schema=({"name": "amount"}, {"name": "country"}))
    found = failed_gates(candidate, deployed, GatesConfig(), {})
    assert [gate.detail for gate in found] == [
        "callers send hour, which it does not take",
        "it takes country, which callers do not send",
    ]
    assert not failed_gates(candidate, deployed, GatesConfig(same_features=False), {})
    assert not failed_gates(candidate, None, GatesConfig(), {}), "the first version has nobody's callers to fit"


def test_other_libraries_than_it_was_saved_by_are_a_gate_unless_nothing_is_unpickled(deployed: ModelMetadata) -> None:
    candidate = _candidate(deployed)
    (found,) = failed_gates(candidate, deployed, GatesConfig(), {"scikit-learn": "0.1.0"})
    assert found.name == "dependency versions"
    served_otherwise = replace(candidate, contract=None, runtime={"format": "onnx", "digest": "sha256:" + "0" * 64})
    assert not failed_gates(served_otherwise, deployed, GatesConfig(), {"scikit-learn": "0.1.0"})


def test_a_proof_under_the_installed_libraries_opens_their_gate(deployed: ModelMetadata) -> None:
    candidate, installed = _candidate(deployed), {"scikit-learn": "99.1.0"}
    proof = {"proven": True, "versions": {**candidate.library_versions, "scikit-learn": "99.1.3"}}
    assert failed_gates(candidate, deployed, GatesConfig(), installed)
    assert not failed_gates(with_proofs(candidate, {"proofs": [proof]}, installed), deployed, GatesConfig(), installed)
    failed = {"proofs": [proof, {**proof, "proven": False}]}
    assert failed_gates(with_proofs(candidate, failed, installed), deployed, GatesConfig(), installed)


def test_the_refusal_names_every_gate_and_the_ways_on(deployed: ModelMetadata, tmp_path: Path) -> None:
    gates = GatesConfig(metric_floors={"accuracy": 0.99, "recall": 0.99})
    with pytest.raises(GatesFailed) as refused:
        require_gates(_candidate(deployed), deployed, gates, {})
    assert "does not pass 2 gate(s); nothing was changed" in str(refused.value)
    assert "--force --reason" in str(refused.value)


def test_a_missing_signature_is_a_gate_and_an_images_libraries_are_those_that_it_is_built_from(
    deployed: ModelMetadata,
) -> None:
    (found,) = failed_gates(_candidate(deployed), deployed, GatesConfig(), {}, "it is not signed")
    assert (found.name, found.detail) == ("signature", "it is not signed")
    pinned = image_versions(SOURCE)
    assert {"xgboost", "scikit-learn", "lightgbm", "numpy"} <= set(pinned)
    assert pinned["scikit-learn"].count(".") >= 1
    assert image_versions(Path("/nowhere")) == {}


def test_the_processor_only_package_of_xgboost_is_xgboost(deployed: ModelMetadata) -> None:
    candidate = replace(_candidate(deployed), library_versions={"xgboost-cpu": "2.1.0"})
    (gate,) = failed_gates(candidate, None, GatesConfig(), {"xgboost-cpu": "3.0.0"})
    assert gate.detail == "it was saved by xgboost 2.1.0 and would be loaded by 3.0.0"
    assert failed_gates(candidate, None, GatesConfig(), {"xgboost": "2.1.4"}) == []
