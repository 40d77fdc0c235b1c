"""The log of requests on a bad day: full, gone, or slow; nothing of it stops the service or grows without end."""

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.observability.logs import MAX_RECORDS, MAX_WAITING, LineQueue, RequestLog, configure_logs
from tests.checkout import SOURCE
from tests.service import GOOD, Service, Setting, listening, started


def _ask(service: Service, setting: Setting, times: int) -> None:
    headers = {"X-API-Key": setting.api_key}
    with httpx.Client(trust_env=False, headers=headers) as client:
        for _ in range(times):
            assert client.post(f"{service.url}/predict", json={"transaction": GOOD}).status_code == 200


def _lost(service: Service, setting: Setting) -> int:
    time.sleep(0.2)
    found = httpx.get(f"{service.url}/status", headers={"X-API-Key": setting.api_key}, trust_env=False).json()
    return int(found["log_lines_lost"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "small"
    directory.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", directory]).returncode:
        pytest.skip("a full disk is made with a small tmpfs, which cannot be mounted here")
    yield directory
    subprocess.run(["umount", "-l", directory], check=False)


def test_a_full_disk_costs_lines_that_are_counted_and_no_more(setting: Setting, small_disk: Path) -> None:
    file = small_disk / "requests.log"
    with listening() as listener, started(setting, listener, LOG_FILE=str(file)) as service:
        _ask(service, setting, 400)
        lost = _lost(service, setting)
        assert lost > 50
        (small_disk / "requests.log").unlink()
        time.sleep(0.1)
        _ask(service, setting, 20)
        assert _lost(service, setting) <= lost + 5
        assert "lines of the log were lost" in service.log.read_text()
        lines = file.read_text().splitlines()
        assert sum(json.loads(line)["message"] == "request" for line in lines) >= 20


def test_a_log_directory_that_is_gone_is_made_again(setting: Setting, tmp_path: Path) -> None:
    file = tmp_path / "logs" / "requests.log"
    with listening() as listener, started(setting, listener, LOG_FILE=str(file)) as service:
        _ask(service, setting, 5)
        time.sleep(0.1)
        shutil.rmtree(file.parent)
        _ask(service, setting, 5)
        time.sleep(0.2)
        assert sum("/predict" in line for line in file.read_text().splitlines()) == 5
        assert _lost(service, setting) == 0


def test_the_queue_is_bounded_and_counts_what_does_not_fit() -> None:
    log = RequestLog(lambda _: None, enabled=False)
    for _ in range(MAX_WAITING + 7):
        log.add("id", None, "m", "GET", "/", 200, 1.0, None)
    assert log.lost == 7
    log.flush()
    log.add("id", None, "m", "GET", "/", 200, 1.0, None)
    assert log.lost == 7


def test_what_the_service_says_of_itself_is_counted_too_where_it_is_lost() -> None:
    taking, failing = threading.Event(), threading.Event()

    def write(_lines: str) -> None:
        taking.wait()
        if failing.is_set():
            raise BrokenPipeError

    queue = LineQueue(write)
    record = logging.LogRecord("serving", logging.INFO, "", 0, "words", (), None)
    queue.handle(record)
    deadline = time.monotonic() + 5
    while queue._lines:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for _ in range(MAX_RECORDS + 7):
        queue.handle(record)
    assert queue.lost == 7
    failing.set()
    taking.set()
    while queue.lost != MAX_RECORDS + 8:
        assert time.monotonic() < deadline, queue.lost
        time.sleep(0.01)
    failing.clear()
    queue.handle(record)
    time.sleep(0.2)
    assert queue.lost == MAX_RECORDS + 8


def test_a_target_that_comes_back_is_written_to_again() -> None:
    taken, broken = [], [True]

    def write(lines: str) -> None:
        if broken[0]:
            raise BrokenPipeError
        taken.append(lines)

    log = RequestLog(write, enabled=False)
    log.add("one", None, "m", "GET", "/", 200, 1.0, None)
    log.flush()
    broken[0] = False
    log.add("two", None, "m", "GET", "/", 200, 1.0, None)
    log.flush()
    assert log.lost == 1
    assert [json.loads(line)["request_id"] for line in taken] == ["two"]


def test_a_target_that_takes_nothing_is_named_in_the_one_that_does(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys, time; from serving.observability.logs import RequestLog, configure_logs\n"
        "write = configure_logs('INFO', pathlib.Path(sys.argv[1]))\n"
        "log = RequestLog(write, enabled=True)\n"
        "for number in range(20):\n"
        "    log.add(f'id-{number}', None, 'm', 'GET', '/', 200, 1.0, None); time.sleep(0.03)\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    file = tmp_path / "a.log"
    subprocess.run([sys.executable, "-c", program, str(file)], cwd=SOURCE, stdout=writer, timeout=30, check=False)
    os.close(writer)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert sum(line["message"] == "request" for line in lines) == 20
    (told,) = (line for line in lines if line["message"] != "request")
    assert told["level"] == "ERROR"
    assert told["message"] == "a target of the log takes no lines; what it does not take is counted"
    assert told["error"] == "Broken pipe"


def test_configured_logs_write_whole_lines(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger().handlers[:], logging.getLogger().level, logging.raiseExceptions
    try:
        write = configure_logs("INFO", tmp_path / "a.log")
        write('{"x": 1}\n')
        assert (tmp_path / "a.log").read_text() == '{"x": 1}\n'
    finally:
        logging.getLogger().handlers[:], logging.raiseExceptions = before[0], before[2]
        logging.getLogger().setLevel(before[1])
    assert '{"x": 1}' in capfd.readouterr().out


def test_a_target_that_takes_nothing_stops_neither_answers_nor_the_end(setting: Setting) -> None:
    reader, writer = os.pipe()
    environment = {**setting.environment(), "API_PORT": "0", "API_HOST": "127.0.0.1", "LOG_LEVEL": "DEBUG"}
    ready_read, ready_write = os.pipe()
    with listening() as listener:
        command = [
            sys.executable,
            "-m",
            "serving",
            "--listen-fd",
            str(listener.fileno()),
            "--ready-fd",
            str(ready_write),
        ]
        inherited = (listener.fileno(), ready_write)
        with subprocess.Popen(command, cwd=SOURCE, env=environment, pass_fds=inherited, stdout=writer) as process:
            try:
                os.close(ready_write)
                with os.fdopen(ready_read) as pipe:
                    assert json.loads(pipe.readline())["status"] == "ready"
                # The pipe is full from now on: nobody reads it.
                os.set_blocking(writer, False)
                with contextlib.suppress(BlockingIOError):
                    while os.write(writer, b"x" * 4096):
                        pass
                os.set_blocking(writer, True)
                url = f"http://127.0.0.1:{listener.getsockname()[1]}"
                headers = {"X-API-Key": setting.api_key}
                with httpx.Client(trust_env=False, headers=headers, timeout=10) as client:
                    for _ in range(300):
                        assert client.post(f"{url}/predict", json={"transaction": GOOD}).status_code == 200
                        assert client.get(f"{url}/nothing").status_code == 404
                    assert client.post(f"{url}/predict", content=b"\\ud800").status_code == 422
                process.terminate()
                assert process.wait(20) == 0
            finally:
                process.kill()
                for descriptor in (reader, writer):
                    os.close(descriptor)
