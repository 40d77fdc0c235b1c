"""The registry in a directory, where processes work at once."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from model_store.decisions.log_store import open_log
from model_store.errors import StorageFailed
from model_store.storage.directory import DirectoryStorage

_Put = Callable[[str, bytes], bool]
_PLACES: dict[str, Callable[[Path], _Put]] = {
    "registry": lambda root: DirectoryStorage(root).put_if_absent,
    "log of decisions": lambda root: open_log(str(root)).put_if_absent,
}


def test_a_second_writer_waits_for_the_staging_directory_of_the_first(tmp_path: Path) -> None:
    first, second = DirectoryStorage(tmp_path), DirectoryStorage(tmp_path)
    with first.staged("m") as filled:
        assert filled is not None
        (filled / "artifact").write_bytes(b"first")
        assert first.publish(filled, "versions/m")
        with second.staged("m") as other:
            assert other is None
    with second.staged("m") as other:
        assert other is not None
        (other / "artifact").write_bytes(b"second")
        assert not second.publish(other, "versions/m")
    assert (tmp_path / "versions/m/artifact").read_bytes() == b"first"
    assert list((tmp_path / ".staging").iterdir()) == []


@pytest.mark.parametrize("place", _PLACES)
def test_a_new_file_and_its_new_directories_are_synced(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    put = _PLACES[place](tmp_path / "top")
    assert put("day=2026-11-27/part", b"first")
    wanted = [tmp_path, tmp_path / "top", tmp_path / "top/day=2026-11-27"]
    assert {str(each) for each in wanted} <= set(synced)
    assert synced[-1] == str(wanted[-1]), "the directory is synced once the file has its name"
    assert not put("day=2026-11-27/part", b"second")
    assert [each.name for each in wanted[-1].iterdir()] == ["part"]
    assert (wanted[-1] / "part").read_bytes() == b"first"


@pytest.mark.parametrize("place", _PLACES)
def test_a_new_file_that_cannot_be_written_is_one_message(tmp_path: Path, place: str) -> None:
    (tmp_path / "day=2026-11-27").write_text("in the way")
    with pytest.raises(StorageFailed, match="day=2026-11-27"):
        _PLACES[place](tmp_path)("day=2026-11-27/part", b"first")
