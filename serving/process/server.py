"""uvicorn with the ending that a successor on the same socket needs."""

import asyncio
import contextlib
import functools
import json
import os
import signal
import socket
import sys
import time
from types import FrameType
from typing import Any, Protocol

import uvicorn

from serving.process.connection import Connection
from serving.process.connections import Accounts, Bounds, Connections
from serving.process.handshake import SecuredListener
from serving.process.tls import Tls

_CLOSE_HEADER = (b"connection", b"close")
_GRACE_SECONDS = 10
_BACKLOG = 2048


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
        ready_descriptor: told in one line of JSON once connections are accepted.
        owns_socket: whether no other process serves from the same socket.
        watch_stdin: end when standard input is closed, which a supervisor's death does.
        tls: secures connections; None for plain HTTP.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        served: Served,
        connections: Connections,
        *,
        ready_descriptor: int | None,
        owns_socket: bool,
        watch_stdin: bool,
        tls: Tls | None = None,
    ) -> None:
        super().__init__(config)
        self._tls = tls
        self._served, self._connections = served, connections
        self._ready_descriptor = ready_descriptor
        self._owns_socket = owns_socket
        self._watch_stdin = watch_stdin

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to accept, and says so."""
        if self._tls is None:
            await super().startup(sockets)
        else:
            await super().startup([])
            self._accept_secured(sockets or [self.config.bind_socket()], self._tls)
        self._connections.begin()
        if self._watch_stdin:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._supervisor_gone)
        if self._ready_descriptor is not None:
            report(self._ready_descriptor, {"status": "ready", **self._served.introduction, "pid": os.getpid()})

    def _accept_secured(self, sockets: list[socket.socket], tls: Tls) -> None:
        protocol: Any = self.config.http_protocol_class
        make_http = functools.partial(protocol, config=self.config, server_state=self.server_state, app_state={})
        for listener in sockets:
            listener.listen(_BACKLOG)
        secured: list[Any] = [SecuredListener(each, self._connections, tls, make_http) for each in sockets]
        self.servers = secured

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drains, then closes."""
        # A successor on the same socket is ready already; 503 here would only send callers of a shared address away.
        self._served.draining = self._owns_socket
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
        # A stop that was asked for is a success; uvicorn would raise the signal again.
        self._captured_signals.clear()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second ends at once."""
        if self.should_exit:
            self.force_exit = True
        super().handle_exit(sig, frame)

    def _supervisor_gone(self) -> None:
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        self.handle_exit(signal.SIGTERM, None)


def serve(
    served: Served,
    app: Any,
    *,
    listen_descriptor: int | None,
    ready_descriptor: int | None,
    watch_stdin: bool,
    lifespan: bool = False,
    protocol: type[Connection] = Connection,
    tls: Tls | None = None,
) -> None:
    """Serves until told to stop.

    Args:
        served: the service's state.
        app: the ASGI application.
        listen_descriptor: a listening socket that is inherited; one of its own at the address when None.
        ready_descriptor: told in one line of JSON once connections are accepted.
        watch_stdin: end when standard input is closed.
        lifespan: whether the application wants to be told of its beginning and end.
        protocol: of HTTP.
        tls: secures the connections; None for plain HTTP.
    """
    host, port = served.address
    connections = Connections(served.bounds, served, wants_certificates=tls is not None and tls.asks_for_certificates)
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
    server = DrainingServer(
        config,
        served,
        connections,
        ready_descriptor=ready_descriptor,
        owns_socket=listen_descriptor is None,
        watch_stdin=watch_stdin,
        tls=tls,
    )
    sockets = None if listen_descriptor is None else [socket.socket(fileno=listen_descriptor)]
    with tls.reloaded() if tls is not None else contextlib.nullcontext():
        server.run(sockets)


def report(descriptor: int, message: dict[str, Any]) -> None:
    """Writes one line of JSON and closes the descriptor; nobody may be listening any more."""
    with contextlib.suppress(OSError), os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(message) + "\n")
