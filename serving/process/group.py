"""Several processes that serve one model from one socket, where the CPU limit allows more than one.

This process starts them, takes the signals, and replaces one that has ended or does not answer; the others go on
meanwhile. It loads no model. The first process is started alone: what it needs says how many fit the memory limit.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from serving.observability.logs import service_log
from serving.process.board import Board, make_board
from serving.process.child import HUNG_SECONDS, Child, start_child
from serving.process.options import ProcessOptions
from serving.process.run_directory import NOT_STARTED, RequestFailed
from serving.process.succession import await_succession, has_succession

_READY_SECONDS = 3600.0
"""The one that has started the group has a limit of its own."""
_MEMORY_SHARE = 0.8
"""Of the memory limit, that processes may need when they have loaded the model."""
_RESTARTS_ALLOWED = 3
_RESTART_WINDOW_SECONDS = 60.0
_RETRY_SECONDS = 1.0
_BEAT_SECONDS = 0.5


@dataclass
class Group:
    """The processes.

    Args:
        listener: the socket that they serve from.
        options: of this process.
        wanted: how many processes there should be.
        memory_limit: bytes that all of them may use; None for no limit, or where the number was asked for by name.
    """

    listener: socket.socket
    options: ProcessOptions
    wanted: int
    memory_limit: int | None
    _children: dict[int, Child] = field(default_factory=dict)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _board: int = -1
    _is_ready: bool = False
    _succeeding: "asyncio.Future[None] | None" = None

    async def run(self, ready: Any) -> int:
        """Serves until told to stop (0), or until processes end too fast (1).

        Args:
            ready: called with what the first process says of itself and the number of processes, once all are ready.

        Raises:
            RequestFailed: a process did not get ready at the beginning.
        """
        self._heed_signals()
        beating = asyncio.ensure_future(self._beat())
        self._board = make_board(self.wanted)
        try:
            introduction = await self._unless_stopped(self._begin())
            if introduction is None:
                return 0
            ready({**introduction, "processes": self.wanted})
            self._is_ready = True
            watching = [asyncio.ensure_future(self._watch(slot)) for slot in range(self.wanted)]
            stopping = asyncio.ensure_future(self._stopping.wait())
            await asyncio.wait([*watching, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in watching:
                task.cancel()
            return 0 if self._stopping.is_set() else 1
        finally:
            self.listener.close()
            await asyncio.gather(*(child.stop() for child in self._children.values()))
            beating.cancel()

    def _heed_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        if self.options.watch_stdin:
            loop.add_reader(sys.stdin.fileno(), self._supervisor_gone)

    def _stop(self) -> None:
        if self.options.watch_stdin:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        self._stopping.set()

    def _supervisor_gone(self) -> None:
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        if self._stopping.is_set() or not (self._is_ready and has_succession(self.options)):
            self._stopping.set()
        else:
            self._succeeding = asyncio.ensure_future(await_succession(self.options))
            self._succeeding.add_done_callback(lambda _: self._stopping.set())

    async def _unless_stopped(self, work: Any) -> Any:
        task, stopping = asyncio.ensure_future(work), asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return None

    async def _begin(self) -> dict[str, Any]:
        """Starts the first process, and then as many as the memory limit leaves room for.

        Raises:
            RequestFailed: a process did not get ready.
        """
        introduction = await self._start(0)
        room = self._room(int(introduction.get("memory_bytes") or 0))
        if room < self.wanted:
            # The first one has been told how many it shares its limits with.
            await self._children.pop(0).stop()
            self.wanted = room
            introduction = await self._start(0)
        await asyncio.gather(*(self._start(slot) for slot in range(1, self.wanted)))
        return introduction

    def _room(self, memory: int) -> int:
        if self.memory_limit is None or not memory:
            return self.wanted
        room = max(1, int(_MEMORY_SHARE * self.memory_limit / memory))
        if room < self.wanted:
            fields = {"allowed_by_cpu": self.wanted, "processes": room, "memory_bytes_each": memory}
            service_log.warning("the memory limit leaves room for fewer processes", extra={"fields": fields})
        return min(room, self.wanted)

    async def _start(self, slot: int) -> dict[str, Any]:
        descriptor = self.listener.fileno()
        more = ["--board-fd", str(self._board), "--slot", str(slot), "--slots", str(self.wanted)]
        more += ["--owns-socket"] if self.options.owns_socket else []
        self._children[slot], introduction = await start_child(
            "serving", os.environ, descriptor, _READY_SECONDS, more, [self._board]
        )
        fields = {"pid": introduction["pid"], "memory_bytes": introduction.get("memory_bytes"), "slot": slot}
        service_log.info("a process is ready", extra={"fields": fields})
        return introduction

    async def _watch(self, slot: int) -> None:
        """Replaces a process whenever it ends or does not answer; returns when that happens too often."""
        ends: deque[float] = deque(maxlen=_RESTARTS_ALLOWED + 1)
        while True:
            child = self._children[slot]
            await _ended_or_hung(child)
            code = child.process.returncode
            if code is None:
                service_log.error(
                    "a process does not answer and is replaced",
                    extra={"fields": {"pid": child.process.pid, "seconds": HUNG_SECONDS}},
                )
                await child.kill()
            else:
                service_log.error("a process has ended", extra={"fields": {"pid": child.process.pid, "code": code}})
            child.close()
            Board(self._board, self.wanted, slot).forget(slot)
            ends.append(time.monotonic())
            while True:
                if len(ends) > _RESTARTS_ALLOWED and ends[-1] - ends[0] < _RESTART_WINDOW_SECONDS:
                    service_log.error("the processes keep ending", extra={"fields": {"slot": slot}})
                    return
                try:
                    await self._start(slot)
                except RequestFailed as failure:
                    service_log.error(str(failure), extra={"fields": {"code": failure.code}})
                    await asyncio.sleep(_RETRY_SECONDS)
                    if failure.code != NOT_STARTED:
                        ends.append(time.monotonic())
                else:
                    break

    async def _beat(self) -> None:
        descriptor = self.options.heartbeat_descriptor
        while descriptor is not None:
            os.set_blocking(descriptor, False)
            try:
                os.write(descriptor, b".")
            except BlockingIOError:
                pass
            except OSError:
                return
            await asyncio.sleep(_BEAT_SECONDS)


async def _ended_or_hung(child: Child) -> None:
    tasks = (asyncio.ensure_future(child.process.wait()), asyncio.ensure_future(child.hung()))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
