"""What serves when its supervisor was killed: it starts another one, and serves on until the process of that one does.

The new supervisor gets the listening socket, starts a process of its own on it, and ends this one once that is ready.
Standard library only: the process that keeps others loads no model.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys

from serving.process.options import ProcessOptions

INHERITED_VARIABLES = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TMPDIR", "TZ", "VIRTUAL_ENV")
"""What a supervisor keeps of its environment, and gives to what it starts."""

_ATTEMPTS = 5


class OtherProcess:
    """A process that this one does not own, by a descriptor: its number may be another one's after its end.

    Args:
        process: its id.

    Raises:
        ProcessLookupError: it has ended.
    """

    def __init__(self, process: int) -> None:
        self._descriptor = os.pidfd_open(process)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; nothing happens where the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    async def wait(self) -> None:
        """Waits until it has ended."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._descriptor)

    async def stop(self, seconds: float) -> None:
        """Lets it finish what it has accepted, for some seconds."""
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(seconds):
                await self.wait()
        except TimeoutError:
            self.send(signal.SIGKILL)


def has_succession(options: ProcessOptions) -> bool:
    """Whether a supervisor has started this process, and another one can take its place: Linux lets it be watched."""
    return options.run_directory is not None and options.listen_descriptor is not None and hasattr(os, "pidfd_open")


async def await_succession(options: ProcessOptions) -> None:
    """Starts a supervisor, and another one when that is killed; returns when it ends without having ended this process.

    Args:
        options: of this process, whose listening socket is open.
    """
    for _ in range(_ATTEMPTS):
        supervisor = _start_supervisor(options)
        await OtherProcess(supervisor.pid).wait()
        if supervisor.wait() >= 0:
            return


def _start_supervisor(options: ProcessOptions) -> "subprocess.Popen[bytes]":
    descriptor = options.listen_descriptor
    assert options.run_directory is not None  # noqa: S101 - the caller has looked
    assert descriptor is not None  # noqa: S101
    command = [sys.executable, "-m", "serving.supervisor", options.run_directory]
    command += [options.run_log] if options.run_log else []
    command += ["--listen-fd", str(descriptor), "--predecessor", str(os.getpid())]
    # Not asyncio's own: that one kills what it has started at the end of its loop.
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        pass_fds=(descriptor,),
        start_new_session=True,
        env={name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ},
    )
