"""Where versions serve and ran, as lists tell it: right after every change, in this process, another one, and anew."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model_store import Keyring, ModelRegistry
from model_store.registry import index
from model_store.registry.aliases import Aliases
from model_store.registry.exchange.bundles import export_model, import_model
from model_store.registry.files.layout import storage_at
from model_store.registry.recovery.backups import backup, restore
from model_store.registry.recovery.repair import repair
from model_store.registry.upkeep.key_rotation import rotate_keys
from model_store.registry.upkeep.maintenance import delete_model
from tests.unit.model_store.making import KEY, register

Registry = Callable[[], ModelRegistry]


def _told(registry: ModelRegistry) -> dict[str, object]:
    return {
        model.model_id: (str(model.status), dict(model.serving), model.ran, model.key_ids)
        for model in registry.list_models()
    }


def _files_say(registry: ModelRegistry) -> dict[str, object]:
    """As `_told`, read from each version's own files."""
    found = {}
    for path in Path(registry.storage.location).glob("models/*/*/manifest.json"):
        model = registry.get_metadata(path.parent.name)
        found[model.model_id] = (str(model.status), dict(model.serving), model.ran, model.key_ids)
    return found


def test_a_list_tells_what_every_change_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_MANY_LOCAL", 0)  # the index is written whenever something changed
    monkeypatch.setattr(index, "_PART_LOCAL", 1000)
    monkeypatch.setattr("model_store.storage.directory._CLOCK_GRAIN_NS", 1)  # a file system with a fine clock

    def opened(actor: str = "alice") -> ModelRegistry:
        return ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), actor=actor)

    writer, watcher = opened(), opened("watcher")
    report = tmp_path / "report.txt"
    report.write_text("recall 0.93")
    a, b, c = (register(writer, number, name) for number, name in enumerate(("m", "m", "other")))
    export_model(writer, b, tmp_path / "b.bundle")
    deploy = writer.record_deployment
    added: list[str] = []
    changes: list[Callable[[], object]] = [
        lambda: deploy(a, environment="staging", deployment_id="d1"),
        lambda: deploy(b, environment="staging", deployment_id="d2", break_glass="hurry"),
        lambda: deploy(b, environment="production", deployment_id="d3"),
        lambda: deploy(c, environment="staging", deployment_id="d4"),
        lambda: backup(writer, tmp_path / "backup"),
        lambda: writer.update_model_status(a, "validated", evidence=report),
        lambda: opened("bob").approve(a, report, "read it"),
        lambda: writer.withdraw_approval(a, "wrong labels"),
        lambda: deploy(a, environment="production", deployment_id="d5", action="rollback"),
        lambda: writer.record_end("staging"),
        lambda: writer.record_end("production"),
        lambda: Aliases(writer).set("m", "champion", a),
        lambda: writer.update_model_status(b, "archived"),
        lambda: added.append(register(writer, 7)),
        lambda: delete_model(writer, added[0]),
        lambda: rotate_keys(writer, [], Keyring.of(KEY).providers),
        lambda: writer.manifest_path(b).with_name("state.json").unlink(),
        lambda: repair(writer, storage_at(tmp_path / "backup")),
        lambda: restore(writer, tmp_path / "backup"),
        lambda: import_model(writer, tmp_path / "b.bundle"),
    ]
    assert watcher.list_models()
    for number, change in enumerate(changes):
        change()
        if number == 16:
            continue  # a version without a state is damaged, and listed by nobody
        expected = _files_say(opened())
        for registry in (watcher, writer, opened("anew")):
            assert _told(registry) == expected, number
    assert {name for model in opened().list_models() for name in model.ran} == {"staging", "production"}
