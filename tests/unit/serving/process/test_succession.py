"""A supervisor that is killed: what it ran starts another one and serves on meanwhile."""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from components.process_supervision import run_directory, stop
from tests.checkout import free_port
from tests.service import GOOD, Setting
from tests.unit.serving.process.test_supervisor import _arguments, _listens, _request, _status, _supervisor, _until

_ROUNDS = 2


class _Client(threading.Thread):
    """Sends one request after the other, and counts what is not answered."""

    def __init__(self, port: int, key: str) -> None:
        super().__init__()
        self._url, self._headers = f"http://127.0.0.1:{port}/predict", {"X-API-Key": key}
        self.answered, self.failed, self.ended = 0, [], False  # type: ignore[var-annotated]

    def run(self) -> None:
        """Sends them, each on a connection of its own."""
        while not self.ended:
            try:
                found = httpx.post(
                    self._url, json={"transaction": GOOD}, headers=self._headers, trust_env=False, timeout=20
                )
                found.raise_for_status()
                self.answered += 1
            except httpx.HTTPError as error:
                self.failed.append(repr(error))
            time.sleep(0.01)


def _lives(process: int) -> bool:
    with suppress(OSError):
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    return False


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_supervisor_is_replaced_and_no_request_fails(setting: Setting, tmp_path: Path, processes: int) -> None:
    port = free_port()
    directory = run_directory(_arguments(tmp_path, port))
    directory.mkdir(parents=True)
    environment = setting.environment(PROCESSES=str(processes))
    _request(directory, setting, port=port, environment=environment)
    with _supervisor(directory, tmp_path / "log"):
        _until(lambda: _status(directory).get("state") == "ready")
        client = _Client(port, setting.api_key)
        client.start()
        try:
            for number in range(1, _ROUNDS + 1):
                before, answered = _status(directory), client.answered
                os.kill(before["supervisor_pid"], signal.SIGKILL)
                _until(lambda: _status(directory)["restarts"] == number)  # noqa: B023
                after = _status(directory)
                assert after["state"] == "ready"
                assert after["supervisor_pid"] != before["supervisor_pid"]
                assert int((directory / "supervisor.pid").read_text()) == after["supervisor_pid"]
                assert after["serving"]["port"] == port
                _until(lambda: not _lives(before["serving"]["pid"]))  # noqa: B023
                _until(lambda: client.answered > answered + 7)  # noqa: B023
        finally:
            client.ended = True
            client.join()
            os.kill(_status(directory)["supervisor_pid"], signal.SIGTERM)
        assert client.failed == []
    _until(lambda: not _listens(port))
    assert "the supervisor was killed" in (tmp_path / "log").read_text()
    assert _status(directory)["state"] == "stopped"


def test_one_that_is_killed_before_its_process_is_ready_is_replaced_too(setting: Setting, tmp_path: Path) -> None:
    port = free_port()
    _request(tmp_path, setting, port=port)
    file = tmp_path / "supervisor.pid"
    with _supervisor(tmp_path, tmp_path / "log"):
        _until(lambda: _status(tmp_path).get("state") == "ready")
        killed = []
        for _ in range(2):
            killed.append(file.read_text().strip())
            os.kill(int(killed[-1]), signal.SIGKILL)
            _until(lambda: file.read_text().strip() not in ("", killed[-1]), 20)
        _until(lambda: str(_status(tmp_path)["supervisor_pid"]) not in killed)
        assert _status(tmp_path)["state"] == "ready"
        answer = httpx.get(f"http://127.0.0.1:{port}/health/ready", trust_env=False, timeout=10)
        assert answer.status_code == 200
        os.kill(_status(tmp_path)["supervisor_pid"], signal.SIGTERM)
        _until(lambda: not _listens(port))


def test_a_supervisor_that_is_stopped_ends_what_it_runs_and_none_takes_its_place(
    setting: Setting, tmp_path: Path
) -> None:
    port = free_port()
    _request(tmp_path, setting, port=port)
    with _supervisor(tmp_path, tmp_path / "log") as process:
        _until(lambda: _status(tmp_path).get("state") == "ready")
        process.terminate()
        assert process.wait(timeout=20) == 0
    time.sleep(1)
    assert not _listens(port)
    assert "the supervisor was killed" not in (tmp_path / "log").read_text()


def test_one_that_takes_over_obeys_a_stop_before_its_process_is_ready(setting: Setting, tmp_path: Path) -> None:
    port = free_port()
    _request(tmp_path, setting, port=port)
    with _supervisor(tmp_path, tmp_path / "log"):
        _until(lambda: _status(tmp_path).get("state") == "ready")
        before = _status(tmp_path)
        os.kill(before["supervisor_pid"], signal.SIGKILL)
        file = tmp_path / "supervisor.pid"
        _until(lambda: file.read_text().strip() not in ("", str(before["supervisor_pid"])))
        time.sleep(0.2)
        os.kill(int(file.read_text()), signal.SIGTERM)
        _until(lambda: not _listens(port))
        _until(lambda: not _lives(before["serving"]["pid"]))


def test_one_whose_process_id_was_not_written_is_found_by_its_status(setting: Setting, tmp_path: Path) -> None:
    port = free_port()
    arguments = _arguments(tmp_path, port)
    directory = run_directory(arguments)
    directory.mkdir(parents=True)
    _request(directory, setting, port=port)
    with _supervisor(directory, tmp_path / "log") as process:
        _until(lambda: _status(directory).get("state") == "ready")
        (directory / "supervisor.pid").write_text("")
        # Otherwise what has ended would count as one that still runs: it is this process's own.
        threading.Thread(target=process.wait).start()
        begun = time.monotonic()
        stop(arguments)
        assert time.monotonic() - begun < 20
    assert not _listens(port)
