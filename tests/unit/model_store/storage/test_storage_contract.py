"""What every storage of a registry keeps to: a directory, and S3 on two servers of different make."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from multiprocessing.pool import Pool
from pathlib import Path

import pytest

from conventions.artifact_files import ARTIFACT_FILE, MANIFEST_FILE, STATE_FILE
from model_store.errors import ModelNotFound, StorageFailed, VersionConflict
from model_store.registry.files.layout import storage_at
from model_store.storage.base import Storage
from tests.unit.model_store.stateful.places import PLACES, Place, place

_ROUNDS = 25
_WAIT_SECONDS = 20


@pytest.fixture(scope="module", params=PLACES)
def here(request: pytest.FixtureRequest) -> Iterator[Place]:
    with place(request.param) as made, pytest.MonkeyPatch.context() as patched:
        for name, value in made.environment.items():
            patched.setenv(name, value)
        yield made


@pytest.fixture
def location(here: Place) -> str:
    return here.new_location()


@pytest.fixture
def storage(location: str) -> Storage:
    return storage_at(location)


def _fill(storage: Storage, key: str, files: dict[str, bytes]) -> bool:
    with storage.staged(key.split("/")[-1]) as staging:
        assert staging is not None
        for name, content in files.items():
            (staging / name).write_bytes(content)
        return storage.publish(staging, key)


def _version(text: bytes) -> dict[str, bytes]:
    return {MANIFEST_FILE: b"manifest " + text, ARTIFACT_FILE: b"artifact " + text, STATE_FILE: b"state " + text}


def test_a_new_object_is_written_once(storage: Storage) -> None:
    assert storage.put_if_absent("a/b.json", b"first")
    assert not storage.put_if_absent("a/b.json", b"second")
    assert storage.read("a/b.json") == b"first"
    assert storage.exists("a/b.json")
    assert storage.exists("a")
    assert not storage.exists("a/b")


def test_a_missing_object_is_not_found(storage: Storage) -> None:
    assert not storage.exists("a")
    assert storage.keys("a") == storage.names("a") == storage.versions("a") == storage.versions(None) == []
    assert storage.count("a") == 0
    assert not storage.path("a/b").exists()
    with pytest.raises(ModelNotFound):
        storage.read("a/b")
    with pytest.raises(ModelNotFound):
        storage.remove("a")
    with pytest.raises(ModelNotFound):
        storage.compare_and_swap("a/b", b"new", b"old")
    assert not storage.exists("a/b")


def test_a_write_with_a_stale_etag_is_refused(storage: Storage) -> None:
    storage.put_if_absent("a", b"1")
    storage.compare_and_swap("a", b"2", b"1")
    with pytest.raises(VersionConflict, match="a: somebody else changed it first"):
        storage.compare_and_swap("a", b"3", b"1")
    assert storage.read("a") == b"2"
    # Back to what was seen before: content decides, not how often it changed.
    storage.compare_and_swap("a", b"1", b"2")
    storage.compare_and_swap("a", b"3", b"1")
    assert storage.read("a") == b"3"


def test_a_version_is_published_once_and_the_second_changes_nothing(storage: Storage) -> None:
    assert _fill(storage, "models/m/v", _version(b"1"))
    assert not _fill(storage, "models/m/v", _version(b"2"))
    assert {name: storage.read(f"models/m/v/{name}") for name in _version(b"1")} == _version(b"1")
    assert storage.path(f"models/m/v/{ARTIFACT_FILE}").read_bytes() == b"artifact 1"


def test_a_staged_version_that_is_not_published_leaves_nothing(storage: Storage) -> None:
    with storage.staged("v") as staging:
        assert staging is not None
        (staging / ARTIFACT_FILE).write_bytes(b"half")
    with pytest.raises(KeyError), storage.staged("v") as staging:
        assert staging is not None
        (staging / ARTIFACT_FILE).write_bytes(b"half")
        raise KeyError
    assert not staging.exists()
    assert storage.keys("models") == []
    assert _fill(storage, "models/m/v", _version(b"1"))


def test_keys_names_and_counts_are_those_of_what_was_written(storage: Storage) -> None:
    for key in ("x/b/2", "x/b/1", "x/a/1", "x/c", "xy/1", "x/.hidden/1", "x/b/.2.partial"):
        storage.put_if_absent(key, b"content")
    assert storage.keys("x") == ["x/a/1", "x/b/1", "x/b/2", "x/c"]
    assert storage.names("x") == ["a", "b"]
    assert storage.count("x/a") == 1
    assert storage.count("x/.hidden") == 1


def test_a_listing_of_more_than_one_page_is_whole(storage: Storage, request: pytest.FixtureRequest) -> None:
    # A page of S3 has a thousand keys; moto needs a quarter of a minute for so many.
    many = 1100 if "versitygw" in request.node.name else 20
    for number in range(many):
        storage.put_if_absent(f"models/x/{number:05}/{MANIFEST_FILE}", b"1")
    assert storage.names("models/x") == [f"{number:05}" for number in range(many)]
    assert len(storage.versions("x")) == len(storage.keys("models/x")) == many
    storage.remove("models/x")
    assert storage.keys("models/x") == []


def test_a_change_raises_the_version_number_of_its_object_only(storage: Storage) -> None:
    for name in ("v", "w"):
        _fill(storage, f"models/m/{name}", _version(b"1"))

    def numbers() -> dict[str, int]:
        return {name: number for name, number, _ in storage.versions("m")}

    before = numbers()
    assert set(before) == {"v", "w"}
    storage.compare_and_swap(f"models/m/v/{STATE_FILE}", b"state 2", b"state 1")
    assert numbers()["v"] != before["v"]
    assert numbers()["w"] == before["w"]


def test_a_removed_object_is_gone_and_its_neighbour_stays(storage: Storage) -> None:
    _fill(storage, "models/m/v", _version(b"1"))
    _fill(storage, "models/m/v2", _version(b"2"))
    storage.remove("models/m/v")
    assert not storage.exists("models/m/v")
    assert storage.names("models/m") == ["v2"]
    assert storage.read(f"models/m/v2/{STATE_FILE}") == b"state 2"
    assert _fill(storage, "models/m/v", _version(b"3"))


def test_a_file_replaces_an_object_whole(storage: Storage, tmp_path: Path) -> None:
    storage.put_if_absent("a/artifact", b"old")
    new = tmp_path / "new"
    new.write_bytes(b"n" * (12 << 20))
    storage.replace_file("a/artifact", new)
    assert storage.path("a/artifact").read_bytes() == new.read_bytes()
    storage.replace_file("a/artifact", storage.path("a/artifact"))
    assert storage.read("a/artifact") == new.read_bytes()
    assert storage.keys("a") == ["a/artifact"]


def test_a_failed_cache_write_is_ignored(storage: Storage) -> None:
    storage.put_if_absent("audit/1", b"1")
    storage.put_best_effort("audit/head", b"1")
    storage.put_best_effort("audit/head", b"2")
    assert storage.read("audit/head") == b"2"


def test_a_storage_that_cannot_be_written_says_where(here: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    nowhere = "s3://no-such-bucket/registry" if here.url else str(tmp_path / "file")
    storage = storage_at(nowhere)
    with pytest.raises(StorageFailed, match="no-such-bucket" if here.url else "file"):
        storage.put_if_absent("a", b"1")
    storage.put_best_effort("a", b"1")


@pytest.fixture(scope="module")
def two_processes() -> Iterator[Pool]:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        yield pool


def _contend(location: str, environment: dict[str, str], deed: str, own: str) -> list[str]:
    """Does one deed in every round as soon as the other process has come to it; returns how each ended."""
    os.environ.update(environment)
    storage = storage_at(location)
    ended = []
    for number in range(_ROUNDS):
        key = f"{deed}/{number}"
        storage.put_if_absent(f"ready/{key}/{own}", b"")
        deadline = time.monotonic() + _WAIT_SECONDS
        while storage.count(f"ready/{key}") < 2:
            assert time.monotonic() < deadline, "the other process does not come"
        try:
            ended.append(_do(storage, deed, key, own.encode()))
        except (VersionConflict, ModelNotFound) as error:
            ended.append(type(error).__name__)
    return ended


def _do(storage: Storage, deed: str, key: str, own: bytes) -> str:
    if deed == "put":
        return "won" if storage.put_if_absent(key, own) else "lost"
    if deed == "publish":
        with storage.staged(key.replace("/", "-")) as staging:
            if staging is None:
                return "lost"
            for name, content in _version(own).items():
                (staging / name).write_bytes(content)
            return "won" if storage.publish(staging, key) else "lost"
    if deed == "swap":
        storage.compare_and_swap(key, own, b"before")
    else:
        storage.remove(key)
    return "won"


_LOSERS = {"put": "lost", "publish": "lost", "swap": "VersionConflict"}


@pytest.mark.parametrize("deed", sorted(_LOSERS))
def test_exactly_one_of_two_processes_wins_and_the_other_gets_an_error(
    here: Place, location: str, two_processes: Pool, deed: str
) -> None:
    storage = storage_at(location)
    if deed == "swap":
        for number in range(_ROUNDS):
            storage.put_if_absent(f"swap/{number}", b"before")
    ended = two_processes.starmap(_contend, [(location, here.environment, deed, own) for own in "ab"])
    for number, both in enumerate(zip(*ended, strict=True)):
        assert sorted(both) == sorted(("won", _LOSERS[deed])), f"round {number}: {both}"
        winner = b"ab"[both.index("won") :][:1]
        if deed == "publish":
            found = {name: storage.read(f"publish/{number}/{name}") for name in _version(b"")}
            assert found == _version(winner), "the files of a version are of one writer"
        else:
            assert storage.read(f"{deed}/{number}") == winner


def test_two_processes_that_remove_one_version_leave_nothing(here: Place, location: str, two_processes: Pool) -> None:
    storage = storage_at(location)
    for number in range(_ROUNDS):
        _fill(storage, f"remove/{number}", _version(b"1"))
    ended = two_processes.starmap(_contend, [(location, here.environment, "remove", own) for own in "ab"])
    for both in zip(*ended, strict=True):
        assert "won" in both
        # Both may remove the objects of one version in S3: nothing there makes one of them the first.
        assert set(both) <= {"won", "ModelNotFound"}
        assert here.url or sorted(both) == ["ModelNotFound", "won"]
    assert storage.keys("remove") == []
