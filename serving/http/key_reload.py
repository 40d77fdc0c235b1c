"""Reads the file of API keys again when it changes: within seconds a new key works and a revoked one is refused."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.http.auth import ApiKeys
from serving.observability.logs import service_log
from serving.process.tls import file_mark

_LOOK_SECONDS = 1.0


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
        taken: tuple[int, ...] | None = None
        told: tuple[object, str] = (None, "")
        while not ended.wait(_LOOK_SECONDS):
            mark = file_mark(path)
            if mark == taken:
                continue
            try:
                keys = ApiKeys.from_file(path)
                take(keys)
            except Exception as error:
                # Tried again at the next look; a thread that ends would leave the keys of now for good.
                if told != (mark, str(error)):
                    told = (mark, str(error))
                    fields = {"error": str(error)}
                    message = "the API keys were not read again; those of before stay"
                    service_log.error(message, extra={"fields": fields})
                continue
            # The file may have changed before the first look: it is read once more then.
            if taken is not None or told[0] is not None:
                names = [key.name for key in keys.known]
                service_log.info("the API keys were read again", extra={"fields": {"keys": names}})
            taken = mark

    threading.Thread(target=run, name="api-keys", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
