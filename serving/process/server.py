"""uvicorn with the ending that a successor on the same socket needs."""

import asyncio
import contextlib
import functools
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sized
from types import FrameType
from typing import Any, Protocol

import uvicorn

from serving.process.board import Board
from serving.process.connection import Connection
from serving.process.connections import Accounts, Bounds, Connections
from serving.process.listener import Listener, Unsecured, secured
from serving.process.options import ProcessOptions
from serving.process.succession import await_succession, has_succession
from serving.process.tls import Tls

_CLOSE_HEADER = (b"connection", b"close")
_GRACE_SECONDS = 10
_BACKLOG = 2048
_BEAT_SECONDS = 0.5


class Served(Accounts, Protocol):
    """What is served, as far as its connections, its beginning and its end go."""

    draining: bool
    """Set while the service finishes before it ends."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on, unless a socket is inherited."""

    @property
    def drain_seconds(self) -> float:
        """How long open connections are served after a stop was asked for."""

    @property
    def bounds(self) -> Bounds:
        """What a client may send and hold."""

    @property
    def introduction(self) -> dict[str, Any]:
        """Message for the parent process, sent when ready."""


class DrainingServer(uvicorn.Server):
    """Ends in three steps: accepts nothing more, serves what is connected and tells it to close, then closes.

    Args:
        config: uvicorn's.
        served: the service's state.
        connections: of this process.
        options: of the process.
        tls: secures connections; None for plain HTTP.
        board: shared with the other processes of a group; None for a process that serves alone.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        served: Served,
        connections: Connections,
        options: ProcessOptions,
        *,
        tls: Tls | None = None,
        board: Board | None = None,
    ) -> None:
        super().__init__(config)
        self._tls, self._board = tls, board
        self._served, self._connections = served, connections
        self._options = options
        self._beating: asyncio.Task[None] | None = None
        self._succeeding: asyncio.Task[None] | None = None
        self._has_succession = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to accept, and says so."""
        options = self._options
        if self._tls is None and self._board is None:
            await super().startup(sockets)
        else:
            await super().startup([])
            self._listen(sockets or [self.config.bind_socket()])
        self._connections.begin()
        self._beating = asyncio.get_running_loop().create_task(self._beat())
        if options.watch_stdin:
            # Without a supervisor by now, it has never served: what served before looks for another one.
            self._has_succession = has_succession(options) and not select.select([sys.stdin], [], [], 0)[0]
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._supervisor_gone)
        if options.ready_descriptor is not None:
            report(options.ready_descriptor, {"status": "ready", **self._served.introduction, "pid": os.getpid()})

    def _listen(self, sockets: list[socket.socket]) -> None:
        protocol: Any = self.config.http_protocol_class
        make_http = functools.partial(protocol, config=self.config, server_state=self.server_state, app_state={})
        unsecured = Unsecured(make_http)
        take = unsecured if self._tls is None else secured(make_http, self._connections, self._tls)
        is_turn = functools.partial(self._is_turn, unsecured)
        for listener in sockets:
            listener.listen(_BACKLOG)
        listeners: list[Any] = [Listener(each, take, is_turn) for each in sockets]
        self.servers = listeners

    def _is_turn(self, beginning: Sized) -> bool:
        """Whether no other process of the group has fewer connections."""
        if self._board is None:
            return True
        own = len(self._connections) + len(beginning)
        self._board.beat(own)
        fewest = self._board.fewest_connections()
        return fewest is None or own <= fewest

    async def _beat(self) -> None:
        """Shows each half second that the event loop runs."""
        descriptor = self._options.heartbeat_descriptor
        if descriptor is not None:
            os.set_blocking(descriptor, False)
        while True:
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.write(descriptor, b".")
            if self._board is not None:
                self._board.beat(len(self._connections))
            await asyncio.sleep(_BEAT_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drains, then closes."""
        # A successor on the same socket is ready already; 503 here would only send callers of a shared address away.
        self._served.draining = self._options.owns_socket
        for server in self.servers:
            server.close()
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE_HEADER]
        deadline = time.monotonic() + self._served.drain_seconds
        while (
            (self.server_state.connections or len(self._connections))
            and time.monotonic() < deadline
            and not self.force_exit
        ):
            await asyncio.sleep(0.05)
        await super().shutdown(sockets)
        if self._beating is not None:
            self._beating.cancel()
        # A stop that was asked for is a success; uvicorn would raise the signal again.
        self._captured_signals.clear()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second ends at once."""
        if self.should_exit:
            self.force_exit = True
        super().handle_exit(sig, frame)

    def _supervisor_gone(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(sys.stdin.fileno())
        if self.should_exit or not self._has_succession:
            self.handle_exit(signal.SIGTERM, None)
        else:
            self._succeeding = loop.create_task(self._serve_until_succeeded())

    async def _serve_until_succeeded(self) -> None:
        """Serves on under another supervisor, which ends this process once its own is ready."""
        try:
            await await_succession(self._options)
        finally:
            if not self.should_exit:
                self.handle_exit(signal.SIGTERM, None)


def serve(
    served: Served,
    app: Any,
    options: ProcessOptions,
    *,
    lifespan: bool = False,
    protocol: type[Connection] = Connection,
    tls: Tls | None = None,
    board: Board | None = None,
) -> None:
    """Serves until told to stop.

    Args:
        served: the service's state.
        app: the ASGI application.
        options: of the process.
        lifespan: whether the application wants to be told of its beginning and end.
        protocol: of HTTP.
        tls: secures the connections; None for plain HTTP.
        board: shared with the other processes of a group; None for a process that serves alone.
    """
    host, port = served.address
    asks = tls is not None and tls.asks_for_certificates
    connections = Connections(served.bounds, served, wants_certificates=asks, board=board)
    if board is not None:
        board.forget(board.own)
    bounded: Any = functools.partial(protocol, registry=connections)
    config = uvicorn.Config(
        app,
        http=bounded,
        ws="none",
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        lifespan="on" if lifespan else "off",
    )
    server = DrainingServer(config, served, connections, options, tls=tls, board=board)
    inherited = options.listen_descriptor
    sockets = None if inherited is None else [socket.socket(fileno=inherited)]
    with tls.reloaded() if tls is not None else contextlib.nullcontext():
        server.run(sockets)


def report(descriptor: int, message: dict[str, Any]) -> None:
    """Writes one line of JSON and closes the descriptor; nobody may be listening any more."""
    with contextlib.suppress(OSError), os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(message) + "\n")
