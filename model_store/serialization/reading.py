"""Why a file cannot be read, as an error of this package."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_store.errors import FileMissing, InvalidInput, StorageFailed


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raises this package's errors for those of the operating system.

    Raises:
        FileMissing: there is no such file.
        InvalidInput: it is a directory.
        StorageFailed: it cannot be read.
    """
    try:
        yield
    except FileNotFoundError:
        raise FileMissing(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise InvalidInput(f"{path}: a directory, not a file") from None
    except OSError as error:
        raise StorageFailed(f"{path}: cannot be read ({error.strerror or error})") from None
