"""Faults of disks and files: logs, API keys, the model."""

import os
import signal
import subprocess
from contextlib import ExitStack

import psutil

from tests.faults.endpoint import Endpoint, Place, fill
from tests.faults.fault import Fault

_LOST = "lines of the log were lost"


class DiskFull(Fault):
    """The disk with the log, the run directory and the decision log."""

    name = "disk full: log, run directory, decision log"
    says = (_LOST, "the decision log is written again")
    counts = ("log_lines_lost",)
    needs_root = True

    def prepare(self, place: Place, stack: ExitStack) -> Endpoint:
        """The checkout's files are on a disk of 64 MB."""
        disk = place.root / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", disk], check=True)
        stack.callback(subprocess.run, ["umount", "-l", disk], check=True)
        variables = {"DECISION_LOG": str(disk / "decisions"), "DECISION_LOG_SECONDS": "1"}
        return Endpoint(place, checkout=disk, variables=variables)

    def begin(self, endpoint: Endpoint) -> int:
        """Fills it."""
        assert endpoint.checkout is not None
        fill(endpoint.checkout)
        return 0

    def end(self, endpoint: Endpoint) -> None:
        """Makes room."""
        assert endpoint.checkout is not None
        (endpoint.checkout / "filler").unlink()


class LogDirectoryGone(Fault):
    """`LOG_FILE` and its directory, in whose place is a file."""

    name = "log target gone: the directory of `LOG_FILE`"
    says = (_LOST,)
    counts = ("log_lines_lost",)

    def prepare(self, place: Place, stack: ExitStack) -> Endpoint:
        """The service writes a log file of its own."""
        return Endpoint(place, variables={"LOG_FILE": str(place.root / "own" / "service.log")})

    def begin(self, endpoint: Endpoint) -> int:
        """Moves the directory away."""
        own = endpoint.place.root / "own"
        own.rename(own.with_name("away"))
        own.write_text("no directory")
        return 0

    def end(self, endpoint: Endpoint) -> None:
        """Removes what is in its place."""
        (endpoint.place.root / "own").unlink()


class LogReaderGone(Fault):
    """What reads standard output, such as a container's log driver; nothing takes its place."""

    name = "log target gone: the reader of standard output"
    says = ("a target of the log takes no lines",)
    counts = ("log_lines_lost",)

    def prepare(self, place: Place, stack: ExitStack) -> Endpoint:
        """A process reads standard output and writes it to the log; the service has a file beside it."""
        log = place.root / "own.log"
        through = ("sh", "-c", '"$@" 2>&1 | cat', "sh")
        return Endpoint(place, variables={"LOG_FILE": str(log)}, before=through, read_log=log)

    def begin(self, endpoint: Endpoint) -> int:
        """Kills what reads."""
        shell = psutil.Process(endpoint.supervisor).parent()
        assert shell is not None
        (reader,) = (each for each in shell.children() if each.name() == "cat")
        os.kill(reader.pid, signal.SIGKILL)
        return 0


class KeysEmptied(Fault):
    """The file of API keys."""

    name = "key file emptied"
    says = ("the API keys were not read again", "the API keys were read again")
    content = ""

    def begin(self, endpoint: Endpoint) -> int:
        """Writes it in place."""
        endpoint.place.api_keys_file.write_text(self.content)
        return 0

    def end(self, endpoint: Endpoint) -> None:
        """Writes it as it was."""
        endpoint.place.write_keys()


class KeysBroken(KeysEmptied):
    """The file of API keys, written halfway."""

    name = "key file broken"
    content = '{"keys": [{"name": "load", "sha256": "00'


class ModelGone(Fault):
    """The files of the version that is served."""

    name = "model file gone"

    def begin(self, endpoint: Endpoint) -> int:
        """Moves the registry away."""
        registry = endpoint.place.root / "registry"
        registry.rename(registry.with_name("registry.away"))
        return 0

    def end(self, endpoint: Endpoint) -> None:
        """Brings it back."""
        registry = endpoint.place.root / "registry"
        registry.with_name("registry.away").rename(registry)
