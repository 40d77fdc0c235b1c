"""Serves S3's interface on the loopback and counts requests before moto answers them.

    python -m benchmarks.store.counted_s3 registry      # serves its files in the bucket `registry`

Prints its address. `GET /_counted` answers the number of requests since the last such question.
"""

import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from benchmarks.command import make_parser

BUCKET = "registry"
COUNTED = "/_counted"
_ACCOUNT = "123456789012"


class _Counter:
    """Counts the requests to an application, and passes them on one at a time.

    Two conditional writes at once would both win in moto, which looks first and writes then.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._count = 0

    def __call__(self, environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            if environment["PATH_INFO"] == COUNTED:
                content, self._count = str(self._count).encode(), 0
                start("200 OK", [("Content-Length", str(len(content)))])
                return [content]
            self._count += 1
            return list(self._application(environment, start))


class _Quiet(MotoRequestHandler):
    def log(self, *_arguments: Any) -> None:
        """Logs nothing."""


def main() -> int:
    """Serves until it is terminated."""
    parser = make_parser("benchmarks.store.counted_s3", __doc__)
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="files to serve")
    _fill(parser.parse_args().directory)
    application = _Counter(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Quiet)
    print(f"http://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()
    return 0


def _fill(directory: Path) -> None:
    """Puts the files into moto's memory; uploads through its interface would take minutes."""
    backend = s3_backends[_ACCOUNT]["aws"]
    backend.create_bucket(BUCKET, "us-east-1")
    for path in directory.rglob("*"):
        name = str(path.relative_to(directory))
        if path.is_file() and not name.startswith("."):
            backend.put_object(BUCKET, name, path.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
