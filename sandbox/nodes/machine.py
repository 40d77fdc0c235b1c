"""One machine of the cluster: the first process of its own namespaces, which starts the machine's programs.

    python -m sandbox.nodes.machine node-1.json

The process stays in the host's process list; its child is process 1 of the machine. When either ends, the kernel ends
every process of the machine, containers included, and its mounts and network interfaces are gone.
"""

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_NEW_NAMESPACES = 0x00020000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000
"""Mounts, host name, interprocess communication, processes, network."""
_DIE_WITH_PARENT = 1
_RESTART_SECONDS = 1.0
_C = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    """Runs the machine that a JSON file describes; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.nodes.machine",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("machine", type=Path, metavar="FILE", help="JSON: the machine's name, addresses and programs")
    description = json.loads(parser.parse_args().machine.read_text())
    if _C.unshare(_NEW_NAMESPACES):
        raise OSError(ctypes.get_errno(), "the kernel gives no namespaces")
    first = os.fork()
    if first == 0:
        _C.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        _Machine(description).run()
    signal.signal(signal.SIGTERM, lambda *_: os.kill(first, signal.SIGKILL))
    Path(description["pid_file"]).write_text(str(first))
    os.waitpid(first, 0)
    return 0


class _Machine:
    """Process 1: mounts, then the programs, each started again when it ends."""

    def __init__(self, description: dict[str, Any]) -> None:
        self._description = description
        self._running: dict[int, dict[str, Any]] = {}

    def run(self) -> None:
        """Never returns."""
        self._mount()
        Path(self._description["mounted_file"]).touch()
        while not Path(self._description["connected_file"]).exists():
            time.sleep(0.05)
        for program in self._description["programs"]:
            self._start(program)
        while True:
            self._reap()

    def _reap(self) -> None:
        """Waits for a process of the machine to end, also for the children that others left."""
        try:
            number, _ = os.wait()
        except ChildProcessError:
            time.sleep(_RESTART_SECONDS)
            return
        if program := self._running.pop(number, None):
            time.sleep(_RESTART_SECONDS)
            self._start(program)

    def _start(self, program: dict[str, Any]) -> None:
        with Path(program["log"]).open("ab") as log:
            process = subprocess.Popen(
                program["command"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **program.get("environment", {})},
                start_new_session=True,
            )
        self._running[process.pid] = program

    def _mount(self) -> None:
        description = self._description
        _C.sethostname(description["name"].encode(), len(description["name"]))
        _run("mount", "--make-rprivate", "/")
        _run("mount", "--make-rshared", "/")
        _run("mount", "-t", "proc", "proc", "/proc")
        _run("mount", "-t", "tmpfs", "tmpfs", "/run")
        if packages := description.get("packages"):
            _run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={packages}:/usr", "/usr")
        for place, directory in description["directories"].items():
            Path(directory).mkdir(parents=True, exist_ok=True)
            Path(place).mkdir(parents=True, exist_ok=True)
            _run("mount", "--bind", directory, place)
        for name, value in description.get("pretended_settings", {}).items():
            file = Path("/run") / name.replace("/", ".")
            file.write_text(f"{value}\n")
            _run("mount", "--bind", str(file), f"/proc/sys/{name}")
        for name, value in description["settings"].items():
            Path("/proc/sys", name).write_text(value)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")


if __name__ == "__main__":
    sys.exit(main())
