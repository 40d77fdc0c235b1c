"""A directory from outside: only plain files below it, at most so large, and no link is followed."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from model_store.errors import FileMissing, InvalidInput, SizeLimit, StorageFailed

_MOST_ENTRIES = 20_000
_MOST_PATH = 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY


def require_inside(path: str, name: str) -> tuple[str, ...]:
    """The parts of a relative path that stays below its directory.

    Args:
        path: with `/` between its parts, from a file from outside.
        name: of that file, for messages.

    Raises:
        InvalidInput: it is absolute, empty, too long, or goes up (`..`).
    """
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    odd = path.startswith("/") or "\\" in path or not path.isprintable() or ".." in parts
    if odd or not parts or len(path) > _MOST_PATH:
        raise InvalidInput(f"{name} names the file {path[:200]!r}; allowed: a path inside the model's directory")
    return parts


class Folder:
    """Plain files below a directory.

    Args:
        root: the directory; a link there is the caller's own and is followed.

    Raises:
        FileMissing: there is no such directory.
        StorageFailed: it cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            self._descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise FileMissing(f"{root}: there is no such directory") from None
        except OSError as error:
            raise StorageFailed(f"{root}: cannot be read ({error.strerror or error})") from None

    def close(self) -> None:
        """Closes the directory."""
        os.close(self._descriptor)

    def open(self, path: str) -> BinaryIO:
        """Opens a file for reading.

        Raises:
            FileMissing: there is no such file.
            InvalidInput: the path goes out, or leads over a link or to something that is not a plain file.
            StorageFailed: it cannot be read.
        """
        *above, last = require_inside(path, str(self.root))
        directory = os.dup(self._descriptor)
        try:
            for part in above:
                inner = os.open(part, _DIRECTORY, dir_fd=directory)
                os.close(directory)
                directory = inner
            return self._plain_file(os.open(last, _FILE, dir_fd=directory), path)
        except OSError as error:
            raise self._refused(path, error) from None
        finally:
            os.close(directory)

    def read(self, path: str, most_bytes: int) -> bytes:
        """The content of a small file.

        Raises:
            SizeLimit: it has more bytes than allowed.
            FileMissing, InvalidInput, StorageFailed: as `open`.
        """
        with self.open(path) as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise SizeLimit(f"{self.root / path} has more than {most_bytes} bytes")
        return content

    def has(self, path: str) -> bool:
        """Whether something lies at the path, whatever it is."""
        try:
            self.open(path).close()
        except FileMissing:
            return False
        except (InvalidInput, StorageFailed):
            return True
        return True

    def directories_with(self, name: str) -> list[str]:
        """The directories that hold a file of this name, relative to the root."""
        found = [path for path in self.files() if path.rpartition("/")[2] == name]
        return [path[: -len(name)].rstrip("/") for path in found]

    def files(self, below: str = "", depth: int = 6) -> Iterator[str]:
        """The paths of the files below a directory, sorted; none when there is no such directory.

        Args:
            below: the directory; empty for the folder itself.
            depth: how many levels of directories are read.

        Raises:
            SizeLimit: there are more than 20,000 entries.
            InvalidInput: the directory is a link.
        """
        start = self.root.joinpath(*require_inside(below, str(self.root))) if below else self.root
        if start.is_symlink():
            raise InvalidInput(f"{start}: a link; links in a directory from outside are not followed")
        pending, count = [(str(start), depth)], 0
        while pending:
            directory, left = pending.pop(0)
            for entry in self._entries(directory):
                count += 1
                if count > _MOST_ENTRIES:
                    raise SizeLimit(f"{start} holds more than {_MOST_ENTRIES} files; name one model's directory")
                if not entry.is_dir(follow_symlinks=False):
                    yield os.path.relpath(entry.path, self.root)
                elif left > 0:
                    pending.append((entry.path, left - 1))

    def _entries(self, directory: str) -> list["os.DirEntry[str]"]:
        try:
            with os.scandir(directory) as entries:
                found = []
                for entry in entries:
                    found.append(entry)
                    if len(found) > _MOST_ENTRIES:
                        break
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StorageFailed(f"{directory}: cannot be read ({error.strerror or error})") from None
        return sorted(found, key=lambda entry: entry.name)

    def _plain_file(self, descriptor: int, path: str) -> BinaryIO:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise InvalidInput(f"{self.root / path}: a directory, a pipe, a socket or a device, not a file")
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")

    def _refused(self, path: str, error: OSError) -> Exception:
        place = self.root / path
        if error.errno == errno.ENOENT:
            return FileMissing(f"{place}: there is no such file")
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            return InvalidInput(f"{place}: a link, or not a file; links in a directory from outside are not followed")
        if error.errno in (errno.ENXIO, errno.ENAMETOOLONG, errno.EISDIR):
            return InvalidInput(f"{place}: a directory, a pipe, a socket or a device, not a file")
        return StorageFailed(f"{place}: cannot be read ({error.strerror or error})")
