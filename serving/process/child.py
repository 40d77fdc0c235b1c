"""A process that serves, as the one sees it that started it: until it is ready, and whether it still lives.

Standard library only: the process that supervises stays small and starts at once.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from serving.process.run_directory import NOT_STARTED, RequestFailed

HUNG_SECONDS = 10.0
"""A process whose event loop shows no sign of life for so long is replaced."""
_STOP_TIMEOUT_SECONDS = 20.0
_LOOK_SECONDS = 0.5
_EXIT_SECONDS = 5.0


class Child:
    """A process that serves.

    Args:
        process: which was started.
        lifeline: write end of the pipe that is its standard input: closing it tells that its parent is gone.
        beats: read end of the pipe to which its event loop writes once a second.
    """

    def __init__(self, process: asyncio.subprocess.Process, lifeline: int, beats: int) -> None:
        self.process = process
        self._lifeline, self._beats = lifeline, beats
        self._last_beat = time.monotonic()
        os.set_blocking(beats, False)
        asyncio.get_running_loop().add_reader(beats, self._beat)

    async def hung(self) -> None:
        """Returns once the process has shown no sign of life for ten seconds."""
        self._last_beat = time.monotonic()
        while time.monotonic() - self._last_beat < HUNG_SECONDS:
            await asyncio.sleep(_LOOK_SECONDS)

    async def stop(self) -> None:
        """Lets the process finish what it has accepted, for twenty seconds."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_SECONDS):
                await self.process.wait()
        except TimeoutError:
            pass
        await self.kill()

    async def kill(self) -> None:
        """Ends the process at once."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        self.close()

    def close(self) -> None:
        """Closes the pipes, once."""
        if self._beats >= 0:
            asyncio.get_running_loop().remove_reader(self._beats)
        for descriptor in (self._lifeline, self._beats):
            if descriptor >= 0:
                os.close(descriptor)
        self._lifeline = self._beats = -1

    def _beat(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if not os.read(self._beats, 4096):
                asyncio.get_running_loop().remove_reader(self._beats)
            self._last_beat = time.monotonic()


async def start_child(
    module: str,
    environment: Mapping[str, str],
    listen_descriptor: int,
    ready_seconds: float,
    more: Sequence[str] = (),
    descriptors: Sequence[int] = (),
) -> tuple[Child, dict[str, Any]]:
    """Starts a process and waits until it is ready.

    Args:
        module: what runs.
        environment: of the process.
        listen_descriptor: the listening socket that it serves from.
        ready_seconds: how long it may take.
        more: further options.
        descriptors: further descriptors that it inherits.

    Returns:
        The process, and what it says of itself.

    Raises:
        RequestFailed: it could not be started, or did not get ready; it has ended.
    """
    (lifeline_read, lifeline_write), (ready_read, ready_write), (beats_read, beats_write) = _pipes(3)
    options = ("--listen-fd", str(listen_descriptor), "--ready-fd", str(ready_write), "--watch-stdin")
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *options,
            *("--heartbeat-fd", str(beats_write), *more),
            stdin=lifeline_read,
            pass_fds=(listen_descriptor, ready_write, beats_write, *descriptors),
            env=dict(environment),
        )
    except BaseException as error:
        for descriptor in (lifeline_write, ready_read, beats_read):
            os.close(descriptor)
        if isinstance(error, OSError | ValueError):
            # No process, memory or descriptor is left, or a variable cannot be one.
            raise RequestFailed(NOT_STARTED, f"the serving process could not be started ({error})") from None
        raise
    finally:
        for descriptor in (lifeline_read, ready_write, beats_write):
            os.close(descriptor)
    child = Child(process, lifeline_write, beats_read)
    try:
        return child, await _until_ready(child, ready_read, ready_seconds)
    except (RequestFailed, asyncio.CancelledError):
        await child.kill()
        raise


def _pipes(count: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    try:
        found.extend(os.pipe() for _ in range(count))
    except OSError as error:
        for descriptor in (each for pair in found for each in pair):
            os.close(descriptor)
        raise RequestFailed(NOT_STARTED, f"the serving process could not be started ({error.strerror})") from None
    return found


async def _until_ready(child: Child, ready: int, seconds: float) -> dict[str, Any]:
    try:
        async with asyncio.timeout(seconds):
            line = await _read_line(ready)
    except TimeoutError:
        raise RequestFailed("NotReady", f"the serving process was not ready after {seconds:g} s") from None
    if not line:
        code = await child.process.wait()
        raise RequestFailed("Exited", f"the serving process ended with code {code} before it was ready", code)
    answer: dict[str, Any] = json.loads(line)
    if answer["status"] != "ready":
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_SECONDS):
                await child.process.wait()
        raise RequestFailed(answer["code"], answer["error"], child.process.returncode)
    return answer


async def _read_line(descriptor: int) -> str:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    try:
        return (await reader.readline()).decode("utf-8")
    finally:
        transport.close()
