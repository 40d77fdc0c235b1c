"""The faults of the table, in its order."""

from tests.faults.fault import Fault
from tests.faults.of_files import DiskFull, KeysBroken, KeysEmptied, LogDirectoryGone, LogReaderGone, ModelGone
from tests.faults.of_machine import ClockBack, ClockForward, MemoryLimit, NeverReads
from tests.faults.of_processes import (
    CandidateKilled,
    GroupKilled,
    GroupStopped,
    MemberKilled,
    MemberStopped,
    ServerKilled,
    ServerStopped,
    SplitterKilled,
    StableKilled,
    SupervisorKilled,
    SupervisorStopped,
)
from tests.faults.of_redis import NamesGone, RedisFrozen, RedisGone, RedisSlow

FAULTS: tuple[type[Fault], ...] = (
    DiskFull,
    LogDirectoryGone,
    LogReaderGone,
    RedisGone,
    RedisFrozen,
    RedisSlow,
    NamesGone,
    KeysEmptied,
    KeysBroken,
    ModelGone,
    ClockForward,
    ClockBack,
    NeverReads,
    MemoryLimit,
    ServerStopped,
    ServerKilled,
    MemberStopped,
    MemberKilled,
    GroupStopped,
    GroupKilled,
    SupervisorStopped,
    SupervisorKilled,
    SplitterKilled,
    CandidateKilled,
    StableKilled,
)
