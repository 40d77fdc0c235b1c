"""Memory that the processes of one group share: what each has counted, how many connections each has, and buckets.

It belongs to the process that starts the others, so it outlives each of them. Each process writes to its own slot
alone, so no lock is needed: what it counts goes into one of two areas by turns, with a checksum.
"""

import fcntl
import mmap
import os
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

AREA_BYTES = 4 << 20
"""Of one account; memory is taken only for what is written."""
_BUCKETS = 4096
_BUCKET = struct.Struct("<8sdd")
_PROBES = 16
_LOCK_SECONDS = 0.02
_ALIVE_SECONDS = 3.0
_ASKED_AT, _SEED_AT = 0, 8
_ADDRESSES, _ADDRESSES_AT = 1024, 1024
"""Counts of connections by address, in each slot: those of addresses that fall on the same one are added up."""
_FIRST_SLOT = 4096
_SLOT_BYTES = 4096 + 2 * AREA_BYTES


@dataclass(frozen=True)
class Account:
    """What a process has last written."""

    content: bytes
    moment: int
    """Nanoseconds of the monotonic clock."""
    is_alive: bool


class Board:
    """The memory, as one process sees it.

    Args:
        descriptor: of the memory.
        slots: processes in the group.
        own: number of this process's slot.
    """

    def __init__(self, descriptor: int, slots: int, own: int) -> None:
        self._descriptor, self.slots, self.own = descriptor, slots, own
        self._buckets_at = _FIRST_SLOT + slots * _SLOT_BYTES
        self._memory = mmap.mmap(descriptor, board_bytes(slots))
        self._seed = int(struct.unpack_from("<I", self._memory, _SEED_AT)[0])

    def beat(self, connections: int) -> None:
        """Shows that this process runs, and how many connections it has."""
        struct.pack_into("<dI", self._memory, self._slot(self.own), time.monotonic(), connections)

    def count_connection(self, address: str, change: int) -> None:
        """Adds to the connections that this process has of an address."""
        at = self._count_at(self.own, address)
        found = struct.unpack_from("<H", self._memory, at)[0] + change
        struct.pack_into("<H", self._memory, at, min(max(found, 0), 65_535))

    def connections_of_others(self, address: str) -> tuple[int, int]:
        """Connections that the other live processes have, in all and of an address."""
        now, in_all, of_address = time.monotonic(), 0, 0
        for slot in range(self.slots):
            beat, connections = struct.unpack_from("<dI", self._memory, self._slot(slot))
            if slot != self.own and now - beat < _ALIVE_SECONDS:
                in_all += connections
                of_address += struct.unpack_from("<H", self._memory, self._count_at(slot, address))[0]
        return in_all, of_address

    def forget(self, slot: int) -> None:
        """Forgets the connections of a process that has ended, or begins; what it has counted stays."""
        at = self._slot(slot)
        struct.pack_into("<dI", self._memory, at, 0.0, 0)
        self._memory[at + _ADDRESSES_AT : at + _ADDRESSES_AT + 2 * _ADDRESSES] = bytes(2 * _ADDRESSES)

    def _count_at(self, slot: int, address: str) -> int:
        return self._slot(slot) + _ADDRESSES_AT + 2 * (zlib.crc32(address.encode(), self._seed) % _ADDRESSES)

    def silent_seconds(self, slot: int) -> float:
        """For how long a process has shown no sign of life; since the machine's start when it never has."""
        beat: float = struct.unpack_from("<d", self._memory, self._slot(slot))[0]
        return time.monotonic() - beat

    def fewest_connections(self) -> int | None:
        """Connections of the live process that has the fewest of the others; None without a live one."""
        now, found = time.monotonic(), []
        for slot in range(self.slots):
            beat, connections = struct.unpack_from("<dI", self._memory, self._slot(slot))
            if slot != self.own and now - beat < _ALIVE_SECONDS:
                found.append(connections)
        return min(found, default=None)

    def write(self, content: bytes, moment: int) -> None:
        """Writes this process's account.

        Args:
            content: at most `AREA_BYTES`.
            moment: at which it was right, in nanoseconds of the monotonic clock.

        Raises:
            ValueError: it is too long.
        """
        if len(content) > AREA_BYTES:
            raise ValueError("the account is too long")
        at = self._slot(self.own)
        area = 1 - struct.unpack_from("<I", self._memory, at + 12)[0] % 2
        begin = at + 4096 + area * AREA_BYTES
        self._memory[begin : begin + len(content)] = content
        struct.pack_into("<IQQI", self._memory, at + 12, area, moment, len(content), zlib.crc32(content))

    def read(self, slot: int) -> Account | None:
        """What a process has last written; None when it has written nothing."""
        at = self._slot(slot)
        for _ in range(3):
            area, moment, length, checksum = struct.unpack_from("<IQQI", self._memory, at + 12)
            begin = at + 4096 + area % 2 * AREA_BYTES
            content = bytes(self._memory[begin : begin + min(length, AREA_BYTES)])
            if moment and zlib.crc32(content) == checksum:
                return Account(content, moment, self.silent_seconds(slot) < _ALIVE_SECONDS)
        return None

    def ask(self) -> int:
        """Asks every process for a new account; returns the moment from which on an account is new."""
        moment = time.monotonic_ns()
        struct.pack_into("<Q", self._memory, _ASKED_AT, moment)
        return moment

    def asked_at(self) -> int:
        """When a process has last asked for new accounts, in nanoseconds of the monotonic clock."""
        return int(struct.unpack_from("<Q", self._memory, _ASKED_AT)[0])

    @contextmanager
    def bucket(self, name: bytes) -> Iterator["Bucket"]:
        """A bucket of tokens, which this process alone has meanwhile.

        A process that is stopped while it has the bucket would stop all: after a moment it is taken all the same.

        Args:
            name: eight bytes, not all of them zero.
        """
        first = int.from_bytes(name, "little") % _BUCKETS
        at = self._buckets_at + first
        locked = False
        deadline = time.monotonic() + _LOCK_SECONDS
        while not locked and time.monotonic() < deadline:
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, at)
                locked = True
            except OSError:
                os.sched_yield()
        try:
            yield self._find(name, first)
        finally:
            if locked:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, at)

    def _find(self, name: bytes, first: int) -> "Bucket":
        begin = self._buckets_at + _BUCKETS
        for step in range(_PROBES):
            at = begin + (first + step) % _BUCKETS * _BUCKET.size
            found, tokens, moment = _BUCKET.unpack_from(self._memory, at)
            if found == name:
                return Bucket(self._memory, at, name, tokens, moment)
            if not any(found):
                return Bucket(self._memory, at, name, None, 0.0)
        return Bucket(self._memory, begin + first * _BUCKET.size, name, None, 0.0)

    def _slot(self, slot: int) -> int:
        return _FIRST_SLOT + slot * _SLOT_BYTES


@dataclass
class Bucket:
    """One bucket of tokens."""

    _memory: mmap.mmap
    _at: int
    _name: bytes
    tokens: float | None
    """None for a bucket that nobody has used."""
    moment: float

    def put(self, tokens: float, moment: float) -> None:
        """Writes how many tokens it holds, and since when."""
        _BUCKET.pack_into(self._memory, self._at, self._name, tokens, moment)


def board_bytes(slots: int) -> int:
    """Size of the memory; little of it is ever used."""
    return _FIRST_SLOT + slots * _SLOT_BYTES + _BUCKETS + _BUCKETS * _BUCKET.size


def make_board(slots: int) -> int:
    """Makes the memory of a group; returns its descriptor, which processes inherit."""
    descriptor = os.memfd_create("fraud-detection-group", 0)
    os.ftruncate(descriptor, board_bytes(slots))
    os.pwrite(descriptor, os.urandom(4), _SEED_AT)
    os.set_inheritable(descriptor, True)
    return descriptor
