"""Faults of the machine and of clients: clock, memory, a client that never reads."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path

import psutil

from tests.faults.endpoint import Endpoint, Place, connections_of, wait_until
from tests.faults.fault import Fault

_LIBRARIES, _FAKETIME = Path("/usr/lib"), "*/faketime/libfaketime.so.1"
_SLEEP = """
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
/* libfaketime takes a moment of the monotonic clock for one of its own, and Python would sleep for ever. */
int clock_nanosleep(clockid_t id, int flags, const struct timespec *request, struct timespec *rest) {
    return syscall(SYS_clock_nanosleep, id, flags, request, rest) ? errno : 0;
}
"""
_HOG = """
import pathlib, sys, time
events, before, held = pathlib.Path(sys.argv[1]), None, []
def killed():
    return int(dict(line.split() for line in events.read_text().splitlines())["oom_kill"])
before = killed()
while killed() == before:
    held.append(b"x" * (1 << 20))
"""


def faketime_library() -> str:
    """Path of libfaketime, which is installed as Debian's package where it can be; empty where there is none."""
    if not any(_LIBRARIES.glob(_FAKETIME)) and shutil.which("apt-get") and os.geteuid() == 0:
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "libfaketime"]):
            subprocess.run(["apt-get", *command], check=False, capture_output=True)
    return next((str(each) for each in _LIBRARIES.glob(_FAKETIME)), "")


class ClockForward(Fault):
    """The clock of the service; its monotonic clock goes on as a machine's does."""

    name = "clock stepped forward by two hours, and back"
    most_rate = 300
    step = "+7200"

    def prepare(self, place: Place, stack: ExitStack) -> Endpoint:
        """libfaketime gives the service its time."""
        library = faketime_library()
        assert library, "libfaketime is not here; on Debian: apt-get install libfaketime"
        self._clock = place.root / "clock"
        self._clock.write_text("+0\n")
        sleep = place.root / "sleep.so"
        compiler = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(sleep)]
        subprocess.run(compiler, input=_SLEEP, text=True, check=True)
        variables = {
            "LD_PRELOAD": f"{sleep}:{library}",
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        return Endpoint(place, variables=variables)

    def begin(self, endpoint: Endpoint) -> int:
        """Steps it."""
        self._clock.write_text(f"{self.step}\n")
        return 0

    def end(self, endpoint: Endpoint) -> None:
        """Steps it again, once it is seen that the service had taken the step."""
        *_, last = (line for line in endpoint.log.read_text().splitlines() if '"serving.request"' in line)
        stepped = datetime.fromisoformat(json.loads(last)["time"]).timestamp() - time.time()
        assert abs(stepped - float(self.step)) < 30, stepped
        self._clock.write_text("+0\n")


class ClockBack(ClockForward):
    """The clock of the service."""

    name = "clock stepped back by two hours, and forward"
    step = "-7200"


class MemoryLimit(Fault):
    """Something else takes the memory of the endpoint's control group, and the kernel kills the largest process."""

    name = "memory limit: the kernel kills the process that serves"
    may_fail = "in flight on that process"
    needs_root = True
    counts_go_on = False
    answers_metrics = False
    _room_bytes = 80 << 20

    def prepare(self, place: Place, stack: ExitStack) -> Endpoint:
        """A control group of its own."""
        one = Path("/sys/fs/cgroup/memory")
        self._group = (one if one.is_dir() else Path("/sys/fs/cgroup")) / f"faults-{os.getpid()}"
        self._limit = "memory.limit_in_bytes" if one.is_dir() else "memory.max"
        self._usage = "memory.usage_in_bytes" if one.is_dir() else "memory.current"
        self._events = "memory.oom_control" if one.is_dir() else "memory.events"
        self._group.mkdir()
        stack.callback(self._remove)
        return Endpoint(place, before=("sh", "-c", f'echo $$ >{self._group}/cgroup.procs; exec "$@"', "sh"))

    def _remove(self) -> None:
        wait_until(lambda: not (self._group / "cgroup.procs").read_text())
        self._group.rmdir()

    def begin(self, endpoint: Endpoint) -> int:
        """Takes all that the limit leaves, until the kernel kills."""
        serving = endpoint.serving
        may_fail = connections_of(serving)
        # The kernel takes this one before what takes the memory.
        Path(f"/proc/{serving}/oom_score_adj").write_text("1000")
        used = int((self._group / self._usage).read_text())
        (self._group / self._limit).write_text(str(used + self._room_bytes))
        enter = f'echo $$ >{self._group}/cgroup.procs; exec "$@"'
        hog = ["sh", "-c", enter, "sh", sys.executable, "-c", _HOG, str(self._group / self._events)]
        # It may be the next that is killed, until the memory of the first one is free.
        with subprocess.Popen(hog) as running:
            while running.poll() is None:
                # The client opens more until the process is killed.
                with suppress(psutil.NoSuchProcess):
                    may_fail = max(may_fail, connections_of(serving))
                time.sleep(0.005)
        return may_fail


class NeverReads(Fault):
    """Fifty clients send requests for large answers and read nothing."""

    name = "50 clients that never read"
    counts = ("fraud_detection_connections_closed_total",)
    counts_go_on = False
    _clients, _requests = 50, 10

    def prepare(self, place: Place, stack: ExitStack) -> Endpoint:
        """A client that takes no answer is given up after five seconds."""
        self._open = stack
        return Endpoint(place, variables={"REQUEST_TIMEOUT_SECONDS": "5"})

    def begin(self, endpoint: Endpoint) -> int:
        """Opens the connections, and sends."""
        head = f"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\nX-API-Key: {endpoint.place.api_key}\r\n\r\n"
        for _ in range(self._clients):
            client = self._open.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.bind(("127.0.0.2", 0))
            client.connect(("127.0.0.1", endpoint.port))
            client.sendall(head.encode() * self._requests)
        return 0
