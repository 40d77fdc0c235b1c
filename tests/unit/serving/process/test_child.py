"""A process that cannot be started is told as such, and leaves nothing open."""

import asyncio
import subprocess
import sys

import pytest

from serving.process.child import start_child
from serving.process.run_directory import NOT_STARTED, RequestFailed
from tests.checkout import SOURCE

_PROGRAM = """
import asyncio, os, resource
from serving.process.child import start_child
from serving.process.run_directory import RequestFailed

async def start(room: int) -> str:
    # asyncio makes what it needs for processes with the first one.
    before = sorted(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) + room, hard))
    try:
        await start_child("serving.no_such_module", dict(os.environ), 0, 20)
    except RequestFailed as failure:
        code = failure.code
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await asyncio.sleep(0.05)
    assert len(os.listdir("/proc/self/fd")) <= len(before), room
    return code

async def main() -> None:
    print(await start(200), *[await start(room) for room in range(6)])

asyncio.run(main())
"""


def test_a_process_for_which_no_descriptor_is_left_is_not_started() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=SOURCE, capture_output=True, text=True, timeout=60, check=False
    )
    first, *others = ran.stdout.split()
    assert first == "Exited", ran.stderr
    assert set(others) == {NOT_STARTED}, ran.stdout + ran.stderr


@pytest.mark.parametrize("environment", [{"A": "\0"}, {"A=B": "c"}])
def test_a_variable_that_cannot_be_one_is_told(environment: dict[str, str]) -> None:
    with pytest.raises(RequestFailed, match="could not be started") as caught:
        asyncio.run(start_child("serving", environment, 0, 5))
    assert caught.value.code == NOT_STARTED
