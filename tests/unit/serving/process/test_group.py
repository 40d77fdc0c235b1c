"""Several processes on one socket: they answer for all, share their limits, and are replaced one by one."""

import http.client
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.process.board import Board, make_board
from serving.process.processes import group_memory_limit, process_count
from serving.settings import ServingSettings
from tests.service import GOOD, Service, Setting, listening, started


@contextmanager
def _group(setting: Setting, **more: str) -> Iterator[Service]:
    with listening() as listener, started(setting, listener, PROCESSES="2", **more) as service:
        assert service.ready["status"] == "ready", service.ready
        try:
            yield service
        finally:
            service.process.terminate()
            assert service.process.wait(30) == 0


def _get(service: Service, path: str, setting: Setting) -> httpx.Response:
    # Each on a connection of its own: any of the processes answers.
    return httpx.get(f"{service.url}{path}", headers={"X-API-Key": setting.api_key}, trust_env=False, timeout=20)


def _processes(service: Service, setting: Setting) -> list[int]:
    return [each["pid"] for each in _get(service, "/status", setting).json()["processes"]]


def _predict(client: httpx.Client, setting: Setting, key: str = "") -> int:
    headers = {"X-API-Key": key or setting.api_key}
    return client.post("/predict", json={"transaction": GOOD}, headers=headers).status_code


def _counters(service: Service, setting: Setting) -> dict[str, float]:
    text = _get(service, "/metrics", setting).text
    return {name: float(value) for name, value in re.findall(r"^(fraud_detection_\w+)\{[^}]*\} (\S+)$", text, re.M)}


def test_any_process_answers_for_all_and_counters_survive_a_killed_one(setting: Setting) -> None:
    with _group(setting, UNVERIFIED_FEEDBACK="count") as service:
        assert service.ready["processes"] == 2
        pids = _processes(service, setting)
        assert len(set(pids)) == 2
        answered = dict.fromkeys(pids, 0)
        clients = [httpx.Client(base_url=service.url, trust_env=False, timeout=20) for _ in range(8)]
        for client in clients:
            assert [_predict(client, setting) for _ in range(5)] == [200] * 5
            answered[client.get("/health/ready").json()["process"]] += 1
        assert min(answered.values()) >= 2, "connections are divided"
        _require_divided(service, 16)
        feedback = {"items": [{"predicted_fraud": True, "was_fraud": True}]}
        for client in clients:
            headers = {"X-API-Key": setting.api_key}
            assert client.post("/feedback", json=feedback, headers=headers).status_code == 200
        before = _counters(service, setting)
        assert before["fraud_detection_decisions_total"] == 40
        for _ in range(6):
            status = _get(service, "/status", setting).json()
            assert status["feedback"] == 8
            assert {each["pid"] for each in status["processes"]} == set(pids)
            assert all(each["memory_bytes"] > 10_000_000 for each in status["processes"])
        together = _get(service, "/health", setting).json()["resources"]
        assert together["memory_bytes"] == sum(each["memory_bytes"] for each in together["processes"])

        os.kill(pids[0], signal.SIGKILL)
        for client in clients:
            client.close()
        deadline = time.monotonic() + 60
        while len(set(_processes(service, setting)) - {pids[0]}) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for _ in range(4):
            after = _counters(service, setting)
            assert after["fraud_detection_decisions_total"] == 40
            assert after["fraud_detection_requests_total"] >= before["fraud_detection_requests_total"]
        assert "a process has ended" in service.log.read_text()


def _require_divided(service: Service, count: int) -> None:
    """Opens connections all at once, and asks each which process has it."""
    address = ("127.0.0.1", httpx.URL(service.url).port or 0)
    opened = [socket.create_connection(address) for _ in range(count)]
    found: Counter[str] = Counter()
    for each in opened:
        each.sendall(b"GET /health/ready HTTP/1.1\r\nhost: here\r\n\r\n")
        each.settimeout(20)
        answer = b""
        while b'"process":' not in answer:
            answer += each.recv(4096)
        found[answer.rpartition(b'"process":')[2].decode()] += 1
    for each in opened:
        each.close()
    assert min(found.values()) >= count // 4, found
    assert len(found) == 2


def test_a_rate_is_shared_and_connections_are_divided(setting: Setting) -> None:
    limits = {"RATE_LIMIT_PER_SECOND": "0.01", "RATE_LIMIT_BURST": "20", "MAX_CONNECTIONS": "7"}
    with _group(setting, **limits) as service:
        statuses = []
        for _ in range(30):
            with httpx.Client(base_url=service.url, trust_env=False, timeout=20) as client:
                statuses.append(_predict(client, setting))
        assert 20 <= statuses.count(200) <= 22
        assert statuses.count(429) == 30 - statuses.count(200)
        idle = [socket.create_connection(("127.0.0.1", httpx.URL(service.url).port or 0)) for _ in range(12)]
        time.sleep(0.5)
        still_open = 0
        for each in idle:
            each.settimeout(0.05)
            try:
                still_open += bool(each.recv(100))
            except TimeoutError:
                still_open += 1
            except OSError:
                pass
            each.close()
        assert still_open <= 8, "four for each process"


def test_the_limit_of_an_address_holds_for_all_processes_together(setting: Setting) -> None:
    with _group(setting, MAX_CONNECTIONS_PER_ADDRESS="20", MAX_CONNECTIONS="40") as service:
        pids = _processes(service, setting)
        address = ("127.0.0.1", httpx.URL(service.url).port or 0)
        # The connections that have asked are closed by then.
        time.sleep(0.5)
        os.kill(pids[1], signal.SIGSTOP)
        try:
            # All of them go to the other process, which has room for them though it is one of two.
            opened = [_connected(*address) for _ in range(16)]
            time.sleep(0.3)
            assert [_is_answered(each) for each in opened] == [True] * 16
            opened += [_connected(*address) for _ in range(16)]
            time.sleep(0.3)
        finally:
            os.kill(pids[1], signal.SIGCONT)
        assert 18 <= sum(_is_answered(each) for each in opened) <= 22
        for each in opened:
            each.close()


def _connected(host: str, port: int) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.connect()
    connection.auto_open = 0
    return connection


def _is_answered(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.request("GET", "/health/live")
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return False
    return answer.status == 200


def test_a_stopped_process_is_replaced_while_the_others_answer(setting: Setting) -> None:
    with _group(setting) as service:
        pids = _processes(service, setting)
        os.kill(pids[1], signal.SIGSTOP)
        deadline = time.monotonic() + 90
        while pids[1] in (found := _processes_if_any(service, setting)) or len(found) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.3)
        assert pids[0] in found
        assert "a process does not answer and is replaced" in service.log.read_text()


def _processes_if_any(service: Service, setting: Setting) -> list[int]:
    """Empty where the stopped process has accepted the connection."""
    try:
        headers = {"X-API-Key": setting.api_key}
        answer = httpx.get(f"{service.url}/status", headers=headers, trust_env=False, timeout=2)
    except httpx.HTTPError:
        return []
    return [each["pid"] for each in answer.json()["processes"]]


def test_drift_is_that_of_the_rows_of_all_processes(tmp_path: Path) -> None:
    from serving.http.member import Member
    from serving.observability.drift import DriftWatch
    from serving.observability.logs import RequestLog
    from serving.observability.metrics import ServiceMetrics

    schema = [{"name": "amount", "bins": {"edges": [1.0, 2.0], "shares": [0.25, 0.5, 0.25]}}]
    settings = _settings(tmp_path)
    board = make_board(2)
    log = RequestLog(lambda _lines: None, enabled=False)
    members, every = [], ServiceMetrics(settings, DriftWatch(schema))
    for slot, values in enumerate(([0.5] * 300, [1.5] * 500)):
        metrics = ServiceMetrics(settings, DriftWatch(schema))
        for counted in (metrics, every):
            counted.request(200, 1.0, [(value,) for value in values], [0.5] * len(values), 0)
            counted.feedback([(True, False)])
        own = Board(board, 2, slot)
        own.beat(0)
        members.append(Member(own, metrics, log))
    with members[0].accounted(), members[1].accounted():
        for member in members:
            found = member.gathered()
            assert found.status().drift_by_feature == every.status().drift_by_feature != {}
            assert found.status().gauges["Accuracy"] == 0
            assert found.snapshot().counters["Decisions"] == 800
            assert found.snapshot().buckets == every.snapshot().buckets
        pushed = {each["MetricName"]: each.get("Value") for each in members[0].take_minute()}
        assert (pushed["Decisions"], pushed["Starts"]) == (800, 1)
        assert {each["MetricName"]: each.get("Value") for each in members[0].take_minute()}["Decisions"] == 0
    again = ServiceMetrics(settings, DriftWatch(schema))
    taken = Member(Board(board, 2, 0), again, log)
    assert again.snapshot().counters["Decisions"] == 300
    with taken.accounted():
        assert taken.gathered().snapshot().counters["Decisions"] == 800
        assert taken.gathered().status().requests == 1, "what went before is not of the last minute"


def test_tokens_of_a_bucket_are_taken_once_by_any_number_of_processes() -> None:
    descriptor = make_board(2)
    name = b"12345678"
    child = os.fork()
    board = Board(descriptor, 2, 0 if child else 1)
    for _ in range(2000):
        with board.bucket(name) as bucket:
            bucket.put((bucket.tokens or 0) + 1, 0.0)
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    with board.bucket(name) as bucket:
        assert bucket.tokens == 4000


@pytest.mark.parametrize(
    ("told", "processes", "memory"),
    [
        ({}, 1, None),
        ({"CPU_LIMIT": "1"}, 1, None),
        ({"CPU_LIMIT": "2", "MEMORY_LIMIT": "1000"}, min(2, len(os.sched_getaffinity(0))), 1000),
        ({"CPU_LIMIT": "1.5"}, 1, None),
        ({"CPU_LIMIT": "64"}, len(os.sched_getaffinity(0)), None),
        ({"CPU_LIMIT": "1", "PROCESSES": "3", "MEMORY_LIMIT": "1000"}, 3, None),
    ],
)
def test_as_many_processes_as_the_limit_has_whole_cores(
    tmp_path: Path, told: dict[str, str], processes: int, memory: int | None
) -> None:
    settings = _settings(tmp_path, **told)
    assert (process_count(settings), group_memory_limit(settings)) == (processes, memory)


def test_the_memory_limit_bounds_the_number_and_a_model_that_fails_ends_the_group(setting: Setting) -> None:
    limits = {"CPU_LIMIT": "2", "MEMORY_LIMIT": str(60 << 20)}
    if len(os.sched_getaffinity(0)) > 1:
        with listening() as listener, started(setting, listener, **limits) as service:
            assert service.ready["processes"] == 1
            assert "leaves room for fewer processes" in service.log.read_text()
    with listening() as listener, started(setting, listener, PROCESSES="2", MODEL_SHA256="sha256:" + "0" * 64) as one:
        assert one.ready["status"] == "failed"
        assert one.ready["code"] == "ChecksumMismatch"
        assert one.process.wait(30) == 4
        assert one.log.read_text().count('"ERROR"') == 1


def test_no_request_fails_while_a_group_takes_the_place_of_another(setting: Setting) -> None:
    statuses: list[Any] = []
    ended = threading.Event()

    def call(url: str) -> None:
        while not ended.is_set():
            with httpx.Client(base_url=url, trust_env=False, timeout=20) as client:
                statuses.extend(_predict(client, setting) for _ in range(3))

    with listening() as listener, started(setting, listener, PROCESSES="2") as first:
        thread = threading.Thread(target=call, args=(first.url,))
        thread.start()
        try:
            with started(setting, listener, PROCESSES="2") as second:
                assert second.ready["status"] == "ready"
                first.process.terminate()
                assert first.process.wait(30) == 0
                time.sleep(0.5)
                ended.set()
                thread.join()
        finally:
            ended.set()
    assert set(statuses) == {200}


def test_processes_end_with_the_one_that_started_them(setting: Setting) -> None:
    with listening() as listener, started(setting, listener, PROCESSES="2") as service:
        pids = _processes(service, setting)
        service.process.kill()
        service.process.wait()
        deadline = time.monotonic() + 20
        while subprocess.run(["ps", "-p", ",".join(map(str, pids)), "-o", "stat="], capture_output=True).stdout.strip(
            b"Z\n"
        ):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def _settings(directory: Path, **told: str) -> ServingSettings:
    own = {"MODEL_ID": "m", "MODEL_URI": str(directory), "MODEL_SHA256": "sha256:" + "0" * 64, "API_KEYS_FILE": "keys"}
    return ServingSettings.from_environment({**own, **told})
