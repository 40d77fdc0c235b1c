"""What the serving process uses of the machine."""

from functools import cache
from typing import Any


def resources_in_use() -> dict[str, Any]:
    """Memory in bytes, processor share (1 is one core, since the last call), threads and open files."""
    process = _process()
    with process.oneshot():
        return {
            "memory_bytes": process.memory_info().rss,
            "cpu_share": round(process.cpu_percent() / 100, 4),
            "threads": process.num_threads(),
            "open_files": process.num_fds(),
        }


@cache
def _process() -> Any:
    import psutil

    return psutil.Process()
