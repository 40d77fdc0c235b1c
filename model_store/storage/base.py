"""The interface of a registry's storage."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from model_store.errors import UnreadableModel

_MOST_BYTES = 64 << 20
_MOST_OF_INDEX = 1 << 30


def require_size(location: str, key: str, size: int) -> None:
    """Raises UnreadableModel for an object that is larger than `read` takes: only the index and artifacts are large."""
    most = _MOST_OF_INDEX if key == ".index" else _MOST_BYTES
    if size > most:
        raise UnreadableModel(f"{location}/{key}: has {size} bytes; a file of this kind has at most {most}")


class Storage(Protocol):
    """The interface of a registry's storage; keys are paths such as `models/a/b/manifest.json`."""

    parallel_reads: int
    """How many objects are read at once where many are: 1 for a local storage."""

    @property
    def location(self) -> str:
        """The location of the storage, for people."""

    def path(self, key: str) -> Path:
        """Returns a local path to an object; remote objects are downloaded. The file may not exist."""

    def exists(self, key: str) -> bool:
        """Whether there is an object at the key, or anything below it."""

    def names(self, key: str) -> list[str]:
        """Sorted names of the prefixes directly below a key."""

    def versions(self, name: str | None) -> list[tuple[str, int, bool]]:
        """The versions of a name, or of all: id, a number that changes with manifest and state, whether it is final."""

    def count(self, key: str) -> int:
        """How many objects lie right below a key."""

    def read(self, key: str) -> bytes:
        """An object's content; ModelNotFound when it does not exist, UnreadableModel when it is larger than any is."""

    def put_if_absent(self, key: str, content: bytes) -> bool:
        """Writes a new object; false when the key exists."""

    def compare_and_swap(self, key: str, content: bytes, expected: bytes) -> None:
        """Replaces the content `expected`; raises VersionConflict when the present content differs."""

    def replace_file(self, key: str, source: Path) -> None:
        """Replaces an object by a file, atomically."""

    def put_best_effort(self, key: str, content: bytes) -> None:
        """Writes a cache that can be rebuilt; a failure is ignored."""

    def keys(self, prefix: str) -> list[str]:
        """Keys of all objects below a prefix, sorted."""

    def remove(self, key: str) -> None:
        """Removes everything below a key; ModelNotFound when there is nothing."""

    def staged(self, name: str) -> AbstractContextManager[Path | None]:
        """A new local directory to fill; None when another process fills one of this name."""

    def announce(self, staging: Path, key: str) -> bool:
        """Claims a key for a filled directory that is about to be published there; false when the key exists.

        Where a process ends after that, the storage still tells that something was begun.
        """

    def publish(self, staging: Path, key: str) -> bool:
        """Publishes the filled directory's files below a key; false when the key has objects already."""
