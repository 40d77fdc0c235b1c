"""Accepts connections where the event loop's own server does not do: with TLS, and in a group of processes.

That server tells of a connection only after its handshake. Here it counts among the connections from the moment at
which it is accepted, so a client that never ends its handshake is bounded as one that sends no request.

Processes of a group accept from one socket. The one that wakes first would get most connections: here each of them
leaves a connection to the others for a moment while one of them has fewer.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from serving.observability.logs import service_log
from serving.process.connections import Connections, address_of
from serving.process.tls import Tls

_ACCEPTED_AT_ONCE = 32
_PAUSE_SECONDS = 0.5
"""How long nothing is accepted when the process has no descriptor left."""
_LEFT_TO_OTHERS, _LEFT_SECONDS = 3, 0.002
"""How often, and for how long, a connection is left to the other processes of a group."""


Take: TypeAlias = Callable[[socket.socket, Any], None]
"""Takes an accepted connection, and the address of its client."""


class Listener:
    """Accepts connections; of what uvicorn asks of a server it has `close` and `wait_closed`.

    Args:
        listener: accepts connections.
        take: takes each connection.
        is_turn: whether this process should accept the next one.
    """

    def __init__(self, listener: socket.socket, take: Take, is_turn: Callable[[], bool]) -> None:
        self._listener, self._take, self._is_turn = listener, take, is_turn
        self._loop = asyncio.get_running_loop()
        self._open, self._left = True, 0
        listener.setblocking(False)
        self._watch()

    def close(self) -> None:
        """Accepts nothing more; what was accepted goes on."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._listener)
            self._listener.close()

    async def wait_closed(self) -> None:
        """There is nothing to wait for."""

    def _watch(self) -> None:
        if self._open:
            self._loop.add_reader(self._listener, self._accept)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._loop.call_later(seconds, self._watch)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            if not self._is_turn() and self._left < _LEFT_TO_OTHERS:
                self._left += 1
                self._pause(_LEFT_SECONDS)
                return
            try:
                accepted, client = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                self._left = 0
                return
            except OSError as error:
                service_log.error("no connection was accepted", extra={"fields": {"error": str(error)}})
                self._pause(_PAUSE_SECONDS)
                return
            self._left = 0
            accepted.setblocking(False)
            with contextlib.suppress(OSError):
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._take(accepted, client)


class Unsecured:
    """Takes connections of plain HTTP.

    Args:
        make_http: makes the protocol of HTTP for a connection.
    """

    def __init__(self, make_http: Callable[[], asyncio.Protocol]) -> None:
        self._make_http = make_http
        self._beginning: set[asyncio.Task[None]] = set()

    def __call__(self, accepted: socket.socket, _client: Any) -> None:
        """Takes one."""
        task = asyncio.get_running_loop().create_task(self._begin(accepted))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    def __len__(self) -> int:
        """Connections that were taken, and that the protocol of HTTP does not know yet."""
        return len(self._beginning)

    async def _begin(self, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._make_http, accepted)
        except OSError:
            accepted.close()


def secured(make_http: Callable[[], asyncio.Protocol], registry: Connections, tls: Tls) -> Take:
    """Takes connections that are secured by TLS.

    Args:
        make_http: makes the protocol of HTTP for a connection.
        registry: all connections of the process.
        tls: secures them.
    """

    def take(accepted: socket.socket, client: Any) -> None:
        Handshake(accepted, address_of(client), registry, tls).begin(make_http)

    return take


class Handshake:
    """One connection until it is secured.

    Args:
        accepted: the connection.
        address: of the client, as connections are counted by it.
        registry: all connections of the process.
        tls: secures it.
    """

    def __init__(self, accepted: socket.socket, address: str, registry: Connections, tls: Tls) -> None:
        self._socket, self._registry, self._tls = accepted, registry, tls
        self.address, self.only_health = address, False
        self._since = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    @property
    def waiting_since(self) -> float | None:
        """Monotonic seconds since when it waits for its client."""
        return self._since

    def begin(self, make_http: Callable[[], asyncio.Protocol]) -> None:
        """Begins the handshake, if there is room for the connection."""
        self._registry.admit(self)
        if self._ended:
            self._socket.close()
        else:
            self._task = asyncio.get_running_loop().create_task(self._secure(make_http))

    def look(self, _now: float) -> None:
        """The handshake has a timer of its own."""

    def evict(self) -> None:
        """Ends the connection in favor of a new one."""
        self._end("evicted")

    def turn_away(self) -> None:
        """Ends a connection for which there is no room; nothing can be answered before it is secured."""
        self._end("turned_away")

    def _end(self, reason: str) -> None:
        self._ended = True
        self._registry.accounts.connection_closed(reason)
        if self._task is not None:
            self._task.cancel()

    async def _secure(self, make_http: Callable[[], asyncio.Protocol]) -> None:
        loop: Any = asyncio.get_running_loop()
        seconds = self._registry.bounds.header_timeout_seconds
        try:
            await loop.connect_accepted_socket(
                make_http, self._socket, ssl=self._tls.context, ssl_handshake_timeout=seconds
            )
        except (OSError, TimeoutError):
            # Also every error of TLS.
            self._socket.close()
            self._registry.accounts.connection_closed("tls_handshake")
        except asyncio.CancelledError:
            self._socket.close()
        finally:
            self._registry.remove(self)
