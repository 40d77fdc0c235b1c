"""What stacks name stays in the registry; a backup goes to a bucket and comes back."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression

from model_store import ModelRegistry
from model_store import backup as job
from model_store.errors import InUse
from model_store.registry.recovery.backups import backup, restore
from model_store.registry.upkeep.maintenance import cleanup, delete_model
from stacks.engine.in_use import versions_in_use


def _registered(registry: ModelRegistry, count: int) -> list[str]:
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    return [registry.register_model(model, "fraud") for _ in range(count)]


def test_cleanup_keeps_what_stacks_serve_try_and_keep(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry", encrypt=False)
    served, candidate, kept, old, newest = _registered(registry, 5)
    (tmp_path / "Pulumi.dev.yaml").write_text(f"config:\n  fraud-detection:modelVersion: {served}\n")
    (tmp_path / "Pulumi.staging.yaml").write_text(
        f"config:\n  fraud-detection:rollout: {{strategy: canary, candidate: {candidate}}}\n"
    )
    (tmp_path / "Pulumi.production.yaml").write_text(
        f"config:\n  fraud-detection:rollout: {{strategy: canary, kept: {kept}, kept_until: '2026-01-01T00:00:00Z'}}\n"
    )
    in_use = versions_in_use(tmp_path)
    going, stays = cleanup(registry, 1, dry_run=False, in_use=in_use)
    assert going == [old]
    assert set(stays) == {served, candidate, kept}
    assert stays[candidate] == "is the candidate of stack staging"
    assert {item.model_id for item in registry.list_models()} == {served, candidate, kept, newest}
    with pytest.raises(InUse, match="is kept by stack production"):
        delete_model(registry, kept, in_use=in_use)


def test_what_ran_within_the_rollback_window_stays_however_many_came_after(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry", encrypt=False)
    versions = _registered(registry, 8)
    for number, model_id in enumerate(versions):
        registry.record_deployment(model_id, environment="development", deployment_id=f"deploy_{number}")
        registry.update_model_status(model_id, "deprecated")
    assert cleanup(registry, 1, dry_run=True)[0] == []
    # As if all that had been long ago: the last five different ones stay, whatever their age.
    then = (datetime.now(UTC) - timedelta(days=91)).isoformat()
    for number, model_id in enumerate(versions):
        path = tmp_path / "registry" / "models" / "fraud" / model_id / "state.json"
        state = json.loads(path.read_text())
        state["deployments"][0]["at"] = f"{then}{number}"
        path.write_text(json.dumps(state))
    assert cleanup(registry, 1, dry_run=True)[0] == versions[:3]


def test_the_jobs_command_copies_only_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = ModelRegistry(tmp_path / "registry", encrypt=False)
    (model_id,) = _registered(registry, 1)
    monkeypatch.setenv("MODEL_REGISTRY_URL", str(tmp_path / "registry"))
    assert job.main([str(tmp_path / "second")]) == 0
    first = json.loads(capsys.readouterr().out)
    assert job.main([str(tmp_path / "second")]) == 0
    again = json.loads(capsys.readouterr().out)
    assert first["copied"] >= 3
    assert again["copied"] == 1, "the record of the backup itself"
    restored = ModelRegistry(tmp_path / "restored")
    restore(restored, str(tmp_path / "second"))
    assert restored.verify_artifact(model_id) == registry.get_metadata(model_id).digest
    assert job.main(["ftp://elsewhere"]) != 0
    assert "not allowed" in capsys.readouterr().err


def test_a_bucket_of_versions_without_states_is_backed_up_and_comes_back(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry", encrypt=False)
    (model_id,) = _registered(registry, 1)
    state = tmp_path / "registry" / "models" / "fraud" / model_id / "state.json"
    kept = state.read_bytes()
    state.unlink()
    assert backup(registry, tmp_path / "copy")["damaged"] == {}
    assert restore(ModelRegistry(tmp_path / "new", encrypt=False), tmp_path / "copy")["damaged"] == {}
    state.write_bytes(kept)
    backup(registry, tmp_path / "copy")
    state.unlink()
    assert list(backup(registry, tmp_path / "copy")["damaged"]) == [f"models/fraud/{model_id}/state.json"]
