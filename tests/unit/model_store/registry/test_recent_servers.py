"""What served before is found at the end of the audit log, and where the log does not tell, in the states."""

from pathlib import Path

import pytest

from model_store import Keyring, ModelRegistry
from model_store.registry.recovery.backups import backup, restore
from tests.unit.model_store.making import KEY, register


def _opened(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), actor="alice")


def _serving(registry: ModelRegistry) -> dict[str, list[str]]:
    """By version where its own state says that it serves."""
    states = {model.model_id: registry.state(model.model_id) for model in registry.stored_models()}
    return {each: sorted(state["serving"]) for each, state in states.items() if state.get("serving")}


def _refuse_the_list(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("every version was listed")

    monkeypatch.setattr(registry._index, "models", refuse)


def test_a_deployment_lists_no_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = _opened(tmp_path)
    a, b = (register(registry, number, "m") for number in range(2))
    registry.record_deployment(a, environment="staging", deployment_id="d1")
    with monkeypatch.context() as patched:
        _refuse_the_list(registry, patched)
        registry.record_deployment(b, environment="staging", deployment_id="d2")
        registry.record_deployment(a, environment="staging", deployment_id="d3")
    assert _serving(registry) == {a: ["staging"]}
    assert str(registry.get_metadata(b).status) == "trained"


def test_a_version_of_long_ago_is_found(tmp_path: Path) -> None:
    registry = _opened(tmp_path)
    a, b = (register(registry, number, "m") for number in range(2))
    registry.record_deployment(a, environment="staging", deployment_id="d1")
    for _ in range(40):
        registry.audit.append("load", a)
    registry.record_deployment(b, environment="staging", deployment_id="d2")
    assert _serving(registry) == {b: ["staging"]}


def test_a_deployment_that_was_killed_between_two_states_is_put_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = _opened(tmp_path)
    a, b, c = (register(registry, number, "m") for number in range(3))
    registry.record_deployment(a, environment="staging", deployment_id="d1")

    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr("model_store.registry.serving.end_serving", killed)
        registry.record_deployment(b, environment="staging", deployment_id="d2")
    assert _serving(registry) == {a: ["staging"], b: ["staging"]}
    registry.record_deployment(c, environment="staging", deployment_id="d3")
    assert _serving(registry) == {c: ["staging"]}


def test_a_state_that_a_restore_brought_back_is_found(tmp_path: Path) -> None:
    registry = _opened(tmp_path)
    a, b, c = (register(registry, number, "m") for number in range(3))
    registry.record_deployment(a, environment="staging", deployment_id="d1")
    backup(registry, tmp_path / "backup")
    registry.record_deployment(b, environment="staging", deployment_id="d2")
    state = tmp_path / "registry" / "models" / "m" / a / "state.json"
    state.write_text("{}")
    restore(registry, tmp_path / "backup")
    registry.record_deployment(c, environment="staging", deployment_id="d3")
    assert _serving(registry) == {c: ["staging"]}


def test_a_damaged_log_does_not_hide_what_served(tmp_path: Path) -> None:
    registry = _opened(tmp_path)
    a, b = (register(registry, number, "m") for number in range(2))
    registry.record_deployment(a, environment="staging", deployment_id="d1")
    last = registry.audit.head().sequence
    (tmp_path / "registry" / "audit" / "000000" / f"{last:09}.json").write_text("{")
    registry.record_deployment(b, environment="staging", deployment_id="d2")
    assert _serving(registry) == {b: ["staging"]}
