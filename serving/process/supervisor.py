"""Keeps one serving process running on this machine, and replaces it without a gap.

    python -m serving.supervisor RUN_DIRECTORY LOG_FILE     # started by the LocalServing component

The listening socket belongs to the supervisor and outlives the processes that serve from it. A replacement loads its
model and warms up before it accepts anything; only then is the process before it told to stop, which finishes what it
has accepted. When the replacement does not get ready, the process before it goes on as if nothing had been asked.
When the supervisor is killed, what serves starts another one, which gets the socket.

The run directory is the whole protocol, so that any process can read it and a dead supervisor leaves an account:

    requested.json    what should run, written by the client, followed by SIGHUP
    status.json       what does run, and what became of the last request
    supervisor.lock   held for the supervisor's life; supervisor.pid names its process

Standard library only: the supervisor stays small and starts at once.
"""

import argparse
import asyncio
import contextlib
import fcntl
import itertools
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conventions.run_files import LOCK_FILE, PID_FILE, REQUESTED_FILE, STATUS_FILE
from serving.process.address import bind
from serving.process.child import Child, start_child
from serving.process.run_directory import NOT_STARTED, Request, RequestFailed, StatusFile, log_line, rotate_when_full
from serving.process.succession import INHERITED_VARIABLES, OtherProcess

_BIND_ATTEMPT_SECONDS = 3.0
_LOCK_ATTEMPT_SECONDS = 1.0
_PREDECESSOR_SECONDS = 20.0
_RESTARTS_ALLOWED = 3
_RESTART_WINDOW_SECONDS = 60.0
_LOG_LOOK_SECONDS = 10.0
_MOST_WAIT_SECONDS = 5


@dataclass
class Server:
    """A serving process that is ready."""

    child: Child
    request: Request

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The process."""
        return self.child.process


@dataclass
class Inheritance:
    """What a supervisor takes over from one that was killed."""

    listener: socket.socket
    serving: OtherProcess | None
    """Serves until this supervisor's process does; None when it has ended."""


class Supervisor:
    """Runs the serving process that the run directory asks for.

    Args:
        directory: the run directory.
        log: that this process and its servers append to; rotated at 50 MB, five times. None: it is somebody else's.
        inherited: from a supervisor that was killed.
    """

    def __init__(self, directory: Path, log: Path | None = None, inherited: Inheritance | None = None) -> None:
        self._directory, self._log, self._inherited = directory, log, inherited
        self._listener: socket.socket | None = None
        self._server: Server | None = None
        self._asked = asyncio.Event()
        self._stopping = asyncio.Event()
        self._crashes: deque[float] = deque(maxlen=_RESTARTS_ALLOWED + 1)
        self._retiring: set[asyncio.Task[None]] = set()
        self._status = StatusFile(directory / STATUS_FILE)
        self._restarts = 0 if inherited is None else 1 + self._status.restarts()

    async def run(self) -> int:
        """Serves until told to stop (0), or until nothing can be served (1)."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._asked.set)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        self._asked.set()
        rotating = asyncio.ensure_future(self._rotate_log())
        try:
            return await self._supervise()
        finally:
            rotating.cancel()

    async def _supervise(self) -> int:
        while not self._stopping.is_set():
            if self._asked.is_set():
                self._asked.clear()
                await self._unless_stopped(self._carry_out_request())
            if self._stopping.is_set():
                break
            if self._server is None:
                return 1
            await self._unless_stopped(self._wait_for_news())
        await self._stop_everything()
        return 0

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Does something, and gives it up when the supervisor is told to stop."""
        task, stopping = asyncio.ensure_future(work), asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        else:
            task.result()

    async def _rotate_log(self) -> None:
        while self._log is not None:
            with contextlib.suppress(OSError):
                # A copy of 50 MB: signals are heard meanwhile.
                await asyncio.to_thread(rotate_when_full, self._log)
            await asyncio.sleep(_LOG_LOOK_SECONDS)

    async def _carry_out_request(self) -> None:
        try:
            request = Request.read(self._directory / REQUESTED_FILE)
        except RequestFailed as failure:
            log_line(str(failure))
            return
        if self._inherited is None:
            # What is inherited serves, and stays what is told.
            self._report("starting", request)
        try:
            await self._unless_superseded(request)
        except RequestFailed as failure:
            self._report("failed", request, error=str(failure), code=failure.code)
        else:
            self._report("ready", request)

    async def _unless_superseded(self, request: Request) -> None:
        """Switches to a request, and gives it up for a newer one: that need not wait until this one is ready."""
        switching = asyncio.ensure_future(self._switch_to(request))
        try:
            while not switching.done():
                asked = asyncio.ensure_future(self._asked.wait())
                await asyncio.wait((switching, asked), return_when=asyncio.FIRST_COMPLETED)
                asked.cancel()
                if switching.done() or not self._asked.is_set():
                    continue
                if self._newest_generation() == request.generation:
                    self._asked.clear()
                    continue
                raise RequestFailed("Superseded", "a newer request came before the serving process was ready")
            switching.result()
        finally:
            if not switching.done():
                switching.cancel()
                with contextlib.suppress(asyncio.CancelledError, RequestFailed):
                    await switching

    def _newest_generation(self) -> int:
        try:
            return Request.read(self._directory / REQUESTED_FILE).generation
        except RequestFailed:
            return -1

    async def _switch_to(self, request: Request) -> None:
        listener, listener_is_new = await self._listener_for(request)
        try:
            successor = await self._start(request, listener)
        except RequestFailed:
            if listener_is_new:
                listener.close()
            raise
        predecessor, self._server = self._server, successor
        if listener_is_new:
            if self._listener is not None:
                self._listener.close()
            self._listener = listener
        if predecessor is not None:
            self._retire(predecessor.child.stop())
        self._end_inheritance()

    def _end_inheritance(self) -> None:
        inherited, self._inherited = self._inherited, None
        if inherited is None:
            return
        if inherited.listener is not self._listener:
            inherited.listener.close()
        if inherited.serving is not None:
            self._retire(inherited.serving.stop(_PREDECESSOR_SECONDS))

    async def _listener_for(self, request: Request) -> tuple[socket.socket, bool]:
        address = (request.host, request.port)
        if self._inherited is not None and request.port in (0, self._inherited.listener.getsockname()[1]):
            self._listener = self._inherited.listener
            return self._listener, False
        if self._listener is not None and self._server is not None:
            current = self._server.request
            if (current.host, current.port) == address:
                return self._listener, False
        deadline = time.monotonic() + _BIND_ATTEMPT_SECONDS
        while True:
            try:
                return bind(*address), True
            except RequestFailed as failure:
                # The server of a killed supervisor closes the port as soon as it notices.
                if failure.code != "PortInUse" or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.1)

    async def _start(self, request: Request, listener: socket.socket) -> Server:
        inherited = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
        environment = {**inherited, **request.environment}
        more = ["--run-directory", str(self._directory), *(("--run-log", str(self._log)) if self._log else ())]
        child, answer = await start_child(
            request.module, environment, listener.fileno(), request.ready_timeout_seconds, more
        )
        if answer["model_id"] != request.model_id:
            await child.kill()
            raise RequestFailed(
                "WrongModel", f"the serving process loaded {answer['model_id']}, asked for {request.model_id}"
            )
        return Server(child, request)

    async def _wait_for_news(self) -> None:
        assert self._server is not None  # noqa: S101 - the caller has looked
        hung = asyncio.ensure_future(self._server.child.hung())
        tasks: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(self._asked.wait()),
            asyncio.ensure_future(self._stopping.wait()),
            asyncio.ensure_future(self._server.process.wait()),
            hung,
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        if hung.done() and not hung.cancelled() and self._server.process.returncode is None:
            log_line(f"the serving process {self._server.process.pid} does not answer and is replaced")
            await self._server.child.kill()
        if self._server.process.returncode is not None and not self._stopping.is_set():
            await self._restart()

    async def _restart(self) -> None:
        """Starts the serving process again after a crash; gives up when crashes come too fast."""
        assert self._server is not None  # noqa: S101 - the caller has looked
        request, code = self._server.request, self._server.process.returncode
        log_line(f"the serving process {self._server.process.pid} ended with code {code}")
        self._server.child.close()
        failed = RequestFailed("Exited", f"the serving process keeps ending with code {code}")
        assert self._listener is not None  # noqa: S101 - a server has a listener
        for wait in itertools.count(1):
            if failed.code != NOT_STARTED:
                self._crashes.append(time.monotonic())
            if _too_many(self._crashes):
                self._server = None
                self._report("failed", request, error=str(failed), code=failed.code)
                return
            self._restarts += 1
            try:
                self._server = await self._start(request, self._listener)
            except RequestFailed as failure:
                # What it needs may be on its way, such as a file that is being written.
                failed = failure
                log_line(f"{failure}; it is started again")
                await asyncio.sleep(min(wait, _MOST_WAIT_SECONDS))
            else:
                self._report("ready", request)
                return

    def _retire(self, stopping: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(stopping)
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _stop_everything(self) -> None:
        self._end_inheritance()
        request = None if self._server is None else self._server.request
        if self._server is not None:
            self._retire(self._server.child.stop())
        await asyncio.gather(*self._retiring)
        if request is not None:
            self._report("stopped", request)

    def _port(self, request: Request) -> int:
        """The port that is listened on, also where any free one was asked for."""
        return int(self._listener.getsockname()[1]) if self._listener is not None else request.port

    def _report(self, state: str, request: Request, **details: str) -> None:
        running = self._server
        status: dict[str, Any] = {
            "state": state,
            "generation": request.generation,
            "supervisor_pid": os.getpid(),
            "restarts": self._restarts,
            "serving": None
            if running is None
            else {
                "generation": running.request.generation,
                "pid": running.process.pid,
                "model_id": running.request.model_id,
                "host": running.request.host,
                "port": self._port(running.request),
            },
            **details,
        }
        self._status.write(status)


def _too_many(crashes: Sequence[float]) -> bool:
    return len(crashes) > _RESTARTS_ALLOWED and crashes[-1] - crashes[0] < _RESTART_WINDOW_SECONDS


def _take(lock: int) -> bool:
    """Takes the lock. Retries: a checker holds it only briefly."""
    deadline = time.monotonic() + _LOCK_ATTEMPT_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True


def main() -> int:
    """Takes the run directory's lock and supervises; 75 when another supervisor holds it."""
    # Until the event loop hears it: the request is read then in any case.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    options = _parser().parse_args()
    directory: Path = options.run_directory
    lock = (directory / LOCK_FILE).open("w")
    if not _take(lock.fileno()):
        return os.EX_TEMPFAIL
    inherited = _inheritance(options.listen_fd, options.predecessor)
    try:
        (directory / PID_FILE).write_text(f"{os.getpid()}\n")
        if inherited is None:
            (directory / STATUS_FILE).unlink(missing_ok=True)
    except OSError as error:
        log_line(f"{directory}: the supervisor cannot write there ({error.strerror}); make room, then deploy again")
        if inherited is None:
            return os.EX_IOERR

    async def supervise() -> int:
        return await Supervisor(directory, options.log_file, inherited).run()

    return asyncio.run(supervise())


def _inheritance(descriptor: int | None, predecessor: int | None) -> Inheritance | None:
    if descriptor is None:
        return None
    log_line("the supervisor was killed; what serves has started this one, and goes on until its process is ready")
    serving = None
    with contextlib.suppress(ProcessLookupError):
        serving = OtherProcess(predecessor) if predecessor else None
    listener = socket.socket(fileno=descriptor)
    listener.set_inheritable(True)
    return Inheritance(listener, serving)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.supervisor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_directory", type=Path, help="its files say what should run and what does")
    parser.add_argument("log_file", type=Path, nargs="?", help="the log, which is rotated; somebody else's without one")
    for name in ("--listen-fd", "--predecessor"):
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    return parser
