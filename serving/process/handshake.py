"""Accepts connections that are secured by TLS, and hands them to the protocol of HTTP.

The event loop's own server tells of a connection only after its handshake. Here it counts among the connections from
the moment at which it is accepted, so a client that never ends its handshake is bounded as one that sends no request.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any

from serving.observability.logs import service_log
from serving.process.connections import Connections, address_of
from serving.process.tls import Tls

_ACCEPTED_AT_ONCE = 32
_PAUSE_SECONDS = 0.5
"""How long nothing is accepted when the process has no descriptor left."""


class SecuredListener:
    """Accepts connections from a listening socket; of what uvicorn asks of a server it has `close` and `wait_closed`.

    Args:
        listener: accepts connections.
        registry: all connections of the process.
        tls: secures them.
        make_http: makes the protocol of HTTP for a connection.
    """

    def __init__(
        self, listener: socket.socket, registry: Connections, tls: Tls, make_http: Callable[[], asyncio.Protocol]
    ) -> None:
        self._listener, self._registry, self._tls, self._make_http = listener, registry, tls, make_http
        self._loop = asyncio.get_running_loop()
        self._open = True
        listener.setblocking(False)
        self._watch()

    def close(self) -> None:
        """Accepts nothing more; handshakes that have begun go on."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._listener)

    async def wait_closed(self) -> None:
        """There is nothing to wait for."""

    def _watch(self) -> None:
        if self._open:
            self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, client = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                service_log.error("no connection was accepted", extra={"fields": {"error": str(error)}})
                self._loop.remove_reader(self._listener)
                self._loop.call_later(_PAUSE_SECONDS, self._watch)
                return
            accepted.setblocking(False)
            with contextlib.suppress(OSError):
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            Handshake(accepted, address_of(client), self._registry, self._tls).begin(self._make_http)


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
