"""Whether this machine can have real nodes."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_MEMORY_GIB = 6
_DISK_GIB = 6
_PROBE = "mount --make-rprivate / && mount -t tmpfs none /mnt && test -d /proc/sys/net"


def what_hinders(directory: Path) -> str:
    """Why this machine can only simulate nodes; empty when it can run real ones.

    Args:
        directory: where the sandbox lives.
    """
    if sys.platform != "linux":
        return f"real nodes need Linux; this is {platform.system()}"
    if platform.machine() != "x86_64":
        return f"Envoy and the images are for x86_64; this machine is {platform.machine()}"
    if os.geteuid() != 0:
        return "real nodes need root; this is an ordinary user"
    for program in ("nsenter", "unshare", "apt-get", "dpkg-deb", "go"):
        if shutil.which(program) is None:
            return f"the program {program} is missing"
    if not (_ROOT / "cgroup.procs").exists() and not (_ROOT / "memory" / "cgroup.procs").exists():
        return f"{_ROOT} has no control groups"
    if reason := _namespaces_refused():
        return reason
    return _too_small(directory)


def _namespaces_refused() -> str:
    command = ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "sh", "-c", _PROBE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    return f"the kernel gives no namespaces: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"


def _too_small(directory: Path) -> str:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    if memory < _MEMORY_GIB:
        return f"real nodes need {_MEMORY_GIB} GiB of memory; this machine has {memory:.1f}"
    existing = next(each for each in (directory, *directory.parents) if each.exists())
    free = shutil.disk_usage(existing).free / 2**30
    if free < _DISK_GIB:
        return f"real nodes need {_DISK_GIB} GiB of disk; {existing} has {free:.1f}"
    return ""
