"""The language host of the built engine: answers the engine's calls and runs the Python program.

    python -m toolchain.language_host     # started by the engine; prints the port it listens on

The official host is a Go program of the release, not a served module. The Python SDK holds the same server for inline
programs; this subclass lets it run a program from a directory.
"""

import os
import runpy
import signal
import sys
import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from pulumi.automation._server import LanguageServer
from pulumi.runtime.proto import language_pb2, language_pb2_grpc

_MESSAGE_LIMIT_BYTES = 1 << 30
_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", _MESSAGE_LIMIT_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_LIMIT_BYTES),
]


class DirectoryLanguageServer(LanguageServer):
    """Runs `<program directory>/<entry point>/__main__.py` for each `Run` of the engine."""

    def __init__(self) -> None:
        super().__init__(lambda: None)

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - the protocol's names
        """Accepts the engine's greeting."""
        return language_pb2.LanguageHandshakeResponse()

    def Run(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        """Runs the program that the request points to; a failure is reported as the run's error."""
        self.program = lambda: _run_program(request.info.program_directory, request.info.entry_point)
        return super().Run(request, context)  # type: ignore[no-untyped-call]


def _run_program(program_directory: str, entry_point: str) -> None:
    path = Path(program_directory) / (entry_point or ".")
    sys.path.insert(0, program_directory)
    os.chdir(program_directory)
    runpy.run_path(str(path), run_name="__main__")


def main() -> None:
    """Serves until the engine stops this process."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), options=_CHANNEL_OPTIONS)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(DirectoryLanguageServer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    stopped.wait()
    server.stop(grace=None)


if __name__ == "__main__":
    main()
