"""The supervisor on a bad day: signals while a successor loads, a full disk, a request by a newer program."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from components.address_conflicts import find_address_conflict
from components.process_supervision import run_directory
from tests.checkout import SOURCE, free_port
from tests.service import Setting


def _request(directory: Path, setting: Setting, **more: Any) -> None:
    request = {
        "generation": time.time_ns(), "host": "127.0.0.1", "port": 0, "model_id": setting.model_id,
        "environment": setting.environment(), "ready_timeout_seconds": 60, "module": "serving", **more,
    }  # fmt: skip
    (directory / "requested.json").write_text(json.dumps(request))


@contextmanager
def _supervisor(directory: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "serving.supervisor", str(directory), str(log)]
    with log.open("ab") as file, subprocess.Popen(command, cwd=SOURCE, stdout=file, stderr=file) as process:
        try:
            yield process
        finally:
            # Killed, it would be started again by what it runs.
            process.terminate()
            try:
                process.wait(timeout=30)
            finally:
                process.kill()
                _stop_successor(directory)


def _stop_successor(directory: Path) -> None:
    """Ends the supervisor that has taken the place of one that a test has killed, also where the test fails."""
    with suppress(OSError, ValueError):
        process = int((directory / "supervisor.pid").read_text())
        if str(directory).encode() in Path(f"/proc/{process}/cmdline").read_bytes():
            os.kill(process, signal.SIGTERM)


def _status(directory: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((directory / "status.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _arguments(checkout: Path, port: int) -> dict[str, Any]:
    return {"deployment_name": "test", "checkout": str(checkout), "host": "127.0.0.1", "port": port}


def test_an_address_is_this_deployments_while_what_a_killed_update_asked_for_starts(
    setting: Setting, tmp_path: Path
) -> None:
    asked, of_another = free_port(), free_port()
    directory = run_directory(_arguments(tmp_path, asked))
    directory.mkdir(parents=True)
    _request(directory, setting, port=asked, module="tests.unit.serving.process.never_ready")
    with _supervisor(directory, tmp_path / "log"):
        _until(lambda: _listens(asked))
        assert _status(directory).get("serving") is None
        assert find_address_conflict(_arguments(tmp_path, asked)) is None
        with socket.create_server(("127.0.0.1", of_another)):
            assert "cannot be listened on" in str(find_address_conflict(_arguments(tmp_path, of_another)))
    _until(lambda: not _listens(asked))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_request_whose_address_another_program_holds_is_no_claim_to_it(setting: Setting, tmp_path: Path) -> None:
    port = free_port()
    directory = run_directory(_arguments(tmp_path, port))
    directory.mkdir(parents=True)
    _request(directory, setting)
    with _supervisor(directory, tmp_path / "log") as process, socket.create_server(("127.0.0.1", port)):
        _until(lambda: _status(directory).get("state") == "ready")
        _request(directory, setting, port=port, generation=2)
        process.send_signal(signal.SIGHUP)
        _until(lambda: _status(directory).get("state") == "failed")
        assert "cannot be listened on" in str(find_address_conflict(_arguments(tmp_path, port)))


def test_sigterm_is_obeyed_while_a_successor_loads(setting: Setting, tmp_path: Path) -> None:
    _request(tmp_path, setting)
    with _supervisor(tmp_path, tmp_path / "log") as process:
        _until(lambda: _status(tmp_path).get("state") == "starting")
        time.sleep(0.3)
        begun = time.monotonic()
        process.terminate()
        assert process.wait(timeout=10) == 0
        assert time.monotonic() - begun < 2


def test_fields_of_a_newer_program_are_left_aside(setting: Setting, tmp_path: Path) -> None:
    _request(tmp_path, setting, colour="green")
    with _supervisor(tmp_path, tmp_path / "log") as process:
        _until(lambda: _status(tmp_path).get("state") == "ready")
        process.terminate()
        assert process.wait(timeout=20) == 0
    assert _status(tmp_path)["state"] == "stopped"


def test_a_request_that_cannot_be_read_leaves_what_serves(setting: Setting, tmp_path: Path) -> None:
    _request(tmp_path, setting)
    with _supervisor(tmp_path, tmp_path / "log") as process:
        _until(lambda: _status(tmp_path).get("state") == "ready")
        (tmp_path / "requested.json").write_text("{")
        process.send_signal(signal.SIGHUP)
        _until(lambda: "not a request" in (tmp_path / "log").read_text())
        assert process.poll() is None
        process.terminate()
        assert process.wait(timeout=20) == 0


def test_no_content_of_a_request_ends_the_supervisor(setting: Setting, tmp_path: Path) -> None:
    _request(tmp_path, setting)
    with _supervisor(tmp_path, tmp_path / "log") as process:
        _until(lambda: _status(tmp_path).get("state") == "ready")
        serving = _status(tmp_path)["serving"]
        broken: list[dict[str, Any]] = [
            {"port": "8000"}, {"port": 70_000}, {"port": 1.5}, {"port": 10**30}, {"environment": None},
            {"environment": {"A": 1}}, {"environment": {"A": "\0"}}, {"environment": {"A=B": "c"}}, {"host": "\0"},
            {"environment": {"A": "\ud800\udfff"}}, {"host": ["127.0.0.1"]}, {"module": 5}, {"generation": None},
            {"ready_timeout_seconds": "60"}, {"ready_timeout_seconds": float("nan")},
        ]  # fmt: skip
        for number, more in enumerate(broken, 1):
            _request(tmp_path, setting, **more)
            process.send_signal(signal.SIGHUP)
            _until(lambda number=number: _refusals(tmp_path) >= number, 15)  # type: ignore[misc]
            assert process.poll() is None, more
        (tmp_path / "requested.json").write_text("[" * 100_000)
        process.send_signal(signal.SIGHUP)
        _until(lambda: _refusals(tmp_path) >= len(broken) + 1, 15)
        assert process.poll() is None
        assert _listens(serving["port"])
        os.kill(serving["pid"], 0)


def _refusals(directory: Path) -> int:
    """How many requests were refused, in the log or in the status."""
    failed = _status(directory).get("state") == "failed"
    return (directory / "log").read_text().count("not a request") + failed


def test_a_crash_while_a_file_is_being_written_is_no_end(setting: Setting, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_bytes((setting.directory / "api_keys.json").read_bytes())
    keys.chmod(0o600)
    _request(tmp_path, setting, environment=setting.environment(API_KEYS_FILE=str(keys)))
    with _supervisor(tmp_path, tmp_path / "log") as process:
        _until(lambda: _status(tmp_path).get("state") == "ready")
        whole = keys.read_bytes()
        keys.write_bytes(whole[:20])
        os.kill(_status(tmp_path)["serving"]["pid"], signal.SIGKILL)
        _until(lambda: "it is started again" in (tmp_path / "log").read_text())
        keys.write_bytes(whole)
        _until(lambda: _status(tmp_path)["restarts"] >= 2)
        assert _status(tmp_path)["state"] == "ready"
        assert process.poll() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="a full disk is made with a small tmpfs, which takes root")
def test_a_full_disk_and_a_crash_end_nothing(setting: Setting, tmp_path: Path) -> None:
    directory = tmp_path / "full"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", directory], check=False)
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        _request(directory, setting)
        with _supervisor(directory, tmp_path / "log") as process:
            _until(lambda: _status(directory).get("state") == "ready")
            first = _status(directory)["serving"]["pid"]
            with (directory / "filler").open("wb", buffering=0) as filler:
                try:
                    while filler.write(b"x" * 4096):
                        pass
                except OSError:
                    pass
            os.kill(first, signal.SIGKILL)
            _until(lambda: "was not written" in (tmp_path / "log").read_text())
            assert process.poll() is None
            (directory / "filler").unlink()
            _until(lambda: (_status(directory).get("serving") or {}).get("pid") not in (None, first))
            process.terminate()
            assert process.wait(timeout=20) == 0
        assert f"the serving process {first} ended with code -9" in (tmp_path / "log").read_text()
    finally:
        subprocess.run(["umount", "-l", directory], check=False)


def test_a_stopped_server_is_replaced(setting: Setting, tmp_path: Path) -> None:
    _request(tmp_path, setting)
    with _supervisor(tmp_path, tmp_path / "log") as process:
        _until(lambda: _status(tmp_path).get("state") == "ready")
        first = _status(tmp_path)["serving"]["pid"]
        os.kill(first, signal.SIGSTOP)
        _until(lambda: (_status(tmp_path).get("serving") or {}).get("pid") not in (None, first), 90)
        assert f"the serving process {first} does not answer and is replaced" in (tmp_path / "log").read_text()
        process.terminate()
        assert process.wait(timeout=20) == 0


def test_a_newer_request_need_not_wait_until_the_one_before_is_ready(setting: Setting, tmp_path: Path) -> None:
    _request(tmp_path, setting)
    with _supervisor(tmp_path, tmp_path / "log") as process:
        _until(lambda: _status(tmp_path).get("state") == "ready")
        first = _status(tmp_path)["serving"]["pid"]
        _request(tmp_path, setting, generation=2, module="tests.unit.serving.process.never_ready")
        process.send_signal(signal.SIGHUP)
        _until(lambda: _status(tmp_path).get("generation") == 2)
        # The same request once more changes nothing.
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert _status(tmp_path)["state"] == "starting"
        begun = time.monotonic()
        _request(tmp_path, setting, generation=3)
        process.send_signal(signal.SIGHUP)
        _until(lambda: _status(tmp_path).get("generation") == 3 and _status(tmp_path)["state"] == "ready")
        assert time.monotonic() - begun < 45
        assert _status(tmp_path)["serving"]["pid"] != first
        process.terminate()
        assert process.wait(timeout=20) == 0
