"""The index of a registry is a cache: whatever happens to it, a list says what the files say."""

import gc
import json
import random
import shutil
import time
import weakref
import zlib
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from model_store import ModelRegistry
from model_store.registry import index
from model_store.registry.files import index_file
from model_store.registry.index import CACHE_KEY
from model_store.registry.measuring.statistics import statistics
from model_store.registry.upkeep.maintenance import delete_model

_VERSIONS = 120
"""More than the changed versions that are read again before an index is written."""


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    location = tmp_path_factory.mktemp("indexed") / "registry"
    registry = ModelRegistry(location, encrypt=False)
    _register_many(registry, "m")
    assert len(registry.list_models()) == _VERSIONS
    return location


def _register_many(registry: ModelRegistry, name: str) -> list[str]:
    """Registers one version and copies it: that takes a tenth of the time of registering each."""
    metrics = {"auc": 0.05}
    first = registry.register_model(1, name, model_type="T", registry_only=True, performance_metrics=metrics)
    source = registry.manifest_path(first).parent
    manifest = json.loads(registry.manifest_path(first).read_text())
    state = json.loads((source / "state.json").read_text())
    del state["manifest"]  # the digest of the first one's
    ids = [first, *(f"{name}_T_20200101_{number:06}" for number in range(1, _VERSIONS))]
    for number, model_id in enumerate(ids[1:], 1):
        copied = source.with_name(model_id)
        copied.mkdir()
        shutil.copy(source / "artifact", copied / "artifact")
        (copied / "state.json").write_text(json.dumps(state))
        own = {"model_id": model_id, "version": 1 + number, "created_at": "2020-01-01T00:00:00Z"}
        own |= {"performance_metrics": {"auc": 0.05 + number / 1000}}
        (copied / "manifest.json").write_text(json.dumps({**manifest, **own}))
    time.sleep(0.2)
    return ids


def _listed(location: Path) -> list[dict[str, Any]]:
    return [model.to_dict() for model in ModelRegistry(location, encrypt=False).list_models()]


def test_damage_that_leaves_an_index_readable_changes_no_list(location: Path) -> None:
    expected, index = _listed(location), location / CACHE_KEY
    content, chosen = index.read_bytes(), random.Random(20)
    for position in [0, 4, *(chosen.randrange(len(content)) for _ in range(30))]:
        changed = bytearray(content)
        changed[position] ^= 1 << chosen.randrange(8)
        index.write_bytes(changed)
        assert _listed(location) == expected
    assert b"\xa7trained" in content
    index.write_bytes(content.replace(b"\xa7trained", b"\xa6staged"))
    assert _listed(location) == expected


@pytest.mark.parametrize("block", [b"", b"rubbish", zstandard.compress(b"\x90"), zstandard.compress(b"\x91\x91\xa1x")])
def test_a_block_that_no_program_wrote_is_read_from_the_versions(location: Path, block: bytes) -> None:
    expected, index = _listed(location), location / CACHE_KEY
    columns = msgspec.msgpack.decode(index.read_bytes()[4:])
    content = msgspec.msgpack.encode({**columns, "blocks": [block] * len(columns["blocks"])})
    index.write_bytes(zlib.crc32(content).to_bytes(4, "big") + content)
    assert _listed(location) == expected
    assert msgspec.msgpack.decode(index.read_bytes()[4:])["blocks"][0] == block, "the index was used"
    index.unlink()


def test_blocks_of_an_index_are_kept_joined_and_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_file, "ROWS", 16)
    monkeypatch.setattr(index_file, "_FEWEST_ROWS", 8)
    monkeypatch.setattr(index, "_MANY_LOCAL", 0)
    monkeypatch.setattr(index, "_PART_LOCAL", 1000)
    registry = ModelRegistry(tmp_path / "registry", encrypt=False)
    ids = _register_many(registry, "m")
    chosen = random.Random(20)
    for round_number in range(4):
        listed = _listed(tmp_path / "registry")
        assert sorted(listed, key=itemgetter("model_id")) == [
            registry.get_metadata(each).to_dict() for each in sorted(ids)
        ]
        for model_id in chosen.sample(ids, 5 * round_number):
            delete_model(registry, model_id)
            ids.remove(model_id)
        ids.append(registry.register_model(round_number, "m", model_type="T", registry_only=True))
        time.sleep(0.2)


def test_an_index_leaves_no_memory_behind(location: Path) -> None:
    registry = ModelRegistry(location, encrypt=False)
    kept = weakref.ref(registry.list_models()[0])
    del registry
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("damage", [b"", b"\x00", b"{}"])
def test_a_lost_index_is_written_again(location: Path, damage: bytes) -> None:
    index = location / CACHE_KEY
    index.write_bytes(damage)
    _listed(location)
    assert len(index.read_bytes()) > _VERSIONS * 40


def test_an_index_of_another_registry_is_not_believed(location: Path, tmp_path: Path) -> None:
    other = ModelRegistry(tmp_path / "other", encrypt=False)
    model_id = other.register_model(7, "other", model_type="T", registry_only=True)
    (tmp_path / "other" / CACHE_KEY).write_bytes((location / CACHE_KEY).read_bytes())
    assert [model["model_id"] for model in _listed(tmp_path / "other")] == [model_id]


def test_two_index_writers_keep_each_others_entries(tmp_path: Path) -> None:
    first, second = (ModelRegistry(tmp_path / "registry", encrypt=False) for _ in range(2))
    _register_many(first, "a")
    # Both have seen that there is no index; the second one to write finds the other's.
    assert second.list_models(name="b") == first.list_models(name="b") == []
    first.list_models(name="a")
    _register_many(second, "b")
    second.list_models(name="b")
    index = (tmp_path / "registry" / CACHE_KEY).read_bytes()
    for model in [*first.list_models(name="a"), *second.list_models(name="b")]:
        assert model.model_id.encode() in index


def test_a_deleted_version_leaves_the_list_at_once_and_the_index_with_its_next_write(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry", encrypt=False)
    ids = _register_many(registry, "m")
    registry.list_models()
    reader = ModelRegistry(tmp_path / "registry", encrypt=False)
    assert len(reader.list_models()) == _VERSIONS
    delete_model(registry, ids[3])
    assert ids[3] not in {model.model_id for model in reader.list_models()}
    _register_many(registry, "more")
    reader.list_models()
    assert ids[3].encode() not in (tmp_path / "registry" / CACHE_KEY).read_bytes()


def test_statistics_agree_with_the_list(location: Path) -> None:
    counted = statistics(ModelRegistry(location, encrypt=False))
    assert counted["versions"] == counted["models"][0]["versions"] == _VERSIONS
    assert counted["newest"] == _listed(location)[-1]["model_id"]
    assert json.dumps(counted)
