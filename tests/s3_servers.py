"""Two S3 servers of different make on the loopback: moto, and versitygw, which keeps its objects in a directory.

versitygw is built once from its Go module into the user's cache: two minutes on two cores, 44 MB.
"""

import io
import os
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from tests.checkout import free_port
from toolchain.errors import ToolchainError
from toolchain.go_build import GoBuild
from toolchain.tools import Tool, ensure

VERSITYGW = Tool(
    "versitygw",
    "1.8.0",
    GoBuild(
        title="two minutes on two cores",
        module="versitygw",
        programs=(("versitygw", "github.com/versity/versitygw/cmd/versitygw"),),
    ),
)
_WAIT_SECONDS = 20


@contextmanager
def moto_server(_directory: Path) -> Iterator[str]:
    """moto; yields its URL.

    It answers one request at a time: its conditional writes look first and write then, and two at once both win.
    """
    server = make_server(
        "127.0.0.1",
        0,
        _OneByOne(DomainDispatcherApplication(create_backend_app)),
        threaded=True,
        request_handler=_Quiet,
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()


class _OneByOne:
    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._lock = threading.Lock()

    def __call__(self, environment: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        # Reads the body first: a client that is killed while it sends one does not hold up the others.
        length = int(environment.get("CONTENT_LENGTH") or 0)
        if length:
            environment["wsgi.input"] = io.BytesIO(environment["wsgi.input"].read(length))
        with self._lock:
            return list(self._application(environment, start))


class _Quiet(MotoRequestHandler):
    def log(self, *_arguments: Any) -> None:
        """Logs nothing."""


@contextmanager
def versitygw_server(directory: Path) -> Iterator[str]:
    """versitygw; yields its URL. Skips the test, with a line that says why, where it cannot be built.

    Args:
        directory: holds the objects; on a file system with extended attributes.
    """
    try:
        program = ensure([VERSITYGW], print)["versitygw"] / "versitygw"
    except ToolchainError as error:
        reason = f"not run on a second S3 server: {' '.join(str(error).split())}"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    objects, versions, log = directory / "objects", directory / "versions", directory / "log"
    objects.mkdir(parents=True)
    versions.mkdir()
    port = free_port()
    command = [str(program), "--access", "test", "--secret", "test", "--port", f"127.0.0.1:{port}", "--quiet"]
    command += ["posix", "--versioning-dir", str(versions), str(objects)]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env={"PATH": os.environ["PATH"]}) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process, log)
            yield url
        finally:
            process.terminate()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            s3_client(url, attempts=1).list_buckets()
        except BotoCoreError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"versitygw does not answer: {log.read_text(errors='replace')[-500:]}")


def s3_settings(url: str) -> dict[str, str]:
    """The variables that lead a client to one of the servers."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def s3_client(url: str, attempts: int = 3) -> Any:
    """A boto3 client of one of the servers."""
    return boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": attempts}),
    )


S3_SERVERS = {"moto": moto_server, "versitygw": versitygw_server}
