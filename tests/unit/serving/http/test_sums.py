"""Every answer counts once: what clients got, what the log says and what the metrics say are the same numbers.

A storm of good and bad requests, of connections that break off and of bodies that never come, over several processes
one after the other. `SUMS_ROUNDS` and `SUMS_EACH` make it longer.
"""

import concurrent.futures
import json
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from serving.http.app import OPEN_PATHS
from serving.http.auth import hash_api_key, new_api_key
from tests.service import GOOD, Service, Setting, listening, started
from tests.unit.serving.http.test_edge import answer, connected

_ROUNDS, _EACH = int(os.environ.get("SUMS_ROUNDS", "2")), int(os.environ.get("SUMS_EACH", "4"))
_ONE = json.dumps({"transaction": GOOD})
_CHANGES = {
    "HEADER_TIMEOUT_SECONDS": "1",
    "REQUEST_TIMEOUT_SECONDS": "1",
    "MAX_IN_FLIGHT": "4",
}
_SENT: dict[str, dict[str, Any]] = {
    "good": {},
    "more": {},
    "batch": {"content": json.dumps({"transactions": [GOOD] * 5})},
    "feedback": {"url": "/feedback", "content": '{"items": [{"predicted_fraud": true, "was_fraud": true}]}'},
    "invented": {"url": "/feedback", "content": '{"items": [{"receipt": "r1.x", "was_fraud": true}]}'},
    "reasons": {"url": "/predict?reasons=99"},
    "no_key": {"headers": {}},
    "scope": {},
    "limited": {},
    "field": {"content": json.dumps({"transaction": {**GOOD, "more": 1}})},
    "surrogate": {"content": '{"transaction": {"\\ud800": 1}}'},
    "no_json": {"content": "{"},
    "large": {"content": "x" * 30_000},
    "method": {"method": "PUT"},
    "path": {"url": "/predict%0A"},
    "model": {"method": "GET", "url": "/model", "content": ""},
}
_RAW = ("head", "broken", "slow_head", "slow_body", "half", "unread")
"""Sent over a connection of their own; the last two break it off before the answer."""
_Got = tuple[int, str]
_BROKEN_OFF = (0, "broken off")


class _Storm:
    """Sends requests of each kind, and counts the answers."""

    def __init__(self, service: Service, setting: Setting, slow_key: str, client: httpx.Client) -> None:
        self._service, self._setting, self._client = service, setting, client
        self._keys = {"scope": setting.limited_key, "limited": slow_key}

    def send(self, kind: str) -> _Got:
        """Sends one request; returns status and code of its answer."""
        if kind in _RAW:
            return self._send_raw(kind)
        headers = {"X-API-Key": self._keys.get(kind, self._setting.api_key)}
        sent = {"method": "POST", "url": "/predict", "headers": headers, "content": _ONE, **_SENT[kind]}
        found = self._client.request(**{**sent, "url": self._service.url + sent["url"]})
        return found.status_code, "" if found.status_code == 200 else found.json()["error"]["code"]

    def _send_raw(self, kind: str) -> _Got:
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {self._setting.api_key}\r\n"
        whole = f"{head}Content-Length: {len(_ONE)}\r\n\r\n{_ONE}".encode()
        content = {
            "head": b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
            "broken": b"nonsense\r\n\r\n",
            "slow_head": head.encode(),
            "slow_body": whole[:-5],
            "half": whole[:-5],
            "unread": whole,
        }[kind]
        with connected(self._service) as connection:
            connection.sendall(content)
            if kind in ("half", "unread"):
                return _BROKEN_OFF
            status, body = answer(connection)
            return status, "" if status == 200 else json.loads(body)["error"]["code"]


def _keys_file(setting: Setting, slow_key: str) -> Path:
    """The keys of the setting, and one that may send one request a second."""
    content = json.loads((setting.directory / "api_keys.json").read_text())
    entry = {"name": "slow", "sha256": hash_api_key(slow_key), "scopes": ["predict"], "requests_per_second": 1}
    path = setting.directory / "sums_keys.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps({"keys": [*content["keys"], entry]}))
    return path


def _metrics(client: httpx.Client, service: Service, setting: Setting) -> tuple[int, int, Counter[str], dict[str, Any]]:
    """Requests, errors and refusals by reason, as `/metrics` and `/status` have them."""
    headers = {"X-API-Key": setting.api_key}
    told = client.get(f"{service.url}/status", headers=headers).json()
    text = client.get(f"{service.url}/metrics", headers=headers).text
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    counts = {each.name: int(each.value) for each in samples if not each.labels.get("reason")}
    refused = {
        each.labels["reason"]: int(each.value) for each in samples if each.name == "fraud_detection_refusals_total"
    }
    # The request for the status is the one that has come since.
    requests, errors = counts["fraud_detection_requests_total"] - 1, counts["fraud_detection_errors_total"]
    return requests, errors, Counter(refused), told


def test_clients_log_and_metrics_count_the_same(setting: Setting) -> None:
    got: Counter[_Got] = Counter()
    logged: list[dict[str, Any]] = []
    requests = errors = 0
    refused: Counter[str] = Counter()
    slow_key = new_api_key()
    changes = {**_CHANGES, "API_KEYS_FILE": str(_keys_file(setting, slow_key))}
    with listening() as listener, httpx.Client(trust_env=False, timeout=30) as client:
        for number in range(_ROUNDS):
            kinds = [kind for kind in (*_SENT, *_RAW) for _ in range(_EACH)]
            random.Random(number).shuffle(kinds)
            with started(setting, listener, **changes) as service:
                storm = _Storm(service, setting, slow_key, client)
                with concurrent.futures.ThreadPoolExecutor(12) as pool:
                    got.update(pool.map(storm.send, kinds))
                time.sleep(0.3)
                in_round = _metrics(client, service, setting)
                service.process.terminate()
                assert service.process.wait(timeout=20) == 0
                lines = [json.loads(line) for line in service.log.read_text().splitlines()]
            requests, errors, refused = requests + in_round[0], errors + in_round[1], refused + in_round[2]
            assert (in_round[3]["total"]["requests"], in_round[3]["refusals"]) == (in_round[0], dict(in_round[2]))
            own = (*OPEN_PATHS, "/status", "/metrics")
            logged += [line for line in lines if line["message"] == "request" and line["path"] not in own]
    assert {401, 403, 404, 405, 408, 413, 422, 429, 431, 503} <= {status for status, _ in got}, got
    # Nobody knows what a connection that broke off would have got: that the client went away, its answer, or no room.
    broken_off = got.pop(_BROKEN_OFF)
    by_log = Counter((line["status"], line.get("code", "")) for line in logged)
    assert not got - by_log
    more = by_log - got
    assert set(more) <= {(400, "disconnected"), (200, ""), (503, "overloaded")}
    assert more[400, "disconnected"] > 0
    assert sum(more.values()) <= broken_off
    assert requests == len(logged)
    assert refused == Counter(line["code"] for line in logged if "code" in line)
    assert errors == sum(line["status"] >= 500 for line in logged)
    assert len({line["request_id"] for line in logged}) == len(logged)
