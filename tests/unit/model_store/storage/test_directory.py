"""The registry in a directory, where processes work at once."""

from pathlib import Path

from model_store.storage.directory import DirectoryStorage


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
