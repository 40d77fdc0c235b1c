"""A constant load on an endpoint, counted request by request."""

import asyncio
import http
import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp


@dataclass
class Answers:
    """What the endpoint answered while it was under load."""

    statuses: Counter[str] = field(default_factory=Counter)
    models: list[str] = field(default_factory=list)
    """Model ids in the order in which they were first seen."""
    by_model: Counter[str] = field(default_factory=Counter)
    """Requests answered by each model version."""

    @property
    def failed(self) -> int:
        """Requests that were not answered with 200, whatever the reason."""
        return sum(count for status, count in self.statuses.items() if status != "200")

    @property
    def total(self) -> int:
        return sum(self.statuses.values())


@contextmanager
def constant_load(
    url: str, api_key: str, body: object, requests_per_second: int = 50, *, bodies: list[object] | None = None
) -> Iterator[Answers]:
    """Sends predictions at a constant rate for the length of the block, without a single retry.

    Several bodies are sent in turn.
    """
    answers = Answers()
    stop = threading.Event()
    thread = threading.Thread(
        target=lambda: asyncio.run(_send(url, api_key, bodies or [body], requests_per_second, answers, stop)),
        daemon=True,
    )
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join(timeout=60)
        assert not thread.is_alive(), "the load did not end"


async def _send(
    url: str, api_key: str, bodies: list[object], rate: int, answers: Answers, stop: threading.Event
) -> None:
    headers = {"X-API-Key": api_key}
    timeout, connector = aiohttp.ClientTimeout(total=10), aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
    async with aiohttp.ClientSession(url, headers=headers, timeout=timeout, connector=connector) as client:
        turn = itertools.cycle(bodies)
        running: set[asyncio.Task[None]] = set()
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not stop.is_set():
            task = asyncio.create_task(_one(client, next(turn), answers))
            running.add(task)
            task.add_done_callback(running.discard)
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - loop.time()))
        await asyncio.gather(*running)


async def _one(client: aiohttp.ClientSession, body: object, answers: Answers) -> None:
    try:
        async with client.post("/predict", json=body) as response:
            status, content = response.status, await response.read()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        answers.statuses[type(error).__name__] += 1
        return
    answers.statuses[str(status)] += 1
    if status == http.HTTPStatus.OK:
        model_id = json.loads(content)["model_id"]
        answers.by_model[model_id] += 1
        if model_id not in answers.models:
            answers.models.append(model_id)
