"""The control groups that limit the nodes' containers: made before the nodes, removed after them."""

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb", "systemd")
_REMOVE_SECONDS = 10.0


def group_name(here: Path, node: str) -> str:
    """Name of a node's control group; another sandbox's differs."""
    return f"fraud-detection-{hashlib.sha256(str(here).encode()).hexdigest()[:8]}-{node}"


def make_group(name: str) -> None:
    """Makes a node's control group in every hierarchy, with all processors and memory of the machine."""
    for hierarchy in _hierarchies():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if hierarchy.name == "cpuset":
                (group / setting).write_text((hierarchy / setting).read_text())


def remove_groups(here: Path) -> None:
    """Removes every control group of a sandbox, whatever ended its processes; ends what still runs in one."""
    pattern = f"{group_name(here, '')}*"
    until = time.monotonic() + _REMOVE_SECONDS
    # The container runtime makes groups in every hierarchy that there is, also in those that limit nothing.
    while found := [*_ROOT.glob(pattern), *_ROOT.glob(f"*/{pattern}")]:
        for group in found:
            _end_processes(group)
            for directory, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    Path(directory).rmdir()
        if time.monotonic() > until:
            return
        time.sleep(0.05)


def _end_processes(group: Path) -> None:
    for file in group.rglob("cgroup.procs"):
        with contextlib.suppress(OSError, ValueError):
            for number in file.read_text().split():
                os.kill(int(number), signal.SIGKILL)


def _hierarchies() -> Iterator[Path]:
    """The hierarchies of the first version, or the one of the second."""
    several = [_ROOT / name for name in _CONTROLLERS if (_ROOT / name / "cgroup.procs").exists()]
    if several:
        yield from several
    elif (_ROOT / "cgroup.procs").exists():
        yield _ROOT
