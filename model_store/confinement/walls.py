"""The walls around the confined child: raises those that the kernel has and reports the others.

| wall | what it keeps out |
|---|---|
| limits | more memory, time, open files or bytes written than allowed |
| namespaces | the network, other processes' shared memory |
| privileges | capabilities, and programs that would give some |
| landlock | reading other files than libraries and the given files; writing |
| seccomp | connections, programs, other processes, writing, and the kernel's rarer doors |
"""

import ctypes
import errno
import os
import resource
import site
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from model_store.confinement import landlock

_NEW_USER, _NEW_NETWORK, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000
_NO_NEW_PRIVS, _DEATH_SIGNAL, _KEEP_CAPS_OUT = 38, 1, 24
_KILL = 9
_LAST_CAPABILITY = 63
_CAPABILITY_VERSION = 0x20080522
_OPEN_FILES = 256
_SYSTEM = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime",
           "/usr/share/zoneinfo", "/proc/cpuinfo", "/proc/meminfo", "/proc/self", "/sys/devices/system/cpu",
           "/sys/fs/cgroup", "/dev/null", "/dev/urandom")  # fmt: skip
_REFUSED = (
    # connections and other processes
    "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "sendto", "sendmsg", "sendmmsg",
    "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "kcmp",
    "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "process_madvise", "process_mrelease", "setpriority", "ioprio_set",
    # programs
    "execve", "execveat", "fork", "vfork",
    # writing
    "creat", "truncate", "unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "link",
    "linkat", "symlink", "symlinkat", "mknod", "mknodat", "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown",
    "lchown", "fchownat", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr", "utime",
    "utimes", "utimensat", "futimesat", "fallocate",
    # the kernel's rarer doors
    "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsmount", "fsconfig", "fspick",
    "mount_setattr", "unshare", "setns", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "keyctl", "add_key", "request_key", "init_module", "finit_module", "delete_module",
    "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "syslog", "acct", "quotactl", "quotactl_fd",
    "settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "sethostname", "setdomainname", "iopl", "ioperm",
    "modify_ldt", "personality", "open_by_handle_at", "name_to_handle_at", "fanotify_init", "inotify_init",
    "inotify_init1", "nfsservctl", "lookup_dcookie", "vhangup", "msgget", "semget", "shmget", "mq_open", "setuid",
    "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "setfsuid", "setfsgid", "capset",
)  # fmt: skip
_OF_A_PROCESS = (
    "prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr", "migrate_pages",
    "move_pages", "setpgid",
)  # fmt: skip
"""Calls that change the process that their first argument names; 0 is the caller's own thread."""
_THREAD = 0x00010000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Limits:
    """Limits of a child's resources.

    Attributes:
        memory_bytes: of address space.
        seconds: of time on the clock, after which it is killed.
        cpu_seconds: of all its threads together.
    """

    memory_bytes: int = 16 << 30
    seconds: float = 900.0
    cpu_seconds: int = 1800


@dataclass(frozen=True)
class Wall:
    """One wall: whether it stands, and why not."""

    name: str
    stands: bool
    detail: str


def raise_walls(readable: Iterable[Path], limits: Limits) -> list[Wall]:
    """Raises every wall that this kernel has around the calling process, irrevocably.

    Args:
        readable: files and directories beside the libraries.
        limits: of memory and time.
    """
    steps: tuple[tuple[str, str, Callable[[], None]], ...] = (
        ("limits", "memory, time, open files and file sizes", lambda: _limit(limits)),
        ("namespaces", "no network, no shared memory", _enter_namespaces),
        ("privileges", "no capabilities, no new privileges", _drop_privileges),
        ("landlock", "reads only libraries and the given files", lambda: _landlock(readable)),
        ("seccomp", "no connections, programs, other processes or writing", _filter_calls),
    )
    with suppress(ImportError, OSError, RuntimeError):
        import pyseccomp  # noqa: F401 - it looks for its library with other programs' help, which nobody gets later
    found = []
    for name, detail, step in steps:
        try:
            step()
        except Exception as error:
            # A missing wall is reported; the others are raised.
            found.append(Wall(name, False, f"{type(error).__name__}: {error}"))
        else:
            found.append(Wall(name, True, detail))
    return found


def _limit(limits: Limits) -> None:
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_AS, limits.memory_bytes),
    ):
        _, hard = resource.getrlimit(kind)
        kept = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (kept, kept))


def _enter_namespaces() -> None:
    user, group = os.getuid(), os.getgid()
    library = ctypes.CDLL(None, use_errno=True)
    _checked(library.unshare(_NEW_USER | _NEW_NETWORK | _NEW_IPC))
    for file, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        Path(f"/proc/self/{file}").write_text(line, encoding="ascii")


def _drop_privileges() -> None:
    library = ctypes.CDLL(None, use_errno=True)
    _checked(library.prctl(_DEATH_SIGNAL, _KILL, 0, 0, 0))
    _checked(library.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    for capability in range(_LAST_CAPABILITY):
        if library.prctl(_KEEP_CAPS_OUT, capability, 0, 0, 0) < 0:
            break
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()
    _checked(library.capset(header, none))


def _landlock(readable: Iterable[Path]) -> None:
    landlock.allow_reading_only([*library_paths(), *readable])


def library_paths() -> list[Path]:
    """Paths of Python, its libraries and the system files that they read; no other path of a checkout."""
    found = [Path(each) for each in _SYSTEM]
    found += [Path(each) for each in {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}]
    found += [Path(each) for each in site.getsitepackages()]
    inside = tuple(f"{each}{os.sep}" for each in found)
    for each in sys.path:
        directory = Path(each or ".").resolve()
        if f"{directory}{os.sep}".startswith(inside) or not directory.is_dir():
            found += [] if directory.is_dir() else [directory]
            continue
        # Of a directory that holds more than libraries, such as a checkout with its keys, the packages alone.
        found += [item for item in directory.iterdir() if item.suffix == ".py" or (item / "__init__.py").is_file()]
    return found


def _filter_calls() -> None:
    import pyseccomp as seccomp

    refused = seccomp.ERRNO(errno.EPERM)
    filters = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in _REFUSED:
        try:
            filters.add_rule(refused, name)
        except (OSError, RuntimeError, ValueError):
            continue  # This processor has no such call.
    # Threads are needed, other processes are not; glibc goes on with `clone` where `clone3` is unknown.
    filters.add_rule(refused, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _THREAD, 0))
    filters.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    filters.add_rule(seccomp.ERRNO(errno.ENOSYS), "openat2")
    for call, argument in (("open", 1), ("openat", 2)):
        for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC):
            filters.add_rule(refused, call, seccomp.Arg(argument, seccomp.MASKED_EQ, flag, flag))
    own = os.getpid()
    for call in ("kill", "tgkill"):
        filters.add_rule(refused, call, seccomp.Arg(0, seccomp.NE, own))
    for call in _OF_A_PROCESS:
        filters.add_rule(refused, call, seccomp.Arg(0, seccomp.NE, 0))
    # The child ends with its parent, whose clock it would outlive otherwise.
    filters.add_rule(refused, "prctl", seccomp.Arg(0, seccomp.EQ, _DEATH_SIGNAL))
    filters.load()


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
