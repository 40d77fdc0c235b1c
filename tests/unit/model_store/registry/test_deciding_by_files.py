"""What decides about versions reads their own files: a wrong index, or a byte changed in place, misleads nobody.

The index is forged as somebody would who may write it: well-formed, with the change numbers of the versions' own files.
"""

import json
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from model_store import ModelRegistry
from model_store.errors import ModelStoreError, UnreadableModel, VersionConflict
from model_store.registry import index
from model_store.registry.aliases import Aliases
from model_store.registry.exchange.bundles import export_model, import_model
from model_store.registry.files.layout import version_prefix
from model_store.registry.index import CACHE_KEY
from model_store.registry.promotion import promote_version
from model_store.registry.serving import serves_in
from model_store.registry.upkeep.key_rotation import rotate_keys
from model_store.registry.upkeep.maintenance import cleanup, delete_model, verify_everything
from model_store.storage.base import Storage
from scripts.manage_models import main
from tests.s3_servers import moto_server, s3_client, s3_settings
from tests.unit.model_store.making import register

Place = Callable[[str], ModelRegistry]
_BUCKET = "decided"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto_server(tmp_path_factory.mktemp("moto")) as url:
        s3_client(url).create_bucket(Bucket=_BUCKET)
        yield url


@pytest.fixture(params=["directory", "moto"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Opens a registry by its name, in a directory or in S3; the index is written by the first list."""
    for each in ("_MANY_LOCAL", "_MANY_REMOTE"):
        monkeypatch.setattr(index, each, 0)
    monkeypatch.setattr(index, "_PART_LOCAL", 1000)
    monkeypatch.setattr("model_store.storage.directory._CLOCK_GRAIN_NS", 1)  # a file system with a fine clock
    if request.param == "directory":
        return lambda name: ModelRegistry(tmp_path / name, encrypt=False, actor="tester")
    for name, value in s3_settings(request.getfixturevalue("server")).items():
        monkeypatch.setenv(name, value)
    prefix = f"s3://{_BUCKET}/{tmp_path.name}"
    return lambda name: ModelRegistry(f"{prefix}/{name}", encrypt=False, actor="tester")


def _write(storage: Storage, key: str, content: bytes) -> None:
    storage.compare_and_swap(key, content, storage.read(key))


@contextmanager
def _forged(registry: ModelRegistry) -> Iterator[dict[str, Any]]:
    """The columns of the registry's index, to be changed; the block ends with an index that its checksum fits."""
    ModelRegistry(registry.storage.location, encrypt=False, actor="tester").list_models()
    columns = msgspec.msgpack.decode(registry.storage.read(CACHE_KEY)[4:])
    yield columns
    content = msgspec.msgpack.encode(columns)
    _write(registry.storage, CACHE_KEY, zlib.crc32(content).to_bytes(4, "big") + content)


def _swap_numbers(registry: ModelRegistry) -> None:
    """An index that says of the oldest version that it is the newest."""
    with _forged(registry) as columns:
        columns["number"][0], columns["number"][-1] = columns["number"][-1], columns["number"][0]


def _hide(registry: ModelRegistry, at: int) -> None:
    """An index that says of a version that it belongs to another model."""
    with _forged(registry) as columns:
        columns["names"].append("other")
        columns["name"][at] = len(columns["names"]) - 1


def _opened(registry: ModelRegistry) -> ModelRegistry:
    return ModelRegistry(registry.storage.location, encrypt=False, actor="tester")


def test_names_of_a_version_mean_what_its_own_files_say(place: Place) -> None:
    registry = place("registry")
    ids = [register(registry, number) for number in range(3)]
    _swap_numbers(registry)
    listed = {model.model_id: model.version for model in _opened(registry).list_models()}
    assert listed[ids[0]] == 3, "the forged index is used"
    aliases = Aliases(_opened(registry))
    assert aliases.resolve("m:latest") == aliases.resolve("m:3") == ids[2]
    assert aliases.resolve("models:/m/1") == ids[0]
    _hide(registry, 2)
    assert Aliases(_opened(registry)).resolve("m:latest") == ids[2]


def test_a_name_reads_the_files_of_its_version_alone_where_list_and_claims_agree(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = place("registry")
    ids = [register(registry, number) for number in range(4)]
    registry.list_models()
    opened, read = _opened(registry), list[str]()
    real = opened.get_version
    monkeypatch.setattr(opened, "get_version", lambda model_id: (read.append(model_id), real(model_id))[1])
    assert Aliases(opened).resolve("m:2") == ids[1]
    assert read == [ids[1]]
    delete_model(registry, ids[3], reason="test")
    read.clear()
    assert Aliases(opened).resolve("m:latest") == ids[2]
    assert set(read) == {ids[2], ids[3]}, "the claim of the one that is gone, and the newest"


def test_a_cleanup_keeps_the_newest_by_their_own_files(place: Place) -> None:
    registry = place("registry")
    ids = [register(registry, number) for number in range(3)]
    _swap_numbers(registry)
    assert cleanup(_opened(registry), 1, dry_run=False) == (ids[:2], {})
    assert [model.model_id for model in _opened(registry).own_files().models] == ids[2:]


def test_what_serves_or_served_stays_whatever_the_index_says(place: Place) -> None:
    registry = place("registry")
    ids = [register(registry, number) for number in range(3)]
    registry.record_deployment(ids[0], environment="staging", deployment_id="d1")
    with _forged(registry) as columns:
        columns["states"] = [[status, keys, {}, []] for status, keys, _, _ in columns["states"]]
    _, kept = cleanup(_opened(registry), 1, dry_run=True)
    assert kept == {ids[0]: "is deployed in staging"}
    with pytest.raises(ModelStoreError, match="is deployed in staging"):
        delete_model(_opened(registry), ids[0])
    assert list(serves_in(_opened(registry), ids[0])) == ["staging"]
    with _forged(registry) as columns:
        columns["states"] = [
            ["trained", keys, {"staging": "2999-01-01T00:00:00Z"}, []] for _, keys, _, _ in columns["states"]
        ]
    assert list(serves_in(_opened(registry), ids[0])) == ["staging"]
    assert not serves_in(_opened(registry), ids[1])


@pytest.mark.parametrize("file", ["manifest.json", "state.json"])
def test_damage_is_told_by_every_file_and_not_by_the_index(
    place: Place, file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = place("registry")
    ids = [register(registry, number) for number in range(3)]
    key = f"{version_prefix(ids[2])}/{file}"
    registry.list_models()
    _write(registry.storage, key, registry.storage.read(key).replace(b'"', b"'", 1))
    # An index from before, which knows the version as intact by the new change number.
    marks = {model_id: mark for model_id, mark, _ in registry.storage.versions(None)}
    with _forged_by_hand(registry, marks):
        assert len(_opened(registry).list_models()) == 3, "the forged index is used"
        assert list(_opened(registry).damaged_models("m")) == [ids[2]]
        monkeypatch.setenv("MODEL_REGISTRY_URL", registry.storage.location)
        capsys.readouterr()
        assert main(["list", "--damaged", "--json"]) == 0
        assert [row["model_id"] for row in json.loads(capsys.readouterr().out)] == [ids[2]]
        with pytest.raises(UnreadableModel, match=f"m:latest may be {ids[2]}, which is damaged"):
            Aliases(_opened(registry)).resolve("m:latest")
        assert Aliases(_opened(registry)).resolve("m:2") == ids[1]
        assert cleanup(_opened(registry), 1, dry_run=True) == ([ids[0]], {})
        damaged = {each.subject for each in verify_everything(_opened(registry)) if not each.intact}
        assert ids[2] in damaged
        with pytest.raises(UnreadableModel, match=ids[2]):
            rotate_keys(_opened(registry), [], [])


@contextmanager
def _forged_by_hand(registry: ModelRegistry, marks: dict[str, int]) -> Iterator[None]:
    """The index of before the damage, with the change numbers of after it; a list does not write it again."""
    columns = msgspec.msgpack.decode(registry.storage.read(CACHE_KEY)[4:])
    columns["mark"] = [marks[model_id] for model_id in columns["model_id"]]
    content = msgspec.msgpack.encode(columns)
    _write(registry.storage, CACHE_KEY, zlib.crc32(content).to_bytes(4, "big") + content)
    yield


def test_a_manifest_that_its_state_contradicts_is_damaged_and_no_longer_numbered(place: Place) -> None:
    registry = place("registry")
    ids = [register(registry, number) for number in range(3)]
    key = f"{version_prefix(ids[2])}/manifest.json"
    content = registry.storage.read(key)
    assert b'"version": 3' in content
    _write(registry.storage, key, content.replace(b'"version": 3', b'"version": 1'))
    opened = _opened(registry)
    assert list(opened.damaged_models()) == [ids[2]]
    with pytest.raises(UnreadableModel, match="may be"):
        Aliases(opened).resolve("m:latest")
    assert Aliases(opened).resolve("m:1") == ids[0]
    with pytest.raises(UnreadableModel, match="to delete it all the same"):
        delete_model(opened, ids[2])
    delete_model(opened, ids[2], "nobody has another copy")
    assert Aliases(opened).resolve("m:latest") == ids[1]


def test_an_old_damaged_version_leaves_the_latest_alone_and_lost_claims_do_not(place: Place) -> None:
    registry = place("registry")
    ids = [register(registry, number) for number in range(3)]
    _write(registry.storage, f"{version_prefix(ids[0])}/manifest.json", b"{")
    assert Aliases(_opened(registry)).resolve("m:latest") == ids[2]
    with pytest.raises(UnreadableModel, match="m:1 may be"):
        Aliases(_opened(registry)).resolve("m:1")
    registry.storage.remove("models/m/.versions")
    with pytest.raises(UnreadableModel, match="m:latest may be"):
        Aliases(_opened(registry)).resolve("m:latest")


def test_an_import_and_a_promotion_take_no_number_that_the_index_hides(place: Place, tmp_path: Path) -> None:
    source, target = place("source"), place("target")
    model_id = source.register_model("theirs", "m", model_type="U", registry_only=True)
    export_model(source, model_id, tmp_path / "a.bundle")
    register(target, "ours")
    target.storage.remove("models/m/.versions")  # only the manifests tell
    for _ in range(2):
        _hide(target, 0)
        with pytest.raises(VersionConflict, match="m:1 is"):
            import_model(_opened(target), tmp_path / "a.bundle")
        with pytest.raises(VersionConflict, match="m:1 is"):
            promote_version(source, _opened(target), model_id)


def test_versions_of_one_number_are_named_by_their_ids_only(place: Place) -> None:
    registry = place("registry")
    ids = [register(registry, number) for number in range(2)]
    prefix = version_prefix(ids[1])
    state = json.loads(registry.storage.read(f"{prefix}/state.json"))
    del state["manifest"]
    _write(registry.storage, f"{prefix}/state.json", json.dumps(state).encode())
    content = registry.storage.read(f"{prefix}/manifest.json")
    _write(registry.storage, f"{prefix}/manifest.json", content.replace(b'"version": 2', b'"version": 1'))
    for name in ("m:1", "m:latest"):
        with pytest.raises(VersionConflict, match="name one by its id"):
            Aliases(_opened(registry)).resolve(name)


@pytest.mark.parametrize("file", ["manifest.json", "state.json"])
def test_a_list_sees_a_byte_that_was_changed_in_place(
    tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_MANY_LOCAL", 0)
    monkeypatch.setattr(index, "_PART_LOCAL", 1000)
    monkeypatch.setattr("model_store.storage.directory._CLOCK_GRAIN_NS", 1)
    registry = ModelRegistry(tmp_path / "registry", encrypt=False)
    ids = [register(registry, number) for number in range(2)]
    assert len(registry.list_models()) == len(_opened(registry).list_models()) == 2
    path = registry.manifest_path(ids[1]).with_name(file)
    times = path.stat(), path.parent.stat()
    with path.open("r+b") as damaged:
        damaged.write(b"x")
    # Whoever sets the times back leaves the time of that.
    os.utime(path, ns=(times[0].st_atime_ns, times[0].st_mtime_ns))
    assert path.stat().st_mtime_ns == times[0].st_mtime_ns
    assert path.parent.stat().st_mtime_ns == times[1].st_mtime_ns
    for reader in (registry, _opened(registry)):
        assert [model.model_id for model in reader.list_models()] == [ids[0]]
        assert list(reader.listed_damage()) == [ids[1]]
