"""Writes a file at a key whatever is in its place: a directory, a link, a file where a directory belongs."""

from contextlib import suppress
from pathlib import Path

from model_store.errors import ModelNotFound
from model_store.storage.atomic_file import temporary_directory, write_blocks
from model_store.storage.base import Storage


def replace(target: Storage, key: str, source: Path) -> None:
    """Writes a file at a key, whatever is in its place now.

    Raises:
        StorageFailed: it cannot be written.
    """
    clear(target, key)
    target.replace_file(key, source)


def replace_content(target: Storage, key: str, content: bytes) -> None:
    """As `replace`, with a file's content.

    Raises:
        StorageFailed: it cannot be written.
    """
    with temporary_directory() as directory:
        write_blocks(directory / "content", [content])
        replace(target, key, directory / "content")


def clear(target: Storage, key: str, *, for_directory: bool = False) -> None:
    """Moves a directory, a pipe or a link out of a file's place, and a file or a link out of a directory's."""
    if target.location.startswith("s3://"):
        return
    root, parts = target.path(""), Path(key).parts
    for length in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:length])
        wants_directory = for_directory or length < len(parts)
        fits = place.is_dir() if wants_directory else place.is_file()
        if place.is_symlink() or (place.exists() and not fits):
            with suppress(ModelNotFound):
                target.remove("/".join(parts[:length]))
