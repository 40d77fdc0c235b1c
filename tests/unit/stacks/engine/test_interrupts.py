"""A Ctrl-C while the engine runs, as a terminal sends it: to every process of the group."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stacks.engine.interrupts import interrupts_held
from tests.checkout import SOURCE, take_interrupts

_CALLER = """
import sys, time
from contextlib import nullcontext
from stacks.engine.engine_command import EngineCommand
from stacks.engine.interrupts import interrupts_held

engine = object.__new__(EngineCommand)
engine.command = sys.argv[1]
print("ready", flush=True)
try:
    with interrupts_held(lambda line: print(line, flush=True)) if sys.argv[2] == "held" else nullcontext():
        engine.run(["up"], ".", {})
        print("the engine succeeded", flush=True)
        time.sleep(0.2)
        print("the block has ended", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A program that takes half a second to cancel, as the engine does, and ends at once at the second signal."""
    file = tmp_path / "engine"
    file.write_text(
        f"#!{sys.executable}\nimport os, signal, sys, time\ncame = []\n"
        "def cancel(*_):\n    came.append(1)\n    if len(came) > 1: os._exit(255)\n"
        "signal.signal(signal.SIGINT, cancel)\nprint('started', flush=True)\n"
        f"open({str(tmp_path / 'started')!r}, 'w').close()\n"
        "end = time.time() + 20\nwhile not came and time.time() < end: time.sleep(0.02)\n"
        "time.sleep(0.5)\nprint('cancelled', flush=True)\nsys.exit(int(os.environ['CODE']))\n"
    )
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def _interrupted(
    engine: Path, how: str, code: int, signals: int = 1, *, terminated: bool = False
) -> tuple[list[str], str]:
    """What a caller of the engine tells after a Ctrl-C of the terminal, or a SIGTERM to it alone."""
    environment = {**os.environ, "CODE": str(code)}
    command = [sys.executable, "-c", _CALLER, str(engine), how]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        command, cwd=SOURCE, env=environment, text=True, start_new_session=True, preexec_fn=take_interrupts, **streams
    ) as running:  # type: ignore[call-overload]
        deadline = time.monotonic() + 20
        while not (engine.parent / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        for _ in range(signals):
            if terminated:
                running.terminate()
            else:
                os.killpg(running.pid, signal.SIGINT)
            time.sleep(0.1)
        out, errors = running.communicate(timeout=20)
    return out.splitlines()[1:], errors


@pytest.mark.parametrize("signals", [1, 2])
def test_an_engine_that_was_cancelled_is_an_interruption_without_a_traceback(engine: Path, signals: int) -> None:
    lines, errors = _interrupted(engine, "held", 255, signals)
    assert lines == ["interrupted: what has begun comes to its end first; Ctrl-C again ends it at once", "interrupted"]
    assert errors == ""


@pytest.mark.parametrize("signals", [1, 3])
def test_a_command_that_is_told_to_end_waits_for_its_engine(engine: Path, signals: int) -> None:
    # An engine that goes on without it holds the stack: the same command again is refused.
    engine.write_text(engine.read_text().replace("time.time() + 20", "time.time() + 1"))
    lines, errors = _interrupted(engine, "held", 0, signals, terminated=True)
    assert lines == [
        "told to end: what has begun comes to its end first",
        "the engine succeeded",
        "the block has ended",
        "interrupted",
    ]
    assert errors == ""


def test_what_the_engine_has_done_is_brought_to_its_end(engine: Path) -> None:
    lines, errors = _interrupted(engine, "held", 0)
    assert lines[1:] == ["the engine succeeded", "the block has ended", "interrupted"]
    assert errors == ""


def test_a_call_of_its_own_is_interrupted_after_it(engine: Path) -> None:
    assert _interrupted(engine, "alone", 0) == (["interrupted"], "")


def test_another_thread_holds_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)
    ended: list[bool] = []

    def hold() -> None:
        with interrupts_held():
            ended.append(True)

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert ended == [True]
    assert signal.getsignal(signal.SIGINT) is before
