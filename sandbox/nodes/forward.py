"""Passes TCP connections from one network namespace to another; needs no interface that both have.

    python -m sandbox.nodes.forward forwards.json

A socket belongs to the network namespace that its thread was in when it was made. So this process makes each socket in
the namespace where it listens or connects, and goes back to the host's.
"""

import argparse
import asyncio
import ctypes
import itertools
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_NETWORK = 0x40000000
_BLOCK_BYTES = 1 << 16
_CONNECT_SECONDS = 2.0
_C = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Forward:
    """From one listening address to one of several others."""

    listen_in: str
    """File with the id of a process in the listening namespace; empty for the host's."""
    listen: tuple[str, int]
    connect_in: str
    """The same for the namespace of the targets."""
    targets: list[tuple[str, int]]
    """Tried in turn; the next one where one does not answer."""


@contextmanager
def _network_of(pid_file: str, own: int) -> Iterator[None]:
    if not pid_file:
        yield
        return
    with Path(f"/proc/{Path(pid_file).read_text()}/ns/net").open() as namespace:
        _enter(namespace.fileno())
    try:
        yield
    finally:
        _enter(own)


def _enter(namespace: int) -> None:
    if _C.setns(namespace, _NETWORK):
        raise OSError(ctypes.get_errno(), "setns")


class _Door:
    """One forward."""

    def __init__(self, forward: Forward, own: int) -> None:
        self._forward, self._own = forward, own
        self._turn = itertools.count()

    async def open(self) -> asyncio.Server:
        with _network_of(self._forward.listen_in, self._own):
            listener = socket.create_server(self._forward.listen, backlog=1024)
        return await asyncio.start_server(self._serve, sock=listener)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await self._connect()
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pipe(reader, inner_writer), _pipe(inner_reader, writer))
        for each in (writer, inner_writer):
            with suppress(OSError):
                each.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        targets, first = self._forward.targets, next(self._turn)
        for number in range(len(targets)):
            target = targets[(first + number) % len(targets)]
            with _network_of(self._forward.connect_in, self._own):
                inner = socket.socket()
            inner.setblocking(False)
            try:
                await asyncio.wait_for(asyncio.get_running_loop().sock_connect(inner, target), _CONNECT_SECONDS)
                return await asyncio.open_connection(sock=inner)
            except (OSError, TimeoutError):
                inner.close()
        raise ConnectionError("no target answers")


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_BLOCK_BYTES):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.write_eof()


async def _main(forwards: list[Forward]) -> None:
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    servers = [await _Door(forward, own).open() for forward in forwards]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main() -> int:
    """Forwards until it is ended; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.nodes.forward",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "forwards", type=Path, metavar="FILE", help="a JSON list of addresses to listen on and to reach"
    )
    described = json.loads(parser.parse_args().forwards.read_text())
    forwards = [
        Forward(each["listen_in"], tuple(each["listen"]), each["connect_in"], [tuple(one) for one in each["targets"]])
        for each in described
    ]
    asyncio.run(_main(forwards))
    return 0


if __name__ == "__main__":
    sys.exit(main())
