"""The sandbox's processes: started in their own sessions, listed in a file, and stopped by that list."""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil

_STOP_SECONDS = 10.0
_LOWEST_PORT, _PORTS = 16_000, 16_000


class Processes:
    """The processes of one sandbox directory.

    Args:
        directory: holds `processes.json` and a log for each process.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / "processes.json"

    def start(self, name: str, command: list[str], environment: dict[str, str] | None = None) -> None:
        """Starts a process; its output goes to `<name>.log`."""
        with (self._directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        known = self._read()
        # The kernel reuses process ids; id and start time together are unique.
        known[name] = (process.pid, psutil.Process(process.pid).create_time())
        self._file.write_text(json.dumps(known))

    def running(self) -> dict[str, int]:
        """Name and process id of each running process."""
        return {name: process.pid for name, process in self._alive().items()}

    def dead(self) -> list[str]:
        """Names of the started processes that have ended."""
        return sorted(set(self._read()) - set(self._alive()))

    def stop(self) -> list[str]:
        """Ends all processes in reverse order of their start; returns their names."""
        alive = self._alive()
        for process in reversed(alive.values()):
            _signal(process, signal.SIGTERM)
        _, stubborn = psutil.wait_procs(list(alive.values()), timeout=_STOP_SECONDS)
        for process in stubborn:
            _signal(process, signal.SIGKILL)
        psutil.wait_procs(stubborn, timeout=_STOP_SECONDS)
        self._file.unlink(missing_ok=True)
        return list(alive)

    def last_words(self, name: str) -> str:
        """The end of a process's log."""
        path = self._directory / f"{name}.log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    def _alive(self) -> dict[str, psutil.Process]:
        found = {}
        for name, (number, born) in self._read().items():
            try:
                process = psutil.Process(number)
                if process.create_time() == born and process.status() != psutil.STATUS_ZOMBIE:
                    found[name] = process
            except psutil.Error:
                continue
        return found

    def _read(self) -> dict[str, tuple[int, float]]:
        try:
            return {name: (pid, born) for name, (pid, born) in json.loads(self._file.read_text()).items()}
        except (OSError, ValueError):
            return {}


def free_ports(count: int) -> list[int]:
    """Returns free ports of the loopback, none of them among those that Linux gives to outgoing connections."""
    found: list[int] = []
    while len(found) < count:
        port = _LOWEST_PORT + secrets.randbelow(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


def wait_for_port(port: int, seconds: float) -> bool:
    """Whether a process listens on a port of the loopback before the timeout."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.1)
    return False


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return
