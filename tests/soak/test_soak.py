"""Load for a while, with reloads, revocations, restarts and faults meanwhile: no request fails, no process grows.

`SOAK_SECONDS` and `SOAK_RATE` say how long and how many requests a second; `half` is half of what it answers at most.
`make soak` sets an hour at half.
"""

import itertools
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.serving.load import load_generator
from tests.faults.endpoint import FEATURES, Endpoint, make_place
from tests.faults.load import bodies
from tests.soak.events import Events
from tests.soak.memory import Memory

_SECONDS = float(os.environ.get("SOAK_SECONDS", "30"))
_RATE = os.environ.get("SOAK_RATE", "300")
_TOP_SECONDS = 5
_ROUND_SECONDS = min(20.0, max(1.0, _SECONDS / 20))
"""Between two events."""
_LIVES = 6
"""Into how many parts the time is divided by events that replace processes."""


@pytest.fixture
def arranged(tmp_path: Path) -> Iterator[tuple[Endpoint, Events]]:
    """An endpoint that serves, and what will happen to it."""
    place = make_place(tmp_path / "checkout")
    events = Events(tmp_path)
    endpoint = Endpoint(place, variables=events.variables(), authority=events.authority)
    try:
        endpoint.start()
        yield endpoint, events
    finally:
        endpoint.stop()
        events.redis.kill()


def test_no_request_fails_and_memory_stays_level(arranged: tuple[Endpoint, Events]) -> None:
    endpoint, events = arranged
    command = _load_command(endpoint)
    rate = _top_rate(command) // 2 if _RATE == "half" else int(_RATE)
    memory, happened = Memory(endpoint), Counter[str]()
    command += ["-d", f"{_SECONDS:.0f}s", "-r", str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
        try:
            _let_happen(endpoint, events, load, memory, happened)
            assert load.stdout is not None
            found = json.loads(load.stdout.read())["result"]
        finally:
            load.kill()
            memory.stop()
    answered = found["req2xx"]
    failed = sum(found[name] for name in ("req1xx", "req3xx", "req4xx", "req5xx", "others"))
    latencies = found["latency"]["percentiles"]
    print(
        f"soak: {answered} requests at {rate}/s over {_SECONDS:.0f} s, {failed} failed, "
        f"p99 {latencies['99'] / 1000:.1f} ms; {dict(happened)}; {memory.told()}"
    )
    assert failed == 0, found.get("errors")
    assert answered > 0.8 * rate * _SECONDS
    assert not memory.grown(), memory.told()


def _let_happen(
    endpoint: Endpoint, events: Events, load: "subprocess.Popen[str]", memory: Memory, happened: "Counter[str]"
) -> None:
    """Lets one event happen after the other, until shortly before the load ends."""
    begun = time.monotonic()
    ordinary, replacing = itertools.cycle(events.of_every_round()), itertools.cycle(events.with_new_processes())
    part = 1
    while (gone := time.monotonic() - begun) < _SECONDS - _ROUND_SECONDS:
        assert load.poll() is None, "the load has ended early"
        replaces = gone > part * _SECONDS / _LIVES
        event = next(replacing if replaces else ordinary)
        event(endpoint)
        if replaces:
            part += 1
            memory.judge_anew()
        happened[event.__name__] += 1
        time.sleep(max(0.0, _ROUND_SECONDS - (time.monotonic() - begun - gone)))


def _load_command(endpoint: Endpoint) -> list[str]:
    command = [str(load_generator()), "-c", "16", "--timeout=20s", "--method=POST", f"--body={bodies(FEATURES)[0]}"]
    command += ["--insecure", "--print=result", "--format=json", "--latencies"]
    headers = ("Content-Type: application/json", f"X-API-Key: {endpoint.place.api_key}")
    return [*command, *(f"--header={each}" for each in headers), f"{endpoint.url}/predict"]


def _top_rate(command: list[str]) -> int:
    """Requests a second that are answered when as many as possible are sent."""
    load = subprocess.run([*command, "-d", f"{_TOP_SECONDS}s"], capture_output=True, text=True, check=True)
    return int(json.loads(load.stdout)["result"]["req2xx"] / _TOP_SECONDS)
