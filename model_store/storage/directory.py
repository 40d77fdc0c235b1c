"""A registry's files in a directory, with the three atomic operations: put-if-absent, compare-and-swap, publish.

Objects are written once (put-if-absent), or replaced only by a writer that saw the present content
(compare-and-swap); a crash at any point leaves the old content or the new.
"""

import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from conventions.artifact_files import MANIFEST_FILE, STATE_FILE
from conventions.regular_files import open_regular
from model_store.errors import ModelNotFound, StorageFailed, UnreadableModel, VersionConflict
from model_store.storage.atomic_file import atomic_write, create_file, sync_directory
from model_store.storage.base import require_size
from model_store.storage.claims import claimed
from model_store.storage.sharing import file_in_the_way, make_directory, share, share_tree

_STAGING = ".staging"
_BLOCK_BYTES = 1 << 20
_OF_ONE_FILE = frozenset(
    (errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EIO, errno.EINVAL, errno.ENXIO)
)
"""Errors that are those of a file, while the rest of the registry can be read."""
_CLOCK_GRAIN_NS = 100_000_000
_MANIFEST, _STATE = f"/{MANIFEST_FILE}", f"/{STATE_FILE}"


class DirectoryStorage:
    """Files under one directory.

    Args:
        root: the directory; made on the first write.
    """

    parallel_reads = 1
    """Local files are read fastest one after another."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def location(self) -> str:
        """The location of the storage, for people."""
        return str(self._root)

    def path(self, key: str) -> Path:
        """The file of a key such as `models/a/b/manifest.json`."""
        return self._root / key

    def names(self, key: str) -> list[str]:
        """Names of the directories right below a key, sorted."""
        try:
            with os.scandir(self.path(key)) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            if self._root.is_dir():
                return []  # `misplaced` names it
            raise StorageFailed(f"{self._root}: not a directory that a registry can be kept in") from None
        except OSError as error:
            raise StorageFailed(f"{self.path(key)}: cannot be read ({error.strerror})") from None

    def exists(self, key: str) -> bool:
        """Whether there is a file or directory at the key."""
        return self.path(key).exists()

    def replace_file(self, key: str, source: Path) -> None:
        """Replaces an object by a file, atomically, unless the file is the object's own.

        Raises:
            StorageFailed: it cannot be written.
        """
        if source != self.path(key):
            with atomic_write(self.path(key)) as target, source.open("rb") as content:
                shutil.copyfileobj(content, target, _BLOCK_BYTES)
        share(self._root, self.path(key))

    def versions(self, name: str | None) -> list[tuple[str, int, bool]]:
        """The versions of a name, or of all: id, a number of the times of change of both files, whether it is final."""
        settled_before = time.time_ns() - _CLOCK_GRAIN_NS
        found = []
        for each in self.names("models") if name is None else [name]:
            top = self.path(f"models/{each}")
            try:
                with os.scandir(top) as entries:
                    ids = [
                        entry.name
                        for entry in entries
                        if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
                    ]
                found += _changes(top, ids, settled_before)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StorageFailed(f"{top}: cannot be read ({error.strerror})") from None
        return found

    def count(self, key: str) -> int:
        """How many objects lie right below a key."""
        try:
            with os.scandir(self.path(key)) as entries:
                return sum(not entry.name.startswith(".") for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            return 0
        except OSError as error:
            raise StorageFailed(f"{self.path(key)}: cannot be read ({error.strerror})") from None

    def read(self, key: str) -> bytes:
        """An object's content.

        Raises:
            ModelNotFound: the file does not exist.
            UnreadableModel: this one file cannot be read, such as a directory, a pipe or a block that the disk lost.
            StorageFailed: it cannot be read.
        """
        try:
            with open_regular(self.path(key)) as file:
                require_size(self.location, key, os.fstat(file.fileno()).st_size)
                return file.read()
        except FileNotFoundError:
            if self.path(key).is_symlink():
                raise UnreadableModel(f"{self.path(key)}: a link that leads nowhere") from None
            raise ModelNotFound(f"{self.path(key)}: there is no such file") from None
        except OSError as error:
            if error.errno in _OF_ONE_FILE and self._root.is_dir():
                problem = file_in_the_way(self._root, self.path(key).parent)
                raise UnreadableModel(problem or f"{self.path(key)}: cannot be read ({error.strerror})") from None
            raise StorageFailed(f"{self.path(key)}: cannot be read ({error.strerror})") from None

    def put_if_absent(self, key: str, content: bytes) -> bool:
        """Writes a new object; false when the key exists, which then stays unchanged.

        Raises:
            StorageFailed: it cannot be written.
        """
        target = self.path(key)
        try:
            make_directory(self._root, target.parent)
        except OSError as error:
            raise StorageFailed(f"{target}: cannot be written ({error.strerror})") from None
        return create_file(target, content, partial(share, self._root))

    def put_best_effort(self, key: str, content: bytes) -> None:
        """Writes a cache that can be rebuilt from the other files."""
        _put_cache(self._root, self.path(key), content)

    def keys(self, prefix: str) -> list[str]:
        """Keys of all objects below a prefix, sorted, without names below it that begin with a dot."""
        top = self.path(prefix)
        found = []
        for directory, below, files in os.walk(top):
            below[:] = [name for name in below if not name.startswith(".")]
            relative = Path(directory).relative_to(self._root)
            found += [str(relative / name) for name in files if not name.startswith(".")]
        return sorted(found)

    def remove(self, key: str) -> None:
        """Removes everything below a key: renames it out of the way in one step, then deletes it.

        Raises:
            ModelNotFound: there is nothing.
            StorageFailed: it cannot be removed.
        """
        target = self.path(key)
        grave = self._root / _STAGING / f"removed-{secrets.token_hex(8)}"
        try:
            make_directory(self._root, grave.parent)
            target.rename(grave)
            sync_directory(target.parent)
        except FileNotFoundError:
            raise ModelNotFound(f"{target}: there is nothing to remove") from None
        except OSError as error:
            raise StorageFailed(f"{target}: cannot be removed ({error.strerror})") from None
        _destroy(grave)

    def compare_and_swap(self, key: str, content: bytes, expected: bytes) -> None:
        """Replaces an object's content.

        Args:
            key: the object.
            content: the new content.
            expected: the content that the new one was made from.

        Raises:
            VersionConflict: the present content differs from `expected`; the object is unchanged.
            ModelNotFound: it is not there.
            StorageFailed: it cannot be written.
        """
        with _locked(self._root, key):
            if _etag(self.read(key)) != _etag(expected):
                raise VersionConflict(f"{self.path(key)}: somebody else changed it first; look at it and try again")
            with atomic_write(self.path(key)) as file:
                file.write(content)
            share(self._root, self.path(key))

    @contextmanager
    def staged(self, name: str) -> Iterator[Path | None]:
        """A new directory to fill; None while another process fills one of this name.

        Removed at the end of the block, unless it was published. What a process that has ended left there is removed.
        """
        place = self._root / _STAGING / name
        staging = place / "filled"
        try:
            make_directory(self._root, place.parent)
        except FileExistsError:
            raise StorageFailed(f"{self._root}: not a directory that a registry can be kept in") from None
        except OSError as error:
            raise StorageFailed(f"{self._root}: the registry cannot be written ({error.strerror})") from None
        with ExitStack() as held:
            try:
                if not held.enter_context(claimed(place)):
                    yield None
                    return
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
                staging.mkdir()
            except OSError as error:
                raise StorageFailed(f"{self._root}: the registry cannot be written ({error.strerror})") from None
            try:
                yield staging
            finally:
                shutil.rmtree(place, ignore_errors=True)

    def announce(self, staging: Path, key: str) -> bool:
        """Whether a key is free; the staging directory tells what was begun."""
        return staging.is_dir() and not self.path(key).exists()

    def publish(self, staging: Path, key: str) -> bool:
        """Publishes a filled directory under a key, atomically; false when the key exists.

        Raises:
            StorageFailed: the directory cannot be moved, or the disk does not confirm the move.
        """
        target = self.path(key)
        try:
            make_directory(self._root, target.parent)
            share_tree(self._root, staging)
            for each in (staging, *(path for path in staging.rglob("*") if path.is_dir())):
                sync_directory(each)
        except OSError as error:
            raise StorageFailed(f"{target}: cannot be written ({error.strerror})") from None
        try:
            staging.rename(target)
        except OSError as error:
            if target.exists():
                return False
            raise StorageFailed(f"{target}: cannot be written ({error.strerror})") from None
        try:
            sync_directory(target.parent)
        except OSError as error:
            raise StorageFailed(f"{target}: is there, but may not survive a power failure ({error.strerror})") from None
        return True


@contextmanager
def _locked(root: Path, key: str) -> Iterator[None]:
    import filelock

    locks = root / ".locks"
    lock = filelock.FileLock(locks / hashlib.sha256(key.encode()).hexdigest()[:2])
    try:
        make_directory(root, locks)
        lock.acquire()
        share(root, Path(lock.lock_file))
    except IsADirectoryError:
        raise StorageFailed(f"{lock.lock_file}: a directory where the registry needs a file; remove it") from None
    except OSError as error:
        raise StorageFailed(f"{root}: the registry cannot be written ({error.strerror})") from None
    try:
        yield
    finally:
        lock.release()


def _put_cache(root: Path, target: Path, content: bytes) -> None:
    staging = target.with_name(f".{target.name}.{secrets.token_hex(8)}.partial")
    try:
        staging.write_bytes(content)
        share(root, staging)
        staging.replace(target)
    except OSError:
        # What a full disk took of it would stay there.
        with suppress(OSError):
            staging.unlink(missing_ok=True)


def _destroy(path: Path) -> None:
    """Removes a file, a link or a directory with all that it holds, as far as the system allows."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _changes(directory: Path, names: list[str], settled_before: int) -> list[tuple[str, int, bool]]:
    """By version a number made of the times when its manifest and its state changed last, and whether it is final.

    The system sets these times at every write, and no program can set them back. A version that lacks one of the files
    is read each time. A path from the open directory saves the walk to it, which is half of the time.
    """
    descriptor, stat = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), os.stat
    found: list[tuple[str, int, bool]] = []
    add = found.append
    try:
        for name in names:
            try:
                manifest = stat(name + _MANIFEST, dir_fd=descriptor).st_ctime_ns
                state = stat(name + _STATE, dir_fd=descriptor).st_ctime_ns
            except OSError:
                add((name, 0, False))
            else:
                add((name, manifest << 1 ^ state, manifest < settled_before and state < settled_before))
    finally:
        os.close(descriptor)
    return found


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
