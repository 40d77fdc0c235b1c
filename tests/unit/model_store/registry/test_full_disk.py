"""A registry on a disk that is full: nothing is half-written, and deleting frees it."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from conventions import exit_codes
from model_store import Keyring, ModelRegistry
from model_store.errors import StorageFailed
from model_store.registry.aliases import Aliases
from model_store.registry.exchange.bundles import export_model
from model_store.registry.log.reserve import RESERVE_KEY
from model_store.registry.recovery.backups import backup
from model_store.registry.upkeep.leftovers import leftovers
from model_store.registry.upkeep.maintenance import cleanup, delete_model, verify_everything
from scripts.manage_models import main
from tests.unit.model_store.making import KEY, intact, register
from tests.unit.model_store.registry.disks import fill, fill_with_files, in_a_child, quota, small_disk

_DISK_BYTES = 3 << 20
_MODEL_BYTES = 200_000


def _full(top: Path) -> tuple[ModelRegistry, list[str], Path]:
    """A registry with four versions on a disk that has not a byte left."""
    registry = ModelRegistry(top / "registry", keys=Keyring.of(KEY), actor="tester")
    ids = [register(registry, os.urandom(_MODEL_BYTES)) for _ in range(4)]
    return registry, ids, fill(top)


def _free_bytes(top: Path) -> int:
    found = os.statvfs(top)
    return found.f_bavail * found.f_frsize


def _files(registry: ModelRegistry) -> dict[str, bytes]:
    root = Path(registry.storage.location)
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".locks" not in path.parts and not path.name.startswith(".index")
    }


def _has_reserve(registry: ModelRegistry) -> bool:
    return registry.storage.path(RESERVE_KEY).exists()


@pytest.mark.parametrize(
    "deed",
    [
        lambda registry, ids: register(registry, os.urandom(_MODEL_BYTES)),
        lambda registry, ids: registry.update_model_status(ids[0], "staged"),
        lambda registry, ids: Aliases(registry).set("m", "champion", ids[0]),
        lambda registry, ids: registry.record_deployment(ids[0], environment="e", deployment_id="d"),
        lambda registry, ids: registry.approve(ids[0], Path(__file__), "read"),
        lambda registry, ids: registry.load_model(ids[0]),
    ],
    ids=["register", "status", "alias", "deploy", "approve", "load"],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    tmp_path: Path, deed: Callable[[ModelRegistry, list[str]], object]
) -> None:
    def work() -> None:
        registry, ids, _ = _full(tmp_path)
        before = _files(registry)
        with pytest.raises(StorageFailed, match="No space left on device"):
            deed(ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), actor="somebody"), ids)
        assert _files(registry) == before, "the reserve, too, is as before"
        assert len(registry.list_models()) == len(ids)
        assert intact(registry)

    in_a_child(work, small_disk(tmp_path, _DISK_BYTES))


def test_a_deletion_is_recorded_and_frees_the_disk(tmp_path: Path) -> None:
    def work() -> None:
        registry, ids, _ = _full(tmp_path)
        assert _free_bytes(tmp_path) == 0
        assert _has_reserve(registry)
        fresh = ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), actor="tester")
        delete_model(fresh, ids[0], "the disk is full")
        assert _free_bytes(tmp_path) > _MODEL_BYTES // 2
        assert _has_reserve(fresh), "for the next time"
        last = list(fresh.audit.records())[-1]
        assert (last.action, last.model_id, last.reason) == ("delete", ids[0], "the disk is full")
        assert [finding for finding in verify_everything(fresh) if not finding.intact] == []
        fill(tmp_path)
        delete_model(fresh, ids[1], "again")
        assert _has_reserve(fresh)
        register(fresh, 1)
        assert intact(fresh)

    in_a_child(work, small_disk(tmp_path, _DISK_BYTES))


def test_a_cleanup_frees_the_disk(tmp_path: Path) -> None:
    def work() -> None:
        registry, ids, _ = _full(tmp_path)
        assert cleanup(registry, 1, dry_run=False)[0] == ids[:-1]
        assert _has_reserve(registry)
        assert _free_bytes(tmp_path) > 2 * _MODEL_BYTES
        assert [record.model_id for record in registry.audit.records() if record.action == "delete"] == ids[:-1]
        assert leftovers(registry.storage) == []
        assert intact(registry)

    in_a_child(work, small_disk(tmp_path, _DISK_BYTES))


def test_the_commands_free_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_REGISTRY_URL", str(tmp_path / "registry"))
    monkeypatch.setenv("MODEL_KEY", KEY.decode())

    def work() -> None:
        registry = ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY))
        ids = [register(registry, os.urandom(_MODEL_BYTES)) for _ in range(4)]
        fill(tmp_path)
        assert main(["update-status", ids[0], "staged"]) == exit_codes.STORAGE_FAILED
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert main(["delete", ids[0], "--reason", "room"]) == 0
        assert main(["cleanup", str(tmp_path / "registry"), "--keep-latest", "1"]) == 0
        assert main(["verify"]) == 0
        assert [model.model_id for model in registry.list_models()] == ids[-1:]

    in_a_child(work, small_disk(tmp_path, _DISK_BYTES))


@pytest.mark.parametrize("room", [4 << 10, 12 << 10])
@pytest.mark.parametrize("command", ["repair", "restore", "backup", "import"])
def test_what_a_full_disk_stops_says_where_and_goes_on_with_room(
    tmp_path: Path, command: str, room: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk, root = tmp_path / "disk", tmp_path / "registry"
    disk.mkdir()
    monkeypatch.setenv("MODEL_KEY", KEY.decode())
    registry = ModelRegistry(root, keys=Keyring.of(KEY))
    ids = [register(registry, os.urandom(8 << 10), name) for name in ("m", "m", "other")]
    export_model(registry, ids[2], tmp_path / "other.bundle")
    backup(registry, tmp_path / "copy")
    given = {
        "repair": ["verify", "--repair", str(tmp_path / "copy")],
        "restore": ["restore", str(tmp_path / "copy")],
        "backup": ["backup", str(disk / "copy")],
        "import": ["import", str(tmp_path / "other.bundle")],
    }[command]

    def work() -> None:
        place = root
        if command != "backup":
            place = disk / "registry"
            shutil.copytree(root, place)
            shutil.rmtree(place / "models" / "other")
            (place / "models" / "m" / ids[0] / "state.json").write_bytes(b"{")
        monkeypatch.setenv("MODEL_REGISTRY_URL", str(place))
        filler = fill(disk)
        with filler.open("r+b") as file:
            file.truncate(filler.stat().st_size - room)
        code = main(given)
        said = capsys.readouterr().err
        assert code in (0, exit_codes.STORAGE_FAILED), said
        assert code == 0 or str(disk) in said.splitlines()[-1], said
        filler.unlink()
        assert main(given) == 0
        opened = ModelRegistry(disk / "copy" if command == "backup" else place, keys=Keyring.of(KEY))
        assert ids[2] in {model.model_id for model in opened.list_models()}

    in_a_child(work, small_disk(disk, 2 << 20))


@pytest.mark.parametrize("files", [0, 120], ids=["bytes", "files"])
def test_a_quota_is_as_a_full_disk(files: int) -> None:
    place = Path(tempfile.mkdtemp(prefix="quota-"))
    place.chmod(0o755)
    with tempfile.TemporaryDirectory() as elsewhere:
        # Everything is imported before the user changes, who may not read this checkout.
        registry = ModelRegistry(elsewhere, keys=Keyring.of(KEY))
        register(registry, 1)
        delete_model(registry, register(registry, 2))
        assert intact(registry)

    def work() -> None:
        registry = ModelRegistry(place / "registry", keys=Keyring.of(KEY), actor="tester")
        ids = [register(registry, os.urandom(_MODEL_BYTES)) for _ in range(4)]
        fill_with_files(place) if files else fill(place)
        before = _files(registry)
        fresh = ModelRegistry(place / "registry", keys=Keyring.of(KEY), actor="tester")
        for deed in (lambda: register(fresh, 5), lambda: fresh.update_model_status(ids[0], "staged")):
            with pytest.raises(StorageFailed, match="Disk quota exceeded"):
                deed()
        assert _files(registry) == before
        delete_model(fresh, ids[0], "the quota is used up")
        assert [record.action for record in fresh.audit.records()][-1] == "delete"
        assert intact(fresh)
        register(fresh, 1)

    try:
        in_a_child(work, quota(place, _DISK_BYTES, files))
    finally:
        shutil.rmtree(place)


def test_a_cache_that_does_not_fit_takes_no_room(tmp_path: Path) -> None:
    def work() -> None:
        registry, _, filler = _full(tmp_path)
        with filler.open("r+b") as file:
            file.truncate(filler.stat().st_size - (1 << 14))
        free = _free_bytes(tmp_path)
        registry.storage.put_best_effort("audit/cache", bytes(1 << 20))
        assert _free_bytes(tmp_path) == free
        assert not list((tmp_path / "registry").rglob("*.partial"))

    in_a_child(work, small_disk(tmp_path, _DISK_BYTES))


def test_a_disk_that_takes_no_more_files_is_freed_by_deleting(tmp_path: Path) -> None:
    def work() -> None:
        registry = ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), actor="tester")
        ids = [register(registry, value) for value in range(3)]
        fill_with_files(tmp_path)
        before = _files(registry)
        fresh = ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), actor="tester")
        for deed in (
            lambda: register(fresh, 5),
            lambda: fresh.update_model_status(ids[0], "staged"),
            lambda: Aliases(fresh).set("m", "champion", ids[0]),
        ):
            with pytest.raises(StorageFailed, match="No space left on device"):
                deed()
        assert _files(registry) == before
        delete_model(ModelRegistry(tmp_path / "registry", actor="tester"), ids[0], "no room for files")
        assert [model.model_id for model in fresh.list_models()] == ids[1:]
        assert intact(fresh)
        fill_with_files(tmp_path)
        assert cleanup(ModelRegistry(tmp_path / "registry", actor="tester"), 1, dry_run=False)[0] == [ids[1]]
        assert intact(fresh)

    in_a_child(work, small_disk(tmp_path, _DISK_BYTES, files=120))
