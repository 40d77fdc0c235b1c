"""The registry in a directory, where processes work at once."""

from pathlib import Path

from model_store.storage.directory import DirectoryStorage


def test_nobody_fills_a_directory_of_a_name_until_the_one_before_has_cleaned_up(tmp_path: Path) -> None:
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
