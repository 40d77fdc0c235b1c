"""What an environment requires of a version, read from the registry."""

from pathlib import Path
from typing import Any

import pytest

from infra.break_glass import BreakGlass, parse_break_glass
from infra.deployment_config import parse_deployment_config, read_template
from infra.errors import ConfigError
from infra.requirements import missing_requirements
from model_store import Keyring, ModelRegistry
from model_store.keys.keyring import generate_key
from model_store.registry.signing import public_text, read_signing_key, write_signing_key
from tests.checkout import SOURCE

KEY = generate_key()
ALL = ("validated", "approved", "signed")


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return _as(tmp_path, "alice")


def _as(tmp_path: Path, actor: str) -> ModelRegistry:
    return ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), actor=actor)


def _register(registry: ModelRegistry) -> str:
    return registry.register_model(model=1, model_name="m", model_type="T", registry_only=True)


def _names(registry: ModelRegistry, model_id: str, **options: Any) -> list[str]:
    return [each.name for each in missing_requirements(registry, model_id, "production", ALL, **options)]


def test_each_missing_thing_has_its_command(tmp_path: Path, registry: ModelRegistry) -> None:
    model_id = _register(registry)
    found = {each.name: each for each in missing_requirements(registry, model_id, "production", ALL)}
    assert list(found) == ["validated", "approved", "signed"]
    assert f"update-status {model_id} validated --evidence FILE" in found["validated"].command
    assert "somebody other than alice" in found["approved"].command
    assert f"sign {model_id} --sign-key FILE" in found["signed"].command
    assert not missing_requirements(registry, model_id, "development", ())
    report = tmp_path / "report"
    report.write_text("fine")
    registry.update_model_status(model_id, "validated", evidence=report)
    _as(tmp_path, "bob").approve(model_id, report, "fine")
    write_signing_key(tmp_path / "signing.key")
    key = read_signing_key(tmp_path / "signing.key")
    registry.sign_model(model_id, key)
    assert _names(registry, model_id, public_keys=[public_text(key.public_key())]) == []


def test_a_version_that_served_goes_back_unless_its_approval_was_withdrawn(
    tmp_path: Path, registry: ModelRegistry
) -> None:
    model_id = _register(registry)
    registry.record_deployment(model_id, environment="staging", deployment_id="d0", checked=True)
    assert _names(registry, model_id) == list(ALL), "serving elsewhere gives nothing"
    registry.record_deployment(model_id, environment="production", deployment_id="d1", checked=True)
    assert _names(registry, model_id) == ["signed"]
    assert _names(registry, model_id, way_back=False) == list(ALL)
    report = tmp_path / "report"
    report.write_text("fine")
    bob = _as(tmp_path, "bob")
    bob.approve(model_id, report, "fine")
    bob.withdraw_approval(model_id, "wrong labels")
    assert _names(registry, model_id) == list(ALL)


def test_a_deployment_under_break_glass_does_not_count_as_served(registry: ModelRegistry) -> None:
    model_id = _register(registry)
    registry.record_deployment(
        model_id, environment="production", deployment_id="d1", break_glass="hurry", checked=True
    )
    assert _names(registry, model_id) == list(ALL)


def test_a_deployment_that_is_only_recorded_does_not_count_as_served(registry: ModelRegistry) -> None:
    model_id = _register(registry)
    registry.record_deployment(model_id, environment="production", deployment_id="d1")
    assert _names(registry, model_id) == list(ALL)


def test_a_deployment_of_before_counts_as_served(registry: ModelRegistry) -> None:
    model_id = _register(registry)
    registry.record_deployment(model_id, environment="production", deployment_id="d1")
    registry.change_state(model_id, lambda state: state["deployments"][0].pop("unchecked"))
    assert _names(registry, model_id) == ["signed"]


def test_an_archived_version_is_not_valid(tmp_path: Path, registry: ModelRegistry) -> None:
    model_id = _register(registry)
    (tmp_path / "report").write_text("fine")
    registry.update_model_status(model_id, "validated", evidence=tmp_path / "report")
    registry.update_model_status(model_id, "archived")
    assert "validated" in _names(registry, model_id)


@pytest.mark.parametrize(
    ("environment", "requires"),
    [("development", []), ("staging", ["signed"]), ("production", ["validated", "approved", "signed"])],
)
def test_the_templates_and_a_config_of_before_require_the_same(environment: str, requires: list[str]) -> None:
    config = read_template(SOURCE / "config" / "deployment_templates" / f"{environment}.yaml")
    assert config.requires == requires
    values = config.to_dict()
    assert values["gates"]["requires"] == requires
    del values["gates"]["requires"]
    assert parse_deployment_config(values, "x").requires == requires


def test_a_config_lowers_what_is_required_but_not_the_validation_of_production() -> None:
    values = read_template(SOURCE / "config" / "deployment_templates" / "production.yaml").to_dict()
    values["gates"]["requires"] = []
    assert parse_deployment_config(values, "x").requires == ["validated"]
    values["gates"]["requires"] = ["reviewed"]
    with pytest.raises(ConfigError, match=r"gates\.requires"):
        parse_deployment_config(values, "x")


def test_break_glass_waives_requirements_of_its_version_until_it_expires_but_no_signature() -> None:
    glass = BreakGlass("a", ["validated", "signed"], "why", "bob", "2026-10-09T14:00:00Z", "2999-01-01T00:00:00Z")
    assert glass.passes("a", "validated")
    assert not glass.passes("a", "signed")
    assert not glass.passes("a", "approved")
    assert not glass.passes("b", "validated")
    over = BreakGlass(**{**glass.to_dict(), "until": "2026-10-09T15:00:00Z"})
    assert not over.passes("a", "validated")


@pytest.mark.parametrize("change", [{"until": "soon"}, {"until": 5}, {"missing": ["all"]}, {"reason": ""}, {"more": 1}])
def test_an_invalid_break_glass_names_the_key(change: dict[str, object]) -> None:
    glass = BreakGlass("a", ["validated"], "why", "bob", "2026-10-09T14:00:00Z", "2999-01-01T00:00:00Z")
    with pytest.raises(ConfigError, match=rf"Pulumi.dev.yaml: fraud-detection:breakGlass.{next(iter(change))}"):
        parse_break_glass({**glass.to_dict(), **change}, "Pulumi.dev.yaml")


def test_a_glass_is_broken_for_seven_days_at_most() -> None:
    broken = {"model_id": "a", "missing": ["validated"], "reason": "why", "by": "bob", "at": "2026-10-09T14:00:00Z"}
    assert parse_break_glass({**broken, "until": "2026-10-16T14:00:00Z"}, "x") is not None
    with pytest.raises(ConfigError, match="at most 7 days after"):
        parse_break_glass({**broken, "until": "2099-01-01T00:00:00Z"}, "x")


def test_a_glass_that_is_broken_in_the_future_or_ends_before_is_refused() -> None:
    glass = {"model_id": "a", "missing": ["validated"], "reason": "why", "by": "bob"}
    with pytest.raises(ConfigError, match=r"breakGlass\.at: '2098-12-26T00:00:00Z' is not allowed"):
        parse_break_glass({**glass, "at": "2098-12-26T00:00:00Z", "until": "2099-01-01T00:00:00Z"}, "x")
    with pytest.raises(ConfigError, match=r"breakGlass\.until: .* allowed: after"):
        parse_break_glass({**glass, "at": "2026-10-09T14:00:00Z", "until": "2026-10-08T14:00:00Z"}, "x")


def test_a_validation_without_its_evidence_does_not_count(tmp_path: Path, registry: ModelRegistry) -> None:
    model_id = _register(registry)
    (tmp_path / "report").write_text("fine")
    registry.update_model_status(model_id, "validated", evidence=tmp_path / "report")
    (evidence,) = (tmp_path / "registry" / "models" / "m" / model_id / "evidence").iterdir()
    evidence.write_text("something else")
    (missing,) = missing_requirements(registry, model_id, "production", ("validated",))
    assert "its evidence is not intact" in missing.detail
