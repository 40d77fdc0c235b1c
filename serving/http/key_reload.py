"""Reads the file of API keys again when it changes: within seconds a new key works and a revoked one is refused."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import ApiKeysError
from serving.http.auth import ApiKeys
from serving.observability.logs import service_log

_LOOK_SECONDS = 1.0
_Mark = tuple[int, int, int] | None


@contextmanager
def reloaded_keys(path: Path, take: Callable[[ApiKeys], None]) -> Iterator[None]:
    """Looks at the file each second, in a thread; a file that cannot be used changes nothing and is logged once.

    Written in place, replaced by another file, or reached through a link that is replaced: each is a change.

    Args:
        path: of the file.
        take: gets the keys that the file holds now.
    """
    ended = threading.Event()

    def run() -> None:
        seen: _Mark = None
        while not ended.wait(_LOOK_SECONDS):
            mark = _mark(path)
            if mark != seen:
                # The file may have changed before the first look: it is read once more then.
                _read(path, take, first=seen is None)
                seen = mark

    threading.Thread(target=run, name="api-keys", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _mark(path: Path) -> _Mark:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(path: Path, take: Callable[[ApiKeys], None], *, first: bool) -> None:
    try:
        keys = ApiKeys.from_file(path)
    except (ApiKeysError, OSError) as error:
        fields = {"error": str(error)}
        service_log.error("the API keys were not read again; those of before stay", extra={"fields": fields})
        return
    take(keys)
    if not first:
        service_log.info("the API keys were read again", extra={"fields": {"keys": [key.name for key in keys.known]}})
