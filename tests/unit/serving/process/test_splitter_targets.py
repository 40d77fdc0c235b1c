"""What a client writes as target or header reaches the versions behind the traffic splitter, as it is, or nobody."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from conventions.run_files import STATUS_FILE
from serving.http.auth import hash_api_key
from tests.checkout import SOURCE
from tests.service import GOOD, Setting, listening, started

_BODY = json.dumps({"transaction": GOOD}).encode()


@contextmanager
def _splitter(root: Path, origin: int) -> Iterator[int]:
    """The port of a splitter in front of one that listens on a port."""
    stable, front = root / "stable", root / "front"
    stable.mkdir()
    front.mkdir()
    (stable / STATUS_FILE).write_text(json.dumps({"serving": {"port": origin}}))
    with listening() as listener:
        ready, write = os.pipe()
        environment = {
            "PATH": os.environ["PATH"],
            "MODEL_ID": "fraud_XGBoost_20241009_123456",
            "FRONT_DIRECTORY": str(front),
            "FRONT_STABLE": str(stable),
            "API_HOST": "127.0.0.1",
            "API_PORT": "0",
        }
        descriptors = (listener.fileno(), write)
        command = [sys.executable, "-m", "serving.traffic_splitter", "--listen-fd", str(descriptors[0])]
        command += ["--ready-fd", str(write)]
        with subprocess.Popen(command, cwd=SOURCE, env=environment, pass_fds=descriptors) as process:
            os.close(write)
            try:
                with os.fdopen(ready) as pipe:
                    assert json.loads(pipe.readline())["status"] == "ready"
                yield listener.getsockname()[1]
            finally:
                process.kill()


def _answer(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(request)
        found = b""
        while b"}" not in found:
            piece = connection.recv(65536)
            if not piece:
                break
            found += piece
        return found


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
def test_no_target_names_another_host(tmp_path: Path, method: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, listening() as behind:
        reached: list[bytes] = []

        def wait() -> None:
            other.settimeout(3)
            with suppress(TimeoutError):
                reached.append(other.accept()[0].recv(4096))

        thread = threading.Thread(target=wait)
        thread.start()
        elsewhere = other.getsockname()[1]
        with _splitter(tmp_path, behind.getsockname()[1]) as port:
            for target in (f"*@127.0.0.1:{elsewhere}/x", "*", "*/predict"):
                request = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                found = _answer(port, request.encode())
                assert found.startswith(b"HTTP/1.1 404"), (target, found[:80])
                error = json.loads(found.partition(b"\r\n\r\n")[2])["error"]
                assert (error["code"], bool(error["request_id"])) == ("not_found", True)
        thread.join()
    assert reached == []


def test_a_key_beyond_ascii_is_the_same_behind_the_splitter(setting: Setting, tmp_path: Path) -> None:
    entry = {"name": "umlaut", "sha256": hash_api_key("fd_clé"), "scopes": ["predict"]}
    file = tmp_path / "api_keys.json"
    file.write_text(json.dumps({"keys": [entry]}))
    file.chmod(0o600)
    with listening() as behind, started(setting, behind, API_KEYS_FILE=str(file)):
        direct = behind.getsockname()[1]
        with _splitter(tmp_path, direct) as port:
            for key, status in (("fd_clé".encode(), b"200"), (b"fd_cl\xe9", b"401"), (b"fd_cl", b"401")):
                head = b"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\nContent-Length: %d\r\n\r\n"
                request = head % (key, len(_BODY)) + _BODY
                assert [_answer(each, request).split()[1] for each in (direct, port)] == [status] * 2, key
