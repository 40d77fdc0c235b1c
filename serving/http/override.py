"""Looks whether an override gives the decisions: within seconds one begins, ends, or is ended by its time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from conventions.regular_files import read_text
from model_store.decisions.override import Override
from model_store.errors import InvalidInput, ModelNotFound, ModelStoreError, StorageForbidden
from serving.observability.logs import service_log

_LOOK_SECONDS = 1.0
_LOOK_SECONDS_REMOTE = 5.0
_MOST_BYTES = 1 << 16
Read = Callable[[], bytes]


@contextmanager
def watched_override(location: str, take: Callable[[Override | None], None]) -> Iterator[None]:
    """Looks at the override's file before the service is ready, and in a thread from then on.

    A file that cannot be read changes nothing: an override that is known ends at its time all the same.

    Args:
        location: path of the file, or `s3://bucket/key`; nothing is watched where it is empty.
        take: gets the override, or None for none, where it is another one than before.
    """
    if not location:
        yield
        return
    watch = _Watch(location, take)
    watch.look()
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(watch.every_seconds):
            try:
                watch.look()
            except Exception:
                # A thread that ends would leave the override of now until its time.
                service_log.exception("the override was not looked at; it stays what it was")

    threading.Thread(target=run, name="override", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


class _Watch:
    """What is known of one override's file."""

    def __init__(self, location: str, take: Callable[[Override | None], None]) -> None:
        self._location, self._take = location, take
        remote = location.startswith("s3://")
        self.every_seconds = _LOOK_SECONDS_REMOTE if remote else _LOOK_SECONDS
        self._read = _object_reader(location) if remote else partial(_read_file, Path(location))
        self._known: Override | None = None
        self._failed = ""

    def look(self) -> None:
        """Reads the file once."""
        try:
            found = Override.from_json(self._read())
        except (FileNotFoundError, ModelNotFound, StorageForbidden):
            # Without the right to list the bucket, S3 forbids to read what is not there.
            found = None
        except (OSError, ValueError, InvalidInput, ModelStoreError) as error:
            if str(error) != self._failed:
                self._failed = str(error)
                fields = {"location": self._location, "error": self._failed}
                service_log.error("the override cannot be read; it stays what it was", extra={"fields": fields})
            return
        self._failed = ""
        if found != self._known:
            self._known = found
            self._take(found)
            told = {"override": found.to_dict() if found else {}}
            service_log.warning(
                "another override gives the decisions" if found else "no override any more", extra={"fields": told}
            )


def _read_file(path: Path) -> bytes:
    return read_text(path, most_bytes=_MOST_BYTES).encode()


def _object_reader(location: str) -> Read:
    from model_store.storage.s3 import S3Storage

    parts = urlsplit(location)
    directory, _, name = parts.path.strip("/").rpartition("/")
    storage = S3Storage(parts.netloc, directory)
    return lambda: storage.read(name)
