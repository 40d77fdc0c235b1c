"""All connections of one process: how many there may be, which one goes at the limit, and what each may take."""

import asyncio
import contextlib
import ipaddress
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Protocol

from serving.process.board import Board

HEALTH_PATHS = frozenset((b"/health", b"/health/live", b"/health/ready"))
"""Answered at the limit of connections, too."""
_HEALTH_RESERVE = 64
"""Connections beyond the limit that are accepted for requests for health."""
_SWEEP_SECONDS = 0.5
_CANDIDATES = 64
_NO_CANDIDATE_SECONDS = 0.05


class Bounds(Protocol):
    """The settings that bound connections; `ServingSettings` says what each means."""

    @property
    def max_header_bytes(self) -> int: ...  # noqa: D102 - see the class

    @property
    def max_headers(self) -> int: ...  # noqa: D102

    @property
    def header_timeout_seconds(self) -> float: ...  # noqa: D102

    @property
    def request_timeout_seconds(self) -> float: ...  # noqa: D102

    @property
    def idle_timeout_seconds(self) -> float: ...  # noqa: D102

    @property
    def max_connections(self) -> int: ...  # noqa: D102

    @property
    def max_connections_per_address(self) -> int: ...  # noqa: D102


class Accounts(Protocol):
    """Takes the count of what the application never sees."""

    def refused_early(self, status: int, code: str, method: str, milliseconds: float) -> str:
        """Counts an answer that is given before the application is asked; returns its request id."""

    def connection_closed(self, reason: str) -> None:
        """Counts a connection that the service has closed on its own account."""


class Bounded(Protocol):
    """One connection, as far as its bounds go."""

    address: str
    only_health: bool

    @property
    def waiting_since(self) -> float | None:
        """Monotonic seconds since when it waits for its client; None while a request is in work."""

    def look(self, now: float) -> None:
        """Ends the connection when its client takes too long."""

    def evict(self) -> None:
        """Closes the connection in favor of a new one."""

    def turn_away(self) -> None:
        """Answers 503 and closes a connection for which there is no room."""


class Connections:
    """The open connections of one process.

    Args:
        bounds: the settings.
        accounts: counts refusals and closed connections.
        wants_certificates: whether a client without a certificate is answered on health only.
        board: has the connections of the other processes of a group; the limits hold for all of them together.
    """

    def __init__(
        self, bounds: Bounds, accounts: Accounts, *, wants_certificates: bool = False, board: Board | None = None
    ) -> None:
        self.bounds, self.accounts, self._board = bounds, accounts, board
        self.wants_certificates = wants_certificates
        self._open: set[Bounded] = set()
        self._by_address: Counter[str] = Counter()
        self._candidates: dict[str, deque[tuple[float, Bounded]]] = {}
        self._none_until: dict[str, float] = {}
        self._sweeping: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Bounded) -> None:
        """Takes a new connection, in place of the one that waits longest for its client when there are too many."""
        board, bounds, address = self._board, self.bounds, connection.address
        in_all, here = len(self._open), self._by_address[address]
        others, others_here = (0, 0) if board is None else board.connections_of_others(address)
        over_address = here + others_here >= bounds.max_connections_per_address
        over_all = in_all + others >= bounds.max_connections
        self._open.add(connection)
        self._by_address[address] += 1
        if board is not None:
            board.count_connection(address, 1)
        if not over_address and not over_all:
            return
        longest = self._longest_waiting(address if over_address else "", connection)
        if longest is not None:
            self.remove(longest)
            longest.evict()
        elif self._has_share(in_all, bounds.max_connections) and self._has_share(
            here, bounds.max_connections_per_address
        ):
            # What waits longest is another process's, which does not know of this connection.
            return
        elif in_all + others + 1 > bounds.max_connections + _HEALTH_RESERVE:
            self.remove(connection)
            connection.turn_away()
        else:
            connection.only_health = True

    def _has_share(self, count: int, most: int) -> bool:
        """Whether this process has room in its own part of a limit of the group."""
        return self._board is not None and count < -(-most // self._board.slots)

    def remove(self, connection: Bounded) -> None:
        """Forgets a connection that has ended."""
        if connection in self._open:
            self._open.discard(connection)
            self._by_address[connection.address] -= 1
            if self._board is not None:
                self._board.count_connection(connection.address, -1)
            if self._by_address[connection.address] <= 0:
                del self._by_address[connection.address]

    def begin(self) -> None:
        """Looks at each connection twice a second from now on; costs less than timers for each request."""
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(_SWEEP_SECONDS, self.bounds.header_timeout_seconds / 2))
            now = time.monotonic()
            for connection in list(self._open):
                connection.look(now)
            self._candidates.clear()
            self._none_until.clear()

    def _longest_waiting(self, address: str, new: Bounded) -> Bounded | None:
        """The connection that waits longest, of one address or of all; None when every other one is in work.

        Looks for many at once, since a flood of connections asks for one after the other.
        """
        candidates = self._candidates.setdefault(address, deque())
        for renewed in (False, True):
            while candidates:
                since, connection = candidates.popleft()
                if connection in self._open and connection.waiting_since == since:
                    return connection
            now = time.monotonic()
            if renewed or now < self._none_until.get(address, 0):
                return None
            found = self._waiting(address, new)
            candidates.extend(sorted(found, key=lambda pair: pair[0])[:_CANDIDATES])
            if not candidates:
                self._none_until[address] = now + _NO_CANDIDATE_SECONDS
        return None

    def _waiting(self, address: str, new: Bounded) -> Iterable[tuple[float, Bounded]]:
        for connection in self._open:
            since = connection.waiting_since
            if since is not None and connection is not new and (not address or connection.address == address):
                yield since, connection


def address_of(client: tuple[str, int] | None) -> str:
    """The address that a client's connections are counted by: of IPv6 the network, which one client has to itself."""
    host = client[0] if client else ""
    if ":" in host:
        with contextlib.suppress(ValueError):
            address = ipaddress.IPv6Address(host.partition("%")[0])
            if address.ipv4_mapped is not None:
                return str(address.ipv4_mapped)
            return str(ipaddress.IPv6Network((address, 64), strict=False))
    return host
