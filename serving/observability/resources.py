"""What the serving process uses of the machine."""

import os
import tempfile
import time
from collections import deque
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

_NOTES = 13
"""Of CPU time; the oldest is a minute old."""
_cpu_times: deque[tuple[float, float]] = deque(maxlen=_NOTES)
"""Moment, and CPU seconds used until then."""
_MEMORY_SECONDS = 5.0
_memory = [-_MEMORY_SECONDS, 0.0]
"""Moment, and bytes that this process used then."""
_CONTROL_GROUP = Path("/sys/fs/cgroup")


def resources_in_use() -> dict[str, Any]:
    """Memory in bytes, processor share of the last minute (1 is one core), threads and open files."""
    process = _process()
    with process.oneshot():
        return {
            "memory_bytes": process.memory_info().rss,
            "cpu_share": round(cores_in_use(), 4),
            "threads": process.num_threads(),
            "open_files": process.num_fds(),
        }


def note_cpu_time() -> None:
    """Remembers the CPU time used so far; called every five seconds, so that looks at it do not change it."""
    _cpu_times.append((time.monotonic(), _cpu_seconds()))


def cores_in_use() -> float:
    """Cores in use on the average of the last minute; until it is noted first, of the process's whole life."""
    if not _cpu_times:
        alive: float = time.time() - _process().create_time()
        return _cpu_seconds() / max(alive, 1e-3)
    since, before = _cpu_times[0]
    seconds = time.monotonic() - since
    return (_cpu_seconds() - before) / seconds if seconds > 0 else 0.0


def _cpu_seconds() -> float:
    times = _process().cpu_times()
    return float(times.user + times.system)


@cache
def _process() -> Any:
    import psutil

    return psutil.Process()


def memory_bytes() -> int:
    """Memory of this process, at most five seconds old; of what it shares with other processes, its part."""
    now = time.monotonic()
    if _memory[0] < now - _MEMORY_SECONDS:
        # The system walks through all pages for it.
        _memory[:] = now, _proportional_bytes()
    return int(_memory[1])


def _proportional_bytes() -> int:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return resident_bytes()


def resident_bytes() -> int:
    """Memory of this process, with all of what it shares with other processes."""
    return int(_process().memory_info().rss)


def shares_of_limits(cores: float, memory: int) -> dict[str, float]:
    """Shares of the limits, 0 to 1, of several processes together.

    Args:
        cores: in use.
        memory: bytes in use.
    """
    from conventions import metric_names as names

    return {
        names.CPU_UTILIZATION: min(1.0, cores / _cores_allowed()),
        names.MEMORY_UTILIZATION: min(1.0, memory / _memory_allowed()),
    }


def utilization() -> dict[str, float]:
    """Shares of what this process may use, 0 to 1: of its container where it is in one, else of the machine."""
    import psutil

    from conventions import metric_names as names

    process, disk = _process(), psutil.disk_usage(tempfile.gettempdir())
    return {
        names.CPU_UTILIZATION: min(1.0, cores_in_use() / _cores_allowed()),
        names.MEMORY_UTILIZATION: min(1.0, process.memory_info().rss / _memory_allowed()),
        names.DISK_UTILIZATION: disk.used / disk.total,
    }


def disk_bytes() -> tuple[int, int]:
    """Bytes that this process has read from and written to disks; zeros where the system does not tell."""
    try:
        counters = _process().io_counters()
    except (AttributeError, OSError):
        return 0, 0
    return counters.read_bytes, counters.write_bytes


def cpu_limit() -> float | None:
    """Cores that this process's container may use; None without a limit."""
    quota, _, period = _control_group("cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdecimal() and period else None


def memory_limit() -> int | None:
    """Bytes that this process's container may use; None without a limit."""
    limit = _control_group("memory.max")
    return int(limit) if limit.isdecimal() else None


def _cores_allowed() -> float:
    return cpu_limit() or float(os.cpu_count() or 1)


def _memory_allowed() -> int:
    import psutil

    return memory_limit() or int(psutil.virtual_memory().total)


def _control_group(name: str) -> str:
    """A limit of the container's control group (version 2); empty outside of one."""
    try:
        return (_CONTROL_GROUP / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""
