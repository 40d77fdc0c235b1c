"""What a registry needs of the storage of its files."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    """What a registry needs of the storage of its files; keys are paths such as `models/a/b/manifest.json`."""

    @property
    def location(self) -> str:
        """The location of the storage, for people."""

    def path(self, key: str) -> Path:
        """An object as a file of this machine; fetched where it lies elsewhere."""

    def exists(self, key: str) -> bool:
        """Whether there is an object at the key, or anything below it."""

    def names(self, key: str) -> list[str]:
        """Names of what has something below it, right below a key, sorted."""

    def changes(self, key: str) -> list[tuple[str, int, bool]]:
        """Each such name with a number that is another one after a change, and whether it can be relied on already."""

    def count(self, key: str) -> int:
        """How many objects lie right below a key."""

    def read(self, key: str) -> bytes:
        """An object's content; ModelNotFound when it does not exist."""

    def put_if_absent(self, key: str, content: bytes) -> bool:
        """Writes an object that is not there yet; false when it is."""

    def compare_and_swap(self, key: str, content: bytes, expected: bytes) -> None:
        """Replaces the content `expected`; VersionConflict when it is another one by now."""

    def replace_file(self, key: str, source: Path) -> None:
        """Puts a file in the place of an object, whole."""

    def put_best_effort(self, key: str, content: bytes) -> None:
        """Writes a cache that can be rebuilt; a failure is ignored."""

    def keys(self, prefix: str) -> list[str]:
        """Keys of all objects below a prefix, sorted."""

    def remove(self, key: str) -> None:
        """Removes everything below a key; ModelNotFound when there is nothing."""

    def staged(self, name: str) -> AbstractContextManager[Path | None]:
        """A fresh directory of this machine to fill; None when another is filling one of this name."""

    def publish(self, staging: Path, key: str) -> bool:
        """Makes the filled directory's files the objects below a key; false when there are some already."""
